"""`benchmark apply`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import methods
from ..data.stored import new_array
from ..data.vectors import VectorFile, Views
from ..errors import DataError, UsageError
from ..networks.weights import load_encoder
from ..protocol.request import Device
from ..record import read_record
from ..shipping.student import find
from ..store import Store
from ..training import student as trained
from .console import RESULTS, device_of, say
from .options import Out, Run, RunResults


def apply(*, run: Run, features: Path, to: Out, results: RunResults = RESULTS, device: Device = None) -> int:
    """Apply a trained head to new vectors, from [m, c] to [m, d]; the result is l2-normalised if the run's embedding is.

    Parameters
    ----------
    features
        .npy or .npz, [m, c]
    """
    path = find(results, run)
    spec, where = read_record(path).spec, device_of(device)
    if not spec.views:
        raise UsageError(f"{spec.label} is a whole network, which reads images; only heads on features can be applied")
    if methods.entry(spec.method).is_posthoc:
        raise UsageError(f"{spec.label} is made of the teacher's embeddings, and has no head that could be applied")
    head, file = load_encoder(spec, Store(path.parents[1]), where), VectorFile(features, "features")
    if file.views > 1 or file.width != head.widths.pooled:
        wanted = f"the head of {spec.label} reads {head.widths.pooled}"
        raise DataError(f"{features} has {file.views} views of {file.width} numbers an image; {wanted}")
    absurd = file.told  # goes through the whole file: what is wrong with it is met before anything is written
    with new_array(to, (len(file), spec.dim), "<f4") as result:
        trained.embed(spec, head, Views(file, np.arange(len(file))), where, out=result)
    say(*filter(None, [absurd]), f"{spec.label}: wrote {to}, {len(file)} x {spec.dim}")
    return 0
