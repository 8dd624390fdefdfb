"""Batches of a stream: which images, which crops. Pure functions of the stream and the step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import UsageError
from ..spec import Stream, derive


def check_batches(labels: np.ndarray, stream: Stream) -> None:
    """Raise a UsageError where a batch cannot be filled with `per_class` images of a class (fewer where a class has fewer)."""
    counts = np.bincount(labels)
    most = int(np.minimum(counts, stream.per_class).sum())
    if most < stream.batch:
        advice = f"--set batch={most}" + (f" --set per_class={most}" if most < stream.per_class else "")
        raise UsageError(
            f"a batch of {stream.batch}, {stream.per_class} images of a class at most, is more than the training set has, "
            f"{len(labels)} of {len(counts)} classes: {advice} can be filled (by the teacher, too: --set teacher.batch={most})"
        )


def _all_apart(labels: np.ndarray) -> bool:
    """Whether each row is a class of its own, as where there are no labels."""
    return bool(labels[-1] == len(labels) - 1)


class Sampler:
    """Which rows a step of a stream trains on.

    Args:
        labels: int64 [n], 0 ... classes - 1.
    """

    def __init__(self, labels: np.ndarray, stream: Stream) -> None:
        check_batches(labels, stream)
        self.labels = labels
        self.stream = stream
        self._members: list[np.ndarray] = []  # rows of each class; none where each row is one
        if not _all_apart(labels):
            self._members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])

    def index(self, step: int) -> np.ndarray:
        """Rows [batch] of a step: classes at random, `per_class` images each without replacement, until the batch is full."""
        rng = np.random.default_rng(derive(self.stream.seed, "batch", step))
        if not self._members:  # cheap, however many rows there are
            return rng.choice(len(self.labels), self.stream.batch, replace=False)
        rows: list[int] = []
        for label in rng.permutation(len(self._members)):
            wanted = min(self.stream.per_class, self.stream.batch - len(rows))
            members = self._members[label]
            rows.extend(rng.choice(members, min(wanted, len(members)), replace=False))
            if len(rows) == self.stream.batch:
                break
        return np.array(rows)


class Batches(Sampler):
    """The training batches of a stream of images, by step.

    Args:
        images: uint8 [n, size, size, 3], decoded; may be a memmap.
        labels: int64 [n], 0 ... classes - 1.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, stream: Stream) -> None:
        super().__init__(labels, stream)
        self.images = images

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crops uint8 [batch, image, image, 3], labels [batch] and rows [batch] of a step."""
        rows = self.index(step)
        rng = np.random.default_rng(derive(self.stream.seed, "crop", step))
        corners, flips = places(rng, len(rows), self.images.shape[1], self.stream)
        return crop(self.images, rows, corners, flips, self.stream.image), self.labels[rows], rows


def places(rng: np.random.Generator, n: int, size: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Random upper left corners [n, 2] of crops in images of `size` pixels, and whether [n] they are mirrored."""
    corners = rng.integers(0, size - stream.image + 1, (n, 2))
    return corners, rng.random(n) < 0.5 if stream.flip else np.zeros(n, bool)


def crop(images: np.ndarray, rows: Iterable[int], corners: np.ndarray, flips: np.ndarray, side: int) -> np.ndarray:
    """Crops uint8 [n, side, side, 3] of images[rows], mirrored where `flips` says so."""
    batch = np.empty((len(corners), side, side, 3), np.uint8)
    for out, row, (top, left), flip in zip(batch, rows, corners, flips, strict=True):
        view = images[row, top : top + side, left : left + side]
        out[:] = view[:, ::-1] if flip else view
    return batch


def centre_crop(images: np.ndarray, side: int) -> np.ndarray:
    """The middle [n, side, side, 3] of images [n, size, size, 3], as a view."""
    edge = (images.shape[1] - side) // 2
    return images[:, edge : edge + side, edge : edge + side]
