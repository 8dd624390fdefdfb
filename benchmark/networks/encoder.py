"""Networks: a trunk that yields features at several depths, and an embedding head; what stands in their place; and how they ship."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.decode import square
from ..methods import entry
from ..methods.base import Features, Widths
from ..spec import Fit, Spec
from .trunks import Trunk, trunk

if TYPE_CHECKING:
    from ..methods.closed import ClosedForm
    from ..methods.posthoc import PostHoc

EMBEDDING = frozenset({"embedding"})


class Network(nn.Module, ABC):
    """From what a stream carries to embeddings, l2-normalised where `normalize` says so.

    A stream of images carries uint8 [n, h, w, 3]; a stream of features carries pooled features [n, pooled] of a frozen trunk, or own
    vectors.
    """

    def __init__(self, widths: Widths, normalize: bool, trunk: Trunk | None = None) -> None:
        super().__init__()
        self.widths = widths
        self.normalize = normalize
        self.trunk = trunk

    @abstractmethod
    def forward(self, inputs: Tensor, needs: frozenset[str] = EMBEDDING) -> Features:
        """Features of what the stream carries; maps are kept only where `needs` names them."""

    def pooled(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled features float32 [n, pooled] of what the stream carries, and the maps on the way."""
        if self.trunk is None:
            return inputs.float(), ()
        pooled, maps = self.trunk(inputs)
        return pooled.float(), maps

    def finished(self, embedding: Tensor) -> Tensor:
        """Embeddings [n, d], of unit length where the network normalises."""
        return F.normalize(embedding) if self.normalize else embedding

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the head, where there is one."""
        return []

    def calibrate(self, inputs: Tensor) -> None:
        """Set the scale of what the head reads from training images or features; without a head, nothing."""

    def as_gallery(self) -> Network:
        """The network that embeds what a search finds: this one, unless codes are stored."""
        return self


class Encoder(Network):
    """Trunk, feature scaling, head. The encoder of a stream of features has no trunk.

    The head reads centred pooled features of unit mean square norm and starts at variances that keep it, so that the
    embeddings of training images have unit mean square norm at step 0 (and, of a linear head, zero mean), whatever the trunk: a
    student without l2 otherwise starts at a scale of the trunk's choosing, which losses on distances spend their steps on. Centre and
    scale are constants, set once by `calibrate`; they are the same for all methods of one stream.

    A plain head, as in the code of Park et al. 2019, reads the features as they are and starts as torch has it.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        trunk: Trunk | None,
        pooled: int,
        dim: int,
        *,
        normalize: bool = True,
        hidden: int = 0,
        plain: bool = False,
        frozen_batchnorm: bool = False,
    ) -> None:
        widths = Widths(embedding=dim, pooled=pooled, maps=() if trunk is None else trunk.widths)
        super().__init__(widths, normalize, trunk)
        self.frozen_batchnorm = frozen_batchnorm
        self.register_buffer("centre", torch.zeros(pooled))
        self.register_buffer("scale", torch.ones(()))
        self.plain = plain
        # Of the hidden layer ReLU keeps half the square.
        self.inner = self._linear(pooled, hidden, std=math.sqrt(2 / hidden)) if hidden else None
        self.head = self._linear(hidden or pooled, dim, std=1 / math.sqrt(dim))
        self.to(memory_format=torch.channels_last)

    def _linear(self, inputs: int, outputs: int, std: float) -> nn.Linear:
        layer = nn.Linear(inputs, outputs)
        if not self.plain:
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        return layer

    def head_parameters(self) -> list[nn.Parameter]:
        return [p for part in (self.inner, self.head) if part is not None for p in part.parameters()]

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        if self.frozen_batchnorm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @torch.no_grad()
    def calibrate(self, inputs: Tensor) -> None:
        """Set centre and scale from training images or features; BatchNorm statistics stay as they are. A plain head has none."""
        if self.plain:
            return
        buffers = dict(self.trunk.named_buffers()) if self.trunk is not None else {}
        before = {name: buffer.clone() for name, buffer in buffers.items()}
        pooled, _ = self.pooled(inputs)
        for name, buffer in buffers.items():
            buffer.copy_(before[name])
        self.centre.copy_(pooled.mean(0))
        self.scale.copy_((pooled - self.centre).square().sum(1).mean().sqrt().clamp(min=1e-6))

    @torch.no_grad()
    def solve(self, method: ClosedForm, features: Tensor, labels: Tensor, teacher: Tensor | None) -> None:
        """Take the linear head that a method finds for the training images, of their pooled features and the teacher's embeddings."""
        centre, matrix = method.solve(features, labels, teacher)
        self.centre.copy_(centre)
        self.scale.fill_(1.0)
        self.head.weight.copy_(matrix)
        self.head.bias.zero_()
        if teacher is not None:
            method.align(self(features).embedding, teacher)

    def forward(self, inputs: Tensor, needs: frozenset[str] = EMBEDDING) -> Features:
        pooled, maps = self.pooled(inputs)
        with torch.autocast(pooled.device.type, enabled=False):  # distances of eight-bit mantissas would be coarse
            x = (pooled - self.centre) / self.scale
            embedding = self.head(x if self.inner is None else F.relu(self.inner(x)))
        kept = tuple(map(Tensor.float, maps)) if "maps" in needs else ()
        return Features(self.finished(embedding), pooled, kept, self.normalize)


class Headless(Network):
    """Features as they are: a trunk's, or, of so many numbers, those that the stream carries."""

    def __init__(self, trunk: Trunk | None, width: int = 0, *, normalize: bool = True) -> None:
        widths = Widths(width, width, ()) if trunk is None else Widths(trunk.pooled, trunk.pooled, trunk.widths)
        super().__init__(widths, normalize, trunk)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor, needs: frozenset[str] = EMBEDDING) -> Features:
        pooled, maps = self.pooled(inputs)
        kept = tuple(map(Tensor.float, maps)) if "maps" in needs else ()
        return Features(self.finished(pooled), pooled, kept)


class Compressed(Network):
    """Finished networks with a post-hoc transform of their embeddings, side by side. Its parameters, and so its cost, are theirs; what is
    saved is the transform alone.

    Args:
        members: frozen and in eval mode.
        gallery: whether it embeds what a search finds instead of what a query is searched with.
        whole: whether the networks are saved with the transform, as what goes elsewhere wants it.
    """

    def __init__(
        self,
        members: Sequence[Network],
        method: PostHoc,
        dim: int,
        *,
        normalize: bool,
        gallery: bool = False,
        whole: bool = False,
    ) -> None:
        super().__init__(Widths(embedding=dim, pooled=members[0].widths.pooled, maps=()), normalize)
        self.members = tuple(members)  # a tuple is no submodule
        self.saved = nn.ModuleList(members if whole else ())
        self.method = method
        self.gallery = gallery

    def as_gallery(self) -> Network:
        if not self.method.stores:
            return self
        return Compressed(self.members, self.method, self.widths.embedding, normalize=self.normalize, gallery=True)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return itertools.chain.from_iterable(member.parameters(recurse) for member in self.members)

    def forward(self, inputs: Tensor, needs: frozenset[str] = EMBEDDING) -> Features:
        parts = [member(inputs) for member in self.members]
        embedding = torch.cat([part.embedding for part in parts], dim=1)
        made = self.method.stored(embedding) if self.gallery else self.method.compress(embedding)
        return Features(self.finished(made), parts[0].pooled)


class Shipped(nn.Module):
    """A network as it goes elsewhere.

    From images uint8 [n, size, size, 3], made square as for training, or own vectors [n, c], to embeddings [n, d].

    Args:
        image: pixels a side of the crop in the middle that the network reads; 0 of own vectors.
        size: pixels a side of the square.
        fit: how images become square.
    """

    def __init__(self, network: Network, image: int, size: int, fit: Fit = "squash") -> None:
        super().__init__()
        self.fit = fit
        self.network = network
        self.image = image
        self.size = size

    def preprocess(self, *files: str | Path) -> Tensor:
        """Read image files as the network wants them, uint8 [n, size, size, 3]. Raises a DataError where a file is no image."""
        return torch.from_numpy(np.stack([square(Path(file), self.size, self.fit) for file in files]))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.image:
            edge = (inputs.shape[1] - self.image) // 2
            inputs = inputs[:, edge : edge + self.image, edge : edge + self.image]
        return self.network(inputs).embedding


def encoder(backbone: str, dim: int, *, pretrained: bool = True, image: int = 224, **head: Any) -> Encoder:
    """A network for streams of images; `head` as for `Encoder`. Raises as `trunk`."""
    made = trunk(backbone, pretrained, image)
    return Encoder(made, made.pooled, dim, **head)


def network_of(spec: Spec, *, pretrained: bool) -> Network:
    """A run's network in a stream of images, at step 0 but for its scale. Raises as `trunk`."""
    if spec.reads_vectors:
        return Headless(None, spec.dim, normalize=spec.normalize)
    if not entry(spec.method).has_head:
        return Headless(trunk(spec.backbone, pretrained, spec.image), normalize=spec.normalize)
    return encoder(
        spec.backbone,
        spec.dim,
        pretrained=pretrained,
        image=spec.image,
        normalize=spec.normalize,
        hidden=spec.hidden,
        plain=spec.head == "plain",
        frozen_batchnorm=spec.batchnorm == "frozen",
    )
