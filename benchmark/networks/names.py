"""The names of backbones, known without importing torch."""

from __future__ import annotations

import functools
import re
from typing import Any

from ..errors import UsageError, unknown
from ..spec import BY_NAME, TEACHER_VECTORS, VECTORS

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of its images
HALF = (0.5,) * 3, (0.5,) * 3
# A network of one's own: where it lies, FILE.py:FACTORY@CHECKPOINT or PACKAGE.MODULE:FACTORY, and what it is called in a spec.
OWN_PLACE = re.compile(r"(?!timm:|own:)([^:@;=]+):([A-Za-z_]\w{0,99})(?:@([^;=]+))?")
OWN_NAME = re.compile(r"own:[A-Za-z_]\w*-[0-9a-f]{16}")
WIDEST = 4096  # channels of conv4: its weights are 1.8 GB then
# How many pooled features networks have, by make.
RESNETS = {"resnet18": 512, "resnet50": 2048}
LITE = {"efficientnet_lite0": 1280, "efficientnet_lite1": 1280, "efficientnet_lite2": 1280}
NETWORKS = {**RESNETS, **LITE}
# Where weights are from, by network or kind of network: the rows of `benchmark list backbones`.
FAMILIES = {
    **dict.fromkeys(RESNETS, "ImageNet, torchvision's (downloaded)"),
    **dict.fromkeys(LITE, "ImageNet, from the extra 'weights' (no network)"),
    "conv4-W": "none: trained from scratch; W channels, such as conv4-32",
    "timm:NAME": "ImageNet or other, timm's default for the model (downloaded)",
    "FILE.py:FACTORY@CHECKPOINT": "your own module's (docs/extending.md); PACKAGE.MODULE:FACTORY, too",
    VECTORS: "none: your own vectors, run --features",
    TEACHER_VECTORS: "none: your own vectors, run --teacher-features",
}


def check_name(name: str) -> None:
    """Raise a UsageError, with the nearest name, where no backbone is called that, or it is too wide to be built."""
    if name in (VECTORS, TEACHER_VECTORS) or name.startswith(BY_NAME):
        raise UsageError(f"{name} is no network to choose: it stands for your own vectors (--features)")
    if OWN_NAME.fullmatch(name):
        return
    if name not in NETWORKS and not re.fullmatch(r"conv4-[1-9]\d*|timm:.+", name):
        raise unknown("backbone", name, FAMILIES)
    width = name.removeprefix("conv4-")
    if width != name and (len(width) > 9 or int(width) > WIDEST):
        raise UsageError(f"backbone {name[:40]} is too wide: conv4-{WIDEST} is the widest")
    if name.startswith("timm:"):
        import timm  # slow, and imports torch

        if not timm.is_model(model := name.removeprefix("timm:")):
            raise unknown("timm model", model, timm.list_models())


def pooled(name: str) -> int:
    """How many pooled features a backbone has that is not one's own; known without its weights. Raises as `check_name`."""
    check_name(name)
    if name.startswith("timm:"):
        return timm_sizes(name)[0]
    return NETWORKS[name] if name in NETWORKS else int(name.removeprefix("conv4-"))


def has_maps(name: str) -> bool:
    """Whether a backbone has feature maps of several sizes: a transformer's tokens are none, and of own modules nothing is known."""
    if name.startswith("timm:"):
        return bool(timm_sizes(name)[1])
    return not OWN_NAME.fullmatch(name)


@functools.cache
def timm_sizes(name: str) -> tuple[int, tuple[int, ...]]:
    """`sizes_of` a model of timm by the name of its backbone, which is built without memory and weights."""
    import timm
    import torch

    with torch.device("meta"):
        return sizes_of(timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=0))


def sizes_of(network: Any) -> tuple[int, tuple[int, ...]]:
    """How many pooled features a model of timm has, and how many channels its maps; no maps where all stages have one resolution."""
    stages = getattr(network, "feature_info", None) or () if hasattr(network, "forward_intermediates") else ()
    pyramid = len({stage["reduction"] for stage in stages}) > 1
    channels = tuple(stage["num_chs"] for stage in stages) if pyramid else ()
    return getattr(network, "head_hidden_size", network.num_features), channels
