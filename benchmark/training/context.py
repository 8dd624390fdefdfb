"""Where a run finds its images and weights, and what it runs on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..data.cache import cache_dir, decoded
from ..data.splits import DataSet, Split, holdout
from ..methods import edition
from ..provenance import environment, sources
from ..spec import Spec, Stream
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
    track: str | None = None  # how students train is told to it as well

    def __post_init__(self) -> None:
        # Once: they are of the code as it was loaded, not as it is when a run ends or another process begins.
        self.environment = self.environment or environment(self.device)
        self.sources = self.sources or sources()

    def on(self, device: torch.device) -> RunContext:
        """The same on a device of another index or machine, for a process there that has loaded the same code."""
        return replace(self, device=device, environment={**environment(device), "code": self.environment["code"]})

    def say(self, text: str) -> None:
        """Have a remark shown."""
        self.progress(text, 0, 0)

    @property
    def cache(self) -> Path:
        return cache_dir(self.data_dir)

    def checkpoint(self, spec: Spec) -> Path:
        """Where a run in training is kept, by its method as it is now."""
        return self.store.checkpoint(spec, edition(spec.method))

    def images(self, split: Split, stream: Stream) -> np.ndarray:
        """Images uint8 [n, size, size, 3] of a split, decoded for a stream."""

        def of_whole(whole: Split) -> np.ndarray:
            progress = functools.partial(self.progress, f"decode {self.name(whole)} images")
            return decoded(whole, stream.resize, self.cache, progress, stream.fit)

        return split.of_whole(of_whole)

    def name(self, split: Split) -> str:
        """Which split of the data set that is."""
        whole = split.whole or split
        data = self.dataset
        splits = {"training": data.train, "query": data.query, "gallery": data.gallery, "validation": data.validation}
        return next(name for name, known in splits.items() if known is whole)

    def of(self, stream: Stream) -> DataSet:
        """The data set as a stream sees it."""
        return self.dataset if stream.evaluation == "test" else holdout(self.dataset, stream.fold)
