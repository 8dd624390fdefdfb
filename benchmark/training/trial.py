"""Checks of runs before their first step: all that can be known by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .. import methods
from ..data.batches import check_batches
from ..data.vectors import VectorRows
from ..errors import DamagedImages, DataError, UsageError, is_out_of_memory
from ..networks.encoder import network_of
from ..networks.names import RESNETS
from ..networks.trunks import trunk
from ..retrieval.metrics import NEAREST
from ..spec import Spec
from .context import RunContext
from .streams import readers
from .student import autocast, seeded

PROBE = 32  # images of a pass, at most


def scratch_pass(spec: Spec, device: torch.device) -> Callable[[], None]:
    """A forward and backward pass that costs as one of `spec` does on so many images, by a network that is thrown away."""
    with seeded(0):
        network = network_of(spec, pretrained=False)
    network.to(device).train()
    images = torch.zeros(min(spec.batch, PROBE), spec.image, spec.image, 3, dtype=torch.uint8, device=device)

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with seeded(0), autocast(spec, device):
            embedding = network(images).embedding
        if embedding.requires_grad:  # of a module of the user's that is frozen, it does not
            embedding.sum().backward()

    return step


def check_size(backbone: str, pixels: int, device: torch.device) -> None:
    """Raise a UsageError where a network cannot read images of that many pixels a side."""
    images = torch.zeros(2, pixels, pixels, 3, dtype=torch.uint8, device=device)
    try:
        # Scratch weights need no download.
        with seeded(0), torch.no_grad():
            network = trunk(backbone, pretrained=False, image=pixels).to(device)
            pooled, _ = network(images)
        if pooled.shape != (2, network.pooled):
            raise ValueError(f"it yields {list(pooled.shape)} for two of them, not {network.pooled} numbers each")
    # Whatever a network says to images that it is not made for.
    except (AssertionError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).split("\n")[0]
        raise UsageError(f"{backbone} cannot be trained on images of {pixels} px: {reason}") from error


def check_runs(specs: Sequence[Spec], context: RunContext, *, download: bool = True) -> None:
    """Meet before the first step what would otherwise end a run after its last, as far as it takes no time.

    Raises:
        UsageError: a batch cannot be filled, or a network cannot read images of the size.
        DataError: no query has a partner.
        BenchmarkError: a method's file cannot be imported, or pretrained weights cannot be had.
    """
    for name in dict.fromkeys(spec.method for spec in specs):
        methods.load(name)
    for spec in specs:
        if spec.method == "pca" and len(context.of(spec).train) < spec.dim:
            raise UsageError(
                f"pca: {len(context.of(spec).train)} training images span fewer than {spec.dim} dimensions"
            )
    for stream in dict.fromkeys(spec.stream for spec in specs):
        if stream.steps:
            check_batches(context.of(stream).train.labels, stream)
    for stream in {(spec.evaluation, spec.resize): spec.stream for spec in specs}.values():
        dataset = context.of(stream)
        if not dataset.labelled:
            if len(dataset.query) < NEAREST + 2:
                raise DataError(
                    f"{dataset.card.name}: {len(dataset.query)} rows are searched; to be told apart by the teacher's "
                    f"{NEAREST} nearest neighbours they must be at least {NEAREST + 2}"
                )
            continue
        counts = np.bincount(dataset.query.labels) if dataset.gallery is None else np.bincount(dataset.gallery.labels)
        least = 2 if dataset.gallery is None else 1
        if not (np.append(counts, 0)[np.minimum(dataset.query.labels, len(counts))] >= least).any():
            raise DataError(f"{dataset.card.name}: no query has another image of its class to be found")
    if not isinstance(context.dataset.train.images, VectorRows):
        check_networks(specs, context.device, download=download)


def check_networks(specs: Sequence[Spec], device: torch.device, *, download: bool = True) -> None:
    """Build each trunk once, so that what cannot be built stops the command before it has written anything.

    Without `download`, weights that would have to be downloaded are not asked for.
    """
    looking = [(spec, reader) for spec in specs for reader in readers([spec]) if not reader.reads_vectors]
    read = {((reader.trunk or reader).backbone, spec.image) for spec, reader in looking}
    for backbone, pixels in sorted(read):
        check_size(backbone, pixels, device)
    own = (spec for spec, reader in looking if spec is reader and spec.pretrained and spec.trunk is None)
    for backbone, pixels in sorted({(spec.backbone, spec.image) for spec in own}):
        if download or not (backbone.startswith("timm:") or backbone in RESNETS):
            trunk(backbone, pretrained=True, image=pixels)


def decode(specs: Sequence[Spec], context: RunContext) -> None:
    """Decode all images that `specs` read: the last one must not end a run after its last step.

    Raises:
        DamagedImages: some cannot be read; those of all splits are told.
    """
    seeing = (spec for spec in specs if not spec.reads_vectors)
    for stream in {(spec.evaluation, spec.resize, spec.fit): spec.stream for spec in seeing}.values():
        damaged: list[str] = []
        # Parts of a split are decoded with it.
        splits = {context.name(split): split for split in context.of(stream).splits}.values()
        for split in splits:
            try:
                if not isinstance(split.images, VectorRows):
                    context.images(split, stream)
            except DamagedImages as error:
                damaged += error.damaged
        if damaged:
            raise DamagedImages(damaged, sum(len(split.whole or split) for split in splits))
