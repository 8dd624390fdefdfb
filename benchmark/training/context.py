"""Where a run finds its images and weights, and what it runs on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..data.cache import cache_dir, decoded
from ..data.splits import DataSet, Split, holdout
from ..data.vectors import VectorRows
from ..methods import edition
from ..networks.own import recall
from ..provenance import environment, sources
from ..retrieval.metrics import NEAREST
from ..retrieval.search import Ints, neighbours
from ..spec import TEACHER_VECTORS, Spec, Stream
from ..store import Store


def silent(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


@dataclass
class RunContext:
    """The things that all groups of a command share: the data set, the store, the device."""

    dataset: DataSet
    data_dir: Path
    store: Store
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Callable[[str, int, int], None] = silent  # of decoding and the like; 0 of 0 is a remark
    environment: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    _targets: dict[tuple[str, str], Ints] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Once: they are of the code as it was loaded, not as it is when a run ends or another process begins.
        self.environment = self.environment or environment(self.device)
        self.sources = self.sources or sources()
        recall()

    def say(self, text: str) -> None:
        """Have a remark shown."""
        self.progress(text, 0, 0)

    @property
    def cache(self) -> Path:
        return cache_dir(self.data_dir)

    def checkpoint(self, spec: Spec) -> Path:
        """Where a run in training is kept, by its method as it is now."""
        return self.store.checkpoint(spec, edition(spec.method))

    def images(self, split: Split, size: int) -> np.ndarray:
        """Decoded images uint8 [n, size, size, 3] of a split."""

        def of_whole(whole: Split) -> np.ndarray:
            name = f"{self.name(whole)} images"
            progress = functools.partial(self.progress, f"decode {name}")
            return decoded(whole, size, self.cache, progress, lambda text: self.say(f"{name}: {text}"))

        return split.of_whole(of_whole)

    def name(self, split: Split) -> str:
        """Which split of the data set that is."""
        whole = split.whole or split
        data = self.dataset
        splits = {"training": data.train, "query": data.query, "gallery": data.gallery, "validation": data.validation}
        return next(name for name, known in splits.items() if known is whole)

    def targets(self, stream: Stream) -> Ints:
        """The rows that each query is to find where own vectors have no labels: the teacher's nearest [n, NEAREST] by cosine."""
        key = stream.evaluation, stream.fold
        if key not in self._targets:
            images = self.of(stream).query.images
            assert isinstance(images, VectorRows)
            self._targets[key] = neighbours(images.of(TEACHER_VECTORS)[:], None, NEAREST, "cosine")
        return self._targets[key]

    def of(self, stream: Stream) -> DataSet:
        """The data set as a stream sees it."""
        return self.dataset if stream.evaluation == "test" else holdout(self.dataset, stream.fold)
