"""The names of backbones, known without importing torch."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import UsageError, unknown
from ..spec import BY_NAME, TEACHER_VECTORS, VECTORS

WIDEST = 4096  # channels of conv4: its weights are 1.8 GB then
DOWNLOADED, IN_WHEEL = "ImageNet, torchvision's (downloaded)", "ImageNet, from the extra 'weights' (no network)"


class Family(NamedTuple):
    """Networks of one make, or one network: a row of `benchmark list backbones`."""

    name: str
    weights: str


# Networks with a name of their own, by make: how many pooled features they have.
RESNETS = {"resnet18": 512, "resnet50": 2048}
LITE = {"efficientnet_lite0": 1280, "efficientnet_lite1": 1280, "efficientnet_lite2": 1280}
FAMILIES = (
    *(Family(name, DOWNLOADED) for name in RESNETS),
    *(Family(name, IN_WHEEL) for name in LITE),
    Family("conv4-W", "none: trained from scratch; W channels, such as conv4-32"),
    Family("timm:NAME", "ImageNet or other, timm's default for the model (downloaded)"),
    Family(VECTORS, "none: your own vectors, run --features"),
    Family(TEACHER_VECTORS, "none: your own vectors, run --teacher-features"),
)


def check_name(name: str) -> None:
    """Raise a UsageError, with the nearest name, where no backbone is called that, or it is too wide to be built."""
    if name in (VECTORS, TEACHER_VECTORS) or name.startswith(BY_NAME):
        raise UsageError(f"{name} is no network to choose: it stands for your own vectors (--features)")
    if name not in (*LITE, *RESNETS) and not re.fullmatch(r"conv4-[1-9]\d*|timm:.+", name):
        raise unknown("backbone", name, [family.name for family in FAMILIES])
    width = name.removeprefix("conv4-")
    if width != name and (len(width) > 9 or int(width) > WIDEST):
        raise UsageError(f"backbone {name[:40]} is too wide: conv4-{WIDEST} is the widest")
    if name.startswith("timm:"):
        import timm  # slow, and imports torch

        if not timm.is_model(model := name.removeprefix("timm:")):
            raise unknown("timm model", model, timm.list_models())


def pooled(name: str) -> int | None:
    """How many pooled features a backbone has; None where only timm knows."""
    if name.startswith("conv4-"):
        return int(name.removeprefix("conv4-"))
    return {**LITE, **RESNETS}.get(name)
