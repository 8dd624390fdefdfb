"""What the networks of a stream read: crops of images, or cached features of frozen trunks. One interface, so that training is one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from .backbones import Encoder, encoder, trunk
from .data import DataSet, Split
from .data.batches import Batches, Sampler, centre_crop
from .data.features import features
from .spec import Spec, Stream, derive
from .store import digest
from .train import Drawn, autocast, seeded
from .weights import load_encoder, serialized, without_trunk
from .workspace import Workspace


class Inputs(Protocol):
    """A stream's data as its networks read them."""

    def encoder(self, spec: Spec) -> Encoder:
        """A student's network, its head not yet calibrated."""

    def frozen(self, spec: Spec) -> Encoder:
        """A finished run's network, to teach in this stream."""

    def draw(self, step: int) -> Drawn:
        """The training batch of a step."""

    def plain(self, spec: Spec, split: Split) -> np.ndarray:
        """What the network of a spec reads in evaluation: a row an image of the split."""


class ImageInputs:
    """Crops, drawn anew at every step; the same pixels for all networks."""

    def __init__(self, dataset: DataSet, group: Sequence[Spec], workspace: Workspace) -> None:
        self.stream: Stream = group[0]
        self.workspace = workspace
        self.train = dataset.train
        self._batches: Batches | None = None

    def encoder(self, spec: Spec) -> Encoder:
        return encoder(
            spec.backbone,
            spec.dim,
            pretrained=spec.pretrained,
            normalize=spec.normalize,
            hidden=spec.hidden,
            frozen_batchnorm=spec.batchnorm == "frozen",
        )

    def frozen(self, spec: Spec) -> Encoder:
        return load_encoder(spec, self.workspace.store, self.workspace.device)

    def draw(self, step: int) -> Drawn:
        if self._batches is None:
            self._batches = Batches(self._decoded(self.train), self.train.labels, self.stream)
        images, labels, index = self._batches(step)
        return Drawn(lambda spec: images, labels, index)

    def plain(self, spec: Spec, split: Split) -> np.ndarray:
        return centre_crop(self._decoded(split), self.stream.image)

    def _decoded(self, split: Split) -> np.ndarray:
        return self.workspace.images(split, self.stream.resize)


class FeatureInputs:
    """Pooled features of frozen trunks, computed once: at each step a view of each row is drawn, the same crop for all networks."""

    def __init__(self, dataset: DataSet, group: Sequence[Spec], workspace: Workspace) -> None:
        self.stream: Stream = group[0]
        self.workspace = workspace
        self.train = dataset.train
        found: dict[object, Source] = {}
        self._sources: dict[str, Source] = {}
        for spec in _readers(group):
            origin = _origin(spec)
            if origin not in found:
                found[origin] = _source(spec, workspace)
            self._sources[spec.id] = found[origin]
        if self.stream.steps:
            self.sampler = Sampler(dataset.train.labels, self.stream)
            self._views = {s.key: self._features(s, dataset.train, self.stream.views) for s in found.values()}
        for source, split in itertools.product(found.values(), dataset.splits):
            self._features(source, split, 1)

    def encoder(self, spec: Spec) -> Encoder:
        return Encoder(None, self._sources[spec.id].width, spec.dim, normalize=spec.normalize, hidden=spec.hidden)

    def frozen(self, spec: Spec) -> Encoder:
        network = load_encoder(spec, self.workspace.store, self.workspace.device)
        return network if spec.views else without_trunk(network)

    def draw(self, step: int) -> Drawn:
        rows = self.sampler.index(step)
        views = np.random.default_rng(derive(self.stream.seed, "view", step)).integers(0, self.stream.views, len(rows))
        drawn = {key: features[rows, views] for key, features in self._views.items()}
        return Drawn(lambda spec: drawn[self._sources[spec.id].key], self.train.labels[rows], rows)

    def plain(self, spec: Spec, split: Split) -> np.ndarray:
        return self._features(self._sources[spec.id], split, 1)[:, 0]

    def _features(self, source: Source, split: Split, views: int) -> np.ndarray:
        """float16 [n, views, width] of a split."""

        def compute(whole: Split) -> np.ndarray:
            name = self.workspace.name(whole)
            return features(
                self.workspace.images(whole, self.stream.resize),
                views,
                source.width,
                self.stream,
                source.extract,
                f"{source.key} {self.workspace.dataset.fingerprint} {name}",
                self.workspace.cache / "features",
                functools.partial(self.workspace.progress, f"{source.name} features of {name} images, {views} views"),
            )

        return split.of_whole(compute)


@dataclass(frozen=True)
class Source:
    """A frozen trunk."""

    name: str
    key: str  # what sets its features apart: weights, precision, device
    width: int
    extract: Callable[[np.ndarray], np.ndarray]  # uint8 [n, h, w, 3] -> float32 [n, width]


def _readers(group: Sequence[Spec]) -> list[Spec]:
    """A group's students and their teachers."""
    return list(dict.fromkeys(one for spec in group for one in (spec, spec.teacher) if one is not None))


def _origin(spec: Spec) -> object:
    """What tells the trunks of two specs apart, before they are built."""
    run = spec.trunk if spec.views else spec
    return (run or (spec.backbone, spec.pretrained)), (run or spec).precision


def _source(spec: Spec, workspace: Workspace) -> Source:
    """The trunk that a spec reads features of: of a run with its own (a teacher), of the run it names, or a pretrained one."""
    run = spec.trunk if spec.views else spec
    if run is not None:
        network = load_encoder(run, workspace.store, workspace.device).trunk
        assert network is not None
    else:
        with seeded(derive(0, "trunk", spec.backbone)):  # one without weights is random, and the same for all
            network = trunk(spec.backbone, spec.pretrained).to(workspace.device).eval()
    owner = run or spec
    device = workspace.device

    @torch.no_grad()
    def extract(images: np.ndarray) -> np.ndarray:
        with autocast(owner, device):
            pooled, _ = network(torch.from_numpy(images).to(device))
        return pooled.float().cpu().numpy()

    key = f"{digest(serialized(network))} {owner.precision} {device.type}"
    return Source(owner.backbone, key, network.pooled, extract)


def open_inputs(dataset: DataSet, group: Sequence[Spec], workspace: Workspace) -> Inputs:
    """The inputs of a group's stream; features that are not there yet are computed.

    Raises:
        BenchmarkError: a run that the group builds on has no weights.
        DataError: images cannot be read, or features not be written.
    """
    return (FeatureInputs if group[0].views else ImageInputs)(dataset, group, workspace)


def compute_features(groups: Sequence[Sequence[Spec]], workspace: Workspace) -> None:
    """Compute the features that groups will read, so that their processes find them. Raises as `open_inputs`."""
    distinct = {}
    for group in groups:
        stream = group[0].stream.model_copy(update={"seed": 0, "steps": 0, "batch": 2, "per_class": 2})
        origins = frozenset(map(_origin, _readers(group)))
        distinct[stream, origins] = group
    for group in distinct.values():
        open_inputs(workspace.of(group[0].stream), group, workspace)
