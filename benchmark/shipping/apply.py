"""A finished head on new vectors: from file to file, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .. import methods
from ..data.stored import new_array
from ..data.vectors import VectorFile, Views
from ..errors import BenchmarkError, DataError, UsageError, some
from ..networks.weights import load_encoder
from ..record import read_record
from ..spec import Spec
from ..store import Store
from ..training.student import embed

SHOWN = 8  # candidates in a message


def find(results: Path, id: str) -> Path:
    """The record of the one run below `results` whose id begins so.

    Raises:
        UsageError: there is none, or more than one; the message has candidates.
    """
    paths = sorted(results.rglob("runs/*.json"))
    named = [path for path in paths if path.stem.rpartition("-")[2].startswith(id)]
    if len(named) == 1:
        return named[0]
    if not paths:
        raise UsageError(f"no runs below {results}")
    names = [path.relative_to(results).with_suffix("").as_posix() for path in named or paths]
    what = f"{len(named)} runs have" if named else "no run has"
    raise UsageError(
        f"{what} an id that begins with {id!r}; {'these are' if named else 'there are'}: {some(names, most=SHOWN)}"
    )


def apply(path: Path, features: Path, out: Path, device: torch.device) -> tuple[Spec, int, str]:
    """Write the embeddings float32 [m, dim] that a run's head gives vectors [m, c], l2-normalised if its spec says so.

    Args:
        path: of the record; the weights are in its store.
        features: .npy or .npz, read where it lies.
        out: .npy; written under another name, and there when it is whole.

    Returns:
        The run, m, and a line on absurd rows, for people; nothing where there are none.

    Raises:
        BenchmarkError: the run's weights are not on this machine.
        DataError: the vectors are not what the head reads.
        UsageError: the run is not of a head.
    """
    spec = read_record(path).spec
    if not spec.views:
        raise UsageError(f"{spec.label} is a whole network, which reads images; only heads on features can be applied")
    if methods.entry(spec.method).is_posthoc:
        raise UsageError(f"{spec.label} is made of the teacher's embeddings, and has no head that could be applied")
    store = Store(path.parents[1])
    if not store.weights(spec).exists():
        raise BenchmarkError(
            f"the weights of {spec.label} are not on this machine ({store.weights(spec)}): "
            "run it here, or bring that file along"
        )
    head = load_encoder(spec, store, device)
    file = VectorFile(features, "features")
    if file.views > 1:
        raise DataError(f"{features} has {file.views} views an image; vectors to apply a head to are [m, c]")
    if file.width != head.widths.pooled:
        raise DataError(
            f"{features} has vectors of {file.width} numbers, the head of {spec.label} reads {head.widths.pooled}"
        )
    absurd = file.told  # goes through the whole file: what is wrong with it is met before anything is written
    with new_array(out, (len(file), spec.dim), "<f4") as result:
        embed(spec, head, Views(file, np.arange(len(file))), device, out=result)
    return spec, len(file), absurd
