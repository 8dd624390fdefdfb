"""Which settings a command line may change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..data.cards import Card
from ..errors import UsageError, unknown
from ..methods import entry
from ..spec import Spec
from . import grid
from .grid import split_key
from .request import Request

# What --set cannot change, and which option does.
RESERVED = {
    "method": "--methods",
    "dim": "--dims",
    "seed": "--seeds",
    "dataset": "--dataset",
    "subset": "--subset",
    "teacher": "--teacher, or teacher.KEY=VALUE",
    "evaluation": "benchmark tune",
    "fold": "benchmark tune",
    "data": "--dataset",
    "trunk": "--preset",
    "params": "METHOD.KEY=VALUE",
}
TEACHER_MAY = ("method", "dim", "seed")
# What own vectors have none of, or what their files say.
NOT_OF_VECTORS = (
    "backbone",
    "pretrained",
    "trunk",
    "batchnorm",
    "resize",
    "fit",
    "image",
    "flip",
    "precision",
    "views",
)


def check_keys(keys: Iterable[str], chosen: Sequence[str], card: Card, request: Request) -> None:
    """Nothing that is set may be without effect: no key of another option, no method that does not run."""
    for key in keys:
        target, name = split_key(key)
        method = entry(target) if target in chosen else None
        if target and target != "teacher" and method is None:
            raise unknown("method (of those chosen)", target, ["teacher", *chosen])
        if name in RESERVED and not (target == "teacher" and name in TEACHER_MAY):
            raise UsageError(f"{key} cannot be set; use {RESERVED[name]}")
        if method is not None and method.is_posthoc and name in grid.OF_TEACHER:
            raise UsageError(f"{key} cannot be set: {target} is made of the teacher's embeddings; set teacher.{name}")
        untrained = method is not None and not method.trains and name not in grid.of_untrained(method)
        if untrained and name in Spec.model_fields:
            raise UsageError(f"{key} cannot be set: {target} is not trained, and {name} would have no effect")
        if request.taught_by is not None and target == "teacher" and name != "normalize":
            raise UsageError(f"{key} cannot be set: the teacher is vectors; of these teacher.normalize can be")
        if card.vectors is not None and name in NOT_OF_VECTORS:
            raise UsageError(f"{key} cannot be set: own vectors are as their files have them")
        if card.vectors is not None and target in ("teacher", "features") and name != "normalize":
            raise UsageError(f"{key} cannot be set: own vectors are not trained; teacher.normalize can be")
