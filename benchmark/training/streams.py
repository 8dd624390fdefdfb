"""The inputs of a stream's networks: crops of images, or cached features of frozen trunks. One interface, so that training is one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import methods
from ..data.arrays import Rows
from ..data.batches import Batches, Sampler, centre_crop
from ..data.cache import features
from ..data.splits import DataSet, Split
from ..data.vectors import VectorRows, Views
from ..files import digest
from ..networks.encoder import Encoder, Headless, Network, network_of
from ..networks.names import OWN_NAME
from ..networks.trunks import Trunk, trunk
from ..networks.weights import load_encoder, serialized
from ..spec import Spec, Stream, derive
from ..store import Store
from .context import RunContext
from .joined import Joined
from .loop import Drawn
from .student import autocast, seeded


class ImageInputs:
    """Crops, drawn anew at every step; the same pixels for all networks."""

    def __init__(self, dataset: DataSet, group: Sequence[Spec], context: RunContext) -> None:
        self.stream: Stream = group[0]
        self.context = context
        self.train = dataset.train
        self._joined = Joined(dataset, readers(group))
        # Made by the first step: an evaluation needs no decoded training images.
        self._batches: Batches | None = None

    def encoder(self, spec: Spec) -> Network:
        """A student's network, its head not yet calibrated."""
        return network_of(spec, pretrained=spec.pretrained)

    def frozen(self, spec: Spec) -> Network:
        """A finished run's network, to teach in this stream."""
        return load_encoder(spec, self.context.store, self.context.device)

    def sources(self, spec: Spec) -> dict[str, str]:
        """Fingerprints of what a student and its teacher read, where the data set's does not tell it, by what they are of."""
        return {}

    def draw(self, step: int) -> Drawn:
        """The training batch of a step."""
        if self._batches is None:
            self._batches = Batches(self._decoded(self.train), self.train.labels, self.stream)
        images, labels, index = self._batches(step)
        joined = self._joined.draw(index, self.stream.seed, step)
        return Drawn(lambda spec: joined if spec.joined else images, labels, index)

    def plain(self, spec: Spec, split: Split) -> Rows:
        """The images that the network of a spec reads in evaluation, uint8 [n, h, w, 3], or the vectors: a row an image of the split."""
        if spec.joined:
            return self._joined.plain(split)
        return centre_crop(self._decoded(split), self.stream.image)

    def _decoded(self, split: Split) -> np.ndarray:
        return self.context.images(split, self.stream)


class FeatureInputs:
    """Features that frozen trunks give, or own vectors: at each step a view of each row is drawn, the same one for all networks.

    The methods are those of `ImageInputs`.
    """

    def __init__(self, dataset: DataSet, group: Sequence[Spec], context: RunContext) -> None:
        self.stream: Stream = group[0]
        self.context = context
        self.train = dataset.train
        sources: dict[object, Source] = {}
        self._sources: dict[str, Source] = {}
        self._joined = Joined(dataset, readers(group))
        # Without labels the teacher's neighbours are to be found, also by what is made of its students.
        roots = [] if dataset.labelled else [spec.taught_by for spec in group]
        for spec in readers([*group, *roots]):
            if not spec.joined:
                origin = _origin(spec)
                if origin not in sources:
                    sources[origin] = _source(spec, self.stream, dataset, context)
                self._sources[spec.id] = sources[origin]
        for spec in group:
            if _posthoc(spec) and not spec.joined:
                self._sources[spec.id] = self._sources[spec.members[0].id]
        if self.stream.steps:
            self.sampler = Sampler(dataset.train.labels, self.stream)
            self._views = {source.key: source.views(dataset.train) for source in sources.values()}
        for source, split in itertools.product(sources.values(), dataset.splits):
            source.plain(split)

    def encoder(self, spec: Spec) -> Network:
        if not methods.entry(spec.method).has_head:
            return Headless(None, spec.dim, normalize=spec.normalize)
        width, plain = self._sources[spec.id].width, spec.head == "plain"
        return Encoder(None, width, spec.dim, normalize=spec.normalize, hidden=spec.hidden, plain=plain)

    def frozen(self, spec: Spec) -> Network:
        return load_encoder(spec, self.context.store, self.context.device, trunk=False)

    def sources(self, spec: Spec) -> dict[str, str]:
        both = {"features": spec, "teacher's features": spec.teacher}
        sources = {name: self._sources.get(reader.id) for name, reader in both.items() if reader is not None}
        return {name: source.key for name, source in sources.items() if isinstance(source, TrunkFeatures)}

    def draw(self, step: int) -> Drawn:
        rows = self.sampler.index(step)
        views = np.random.default_rng(derive(self.stream.seed, "view", step)).integers(0, self.stream.views, len(rows))
        drawn = {key: features[rows, views] for key, features in self._views.items()}
        joined = self._joined.draw(rows, self.stream.seed, step)

        def read(spec: Spec) -> np.ndarray:
            return joined if spec.joined else drawn[self._sources[spec.id].key]

        return Drawn(read, self.train.labels[rows], rows)

    def plain(self, spec: Spec, split: Split) -> Rows:
        return self._joined.plain(split) if spec.joined else self._sources[spec.id].plain(split)


Inputs = ImageInputs | FeatureInputs


@dataclass(frozen=True)
class TrunkFeatures:
    """Features of a frozen trunk, computed once and cached."""

    name: str
    key: str  # what sets its features apart: weights, precision, device
    width: int
    extract: Callable[[np.ndarray], np.ndarray]  # uint8 [n, h, w, 3] -> float32 [n, width]
    stream: Stream
    context: RunContext

    def views(self, split: Split) -> np.ndarray:
        """Features [n, views, width]: what the stream's training batches are drawn from, by row and view."""
        return self.cached(split, self.stream.views)

    def plain(self, split: Split) -> np.ndarray:
        """Features [n, width], as in evaluation."""
        return self.cached(split, 1)[:, 0]

    def cached(self, split: Split, views: int) -> np.ndarray:
        """Features float16 [n, views, width] of a split."""

        def compute(whole: Split) -> np.ndarray:
            name = self.context.name(whole)
            what = f"{self.name} features of {name} images, {f'{views} views' if views > 1 else 'centre crops'}"
            return features(
                lambda: self.context.images(whole, self.stream),
                len(whole),
                views,
                self.width,
                self.stream,
                self.extract,
                f"{self.key} {self.context.dataset.fingerprint} {name}",
                self.context.cache / "features",
                functools.partial(self.context.progress, what),
            )

        return split.of_whole(compute)


@dataclass(frozen=True)
class OwnVectors:
    """Vectors in files, in the place of features."""

    backbone: str  # whose: the student's or the teacher's
    key: str  # the file
    width: int

    def views(self, split: Split) -> Views:
        assert isinstance(split.images, VectorRows)
        return split.images.of(self.backbone)

    plain = views  # they are as they are


Source = TrunkFeatures | OwnVectors


def readers(group: Sequence[Spec]) -> list[Spec]:
    """A group's students and their teachers; what is made of a teacher's embeddings reads what that teacher reads."""
    return list(dict.fromkeys(reader for spec in group for reader in (*([spec] * (not _posthoc(spec))), *spec.members)))


def _posthoc(spec: Spec) -> bool:
    return methods.entry(spec.method).is_posthoc


def _origin(spec: Spec) -> object:
    """A key that tells the trunks of two specs apart before they are built."""
    run = spec.trunk if spec.on_features else spec
    return (run or (spec.backbone, spec.pretrained)), (run or spec).precision


def _source(spec: Spec, stream: Stream, dataset: DataSet, context: RunContext) -> Source:
    if isinstance(dataset.train.images, VectorRows):
        file = dataset.train.images.of(spec.backbone).file
        return OwnVectors(spec.backbone, f"{file.path} {file.name}", file.width)
    return trunk_features(spec, stream, context)


def trunk_features(spec: Spec, stream: Stream, context: RunContext) -> TrunkFeatures:
    """Features of the trunk that a spec reads: of a run with its own (a teacher), of the run it names, or a pretrained one.

    Raises:
        BenchmarkError: there are no weights.
    """
    network, device = frozen_trunk(spec, context.store, context.device), context.device
    owner = (spec.trunk if spec.on_features else spec) or spec

    @torch.no_grad()
    def extract(images: np.ndarray) -> np.ndarray:
        with autocast(owner, device):
            pooled, _ = network(torch.from_numpy(images).to(device))
        return pooled.float().cpu().numpy()

    # Of a network of one's own, weights are not all that makes its features: its name tells its code as well.
    code = f" {owner.backbone}" if OWN_NAME.fullmatch(owner.backbone) else ""
    key = f"{digest(serialized(network))} {owner.precision} {device.type}{code}"
    return TrunkFeatures(owner.backbone, key, network.pooled, extract, stream, context)


def frozen_trunk(spec: Spec, store: Store, device: torch.device) -> Trunk:
    """The trunk itself, in eval mode. Raises as `trunk_features`."""
    run = spec.trunk if spec.on_features else spec
    if run is not None:
        network = load_encoder(run, store, device).trunk
        assert network is not None
        return network
    with seeded(derive(0, "trunk", spec.backbone)):  # one without weights is random, and the same for all
        return trunk(spec.backbone, spec.pretrained, spec.image).to(device).eval()


def open_inputs(dataset: DataSet, group: Sequence[Spec], context: RunContext) -> Inputs:
    """The inputs of a group's stream; features that are not there yet are computed.

    Raises:
        BenchmarkError: a run that the group builds on has no weights.
        DataError: images cannot be read, or features not be written.
    """
    return (FeatureInputs if group[0].on_features else ImageInputs)(dataset, group, context)


def compute_features(groups: Sequence[Sequence[Spec]], context: RunContext) -> None:
    """Compute the features that groups will read, so that their processes find them. Raises as `open_inputs`."""
    for group in groups:
        open_inputs(context.of(group[0].stream), group, context)
