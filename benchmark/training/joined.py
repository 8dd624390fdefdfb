"""A teacher that is vectors of images, in a stream of crops or of features."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..data.splits import DataSet, Split
from ..data.vectors import TeacherVectors, Views
from ..spec import Spec, derive


class Joined:
    """The vectors of a group's teacher, joined to images by name; looked at when a network reads them, for who ships a student has none."""

    def __init__(self, dataset: DataSet, readers: Sequence[Spec]) -> None:
        self.dataset = dataset
        self.reader = next((spec for spec in readers if spec.joined), None)

    @functools.cached_property
    def vectors(self) -> TeacherVectors:
        assert self.reader is not None
        return self.dataset.taught_by(self.reader)

    @functools.cached_property
    def _train(self) -> Views:
        return self.plain(self.dataset.train)

    def plain(self, split: Split) -> Views:
        """Vectors of a split's images: view 0 where they have several, as in evaluation. Raises as `DataSet.taught_by`."""
        assert isinstance(split.images, tuple)
        return self.vectors.of(split.images)

    def draw(self, rows: np.ndarray, seed: int, step: int) -> np.ndarray:
        """A step's view of each of some training images, whatever crop of it the student sees; empty where no teacher is vectors."""
        if self.reader is None:
            return np.empty(0)
        rng = np.random.default_rng(derive(seed, "teacher's view", step))
        return self._train[rows, rng.integers(0, self.vectors.file.views, len(rows))]
