"""Features of images as files: what `run --features` reads."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ..data.cards import Card
from ..data.splits import DataSet, Split
from ..data.stored import new_array
from ..errors import UsageError, unknown, wrong_field
from ..files import write_atomically, write_names
from ..spec import Fit, Spec
from ..training.context import RunContext
from ..training.streams import trunk_features


def request(card: Card, backbone: str, *, views: int, image: int, resize: int, fit: Fit) -> Spec:
    """The run whose trunk it is: pretrained, nothing trained.

    Raises:
        UsageError: a number that cannot be.
    """
    if views < 1:
        raise UsageError(f"--views wants 1 or more, not {views}")
    try:
        return Spec(
            dataset=card.name,
            method="untrained",
            backbone=backbone,
            views=views,
            image=image,
            resize=resize,
            fit=fit,
            steps=0,
        )
    except ValidationError as error:
        raise UsageError(wrong_field(error, option=True)) from None


def named(dataset: DataSet, name: str) -> tuple[Split, ...]:
    """A split by its name: train and test; or train, query and gallery; or all of them.

    Raises:
        UsageError: the data set has no such split.
    """
    first, *others = dataset.splits
    splits = {"train": first, **dict(zip(("query", "gallery") if len(others) == 2 else ("test",), others, strict=True))}
    if name not in {*splits, "all"}:
        raise unknown("split", name, splits)
    return tuple(splits.values()) if name == "all" else (splits[name],)


def extract(
    spec: Spec, splits: Sequence[Split], context: RunContext, out: Path, labels_out: Path | None
) -> tuple[int, ...]:
    """Write pooled features as float16, as they are cached: [n, width], or [n, views, width] of more views than one; and of images
    in files a CSV of their names.

    View 0 is the centre crop, as in evaluation; the others are seeded crops, half of them mirrored.

    Args:
        labels_out: for the names of the classes [n], which are the same whatever the split.

    Returns:
        The shape.

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
    if labels_out is not None:
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate([np.array(split.names)[split.labels] for split in splits]))
        write_atomically(labels_out, buffer.getvalue())
    return shape
