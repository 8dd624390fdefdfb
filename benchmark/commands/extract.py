"""`benchmark extract`."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from pydantic import ValidationError

from ..data.cards import NOTHING_SAID
from ..data.source import Source
from ..data.splits import DataSet, Split
from ..data.stored import new_array
from ..errors import UsageError, WeightsError, unknown, wrong_field
from ..files import write_atomically, write_names
from ..protocol.given import with_own_names
from ..protocol.request import Data, Device
from ..spec import Fit, Spec
from ..store import Store
from ..training.context import RunContext
from ..training.progress import Reporter
from ..training.streams import trunk_features
from ..training.trial import check_size
from .console import RESULTS, device_of, out, say
from .options import NPY, Dataset, Out, Own


def extract(
    *,
    dataset: Dataset,
    backbone: str,
    to: Out,
    labels_out: Annotated[Path | None, Parameter(validator=NPY)] = None,
    split: str = "train",
    views: int = 1,
    image: int = 96,
    resize: int = 112,
    fit: Fit = "squash",
    data: Data = None,
    device: Device = None,
    own: Own = NOTHING_SAID,
) -> int:
    """Write a pretrained backbone's pooled features of images, for run --features: float16, [n, c], or [n, V, c] with several views.

    Parameters
    ----------
    backbone
        a network (benchmark list backbones)
    labels_out
        a .npy file to write the names of the classes to
    split
        train or test; for some data sets train, query or gallery; or all, for a teacher given as vectors (run --teacher-features)
    views
        crops of each image: the centre crop, and seeded crops
    image
        side of the crop, in pixels
    resize
        side of the decoded image, in pixels
    fit
        how an image becomes square: squash, crop (only its middle) or pad (the whole image on white)
    """
    backbone = str(with_own_names({"backbone": backbone})["backbone"])
    source = Source.named(dataset, data, own=own)
    if source.card.vectors is not None:
        raise UsageError(f"{dataset} holds vectors, not images")
    if views < 1:
        raise UsageError(f"--views wants 1 or more, not {views}")
    asked = {"views": views, "image": image, "resize": resize, "fit": fit}
    try:  # the run whose trunk it is: nothing of it is trained
        spec = Spec(dataset=source.card.name, method="untrained", backbone=backbone, steps=0, **asked)
    except ValidationError as error:
        raise UsageError(wrong_field(error, option=True)) from None
    where, chosen = device_of(device), _splits(source.images, split)
    check_size(spec.backbone, spec.image, where)
    with Reporter(out) as reporter:
        context = RunContext(source.images, source.folder, Store(RESULTS), where, reporter.preparing)
        try:
            shape = _write(spec, chosen, context, to)
        except WeightsError as error:  # its last advice is for runs, which can train from scratch
            raise WeightsError(str(error).partition(", or ask for training")[0]) from None
    if labels_out is not None:
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate([np.array(part.names)[part.labels] for part in chosen]))
        write_atomically(labels_out, buffer.getvalue())
    say(f"wrote {to}, {' x '.join(map(str, shape))}, float16")
    return 0


def _splits(dataset: DataSet, name: str) -> tuple[Split, ...]:
    """A split by its name, or all of them. Raises a UsageError if the data set has no such split."""
    first, *others = dataset.splits
    splits = {"train": first, **dict(zip(("query", "gallery") if len(others) == 2 else ("test",), others, strict=True))}
    if name not in {*splits, "all"}:
        raise unknown("split", name, splits)
    return tuple(splits.values()) if name == "all" else (splits[name],)


def _write(spec: Spec, splits: Sequence[Split], context: RunContext, out: Path) -> tuple[int, ...]:
    """Write pooled features, and of images in files a CSV of their names; the shape.

    View 0 is the centre crop, as in evaluation; the others are seeded crops, half of them mirrored.

    Raises:
        BenchmarkError: there are no weights, an image cannot be read, or there is no room.
    """
    source = trunk_features(spec, spec.stream, context)
    shape = (sum(map(len, splits)), *((spec.views,) if spec.views > 1 else ()), source.width)
    with new_array(out, shape, "<f2") as array:
        rows = array.reshape(shape[0], spec.views, source.width)
        for split, views in zip(splits, np.split(rows, np.cumsum([len(split) for split in splits])[:-1]), strict=True):
            views[:, :1] = source.cached(split, 1)
            if spec.views > 1:  # of 1 view they would be the centre crops again
                views[:, 1:] = source.cached(split, max(2, spec.views - 1))[:, : spec.views - 1]
        if paths := [path for split in splits if isinstance(split.images, tuple) for path in split.images]:
            root = context.dataset.contents.root
            write_names(out, [Path(os.path.relpath(path, root)).as_posix() for path in paths])
    return shape
