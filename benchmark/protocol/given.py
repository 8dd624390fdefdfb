"""Settings that are given: which may be, and what follows from them where a network exists already, a teacher or a module of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..data.cards import Card
from ..errors import UsageError, unknown
from ..methods import entry
from ..methods.plugins import registered
from ..networks import names
from ..spec import Spec
from ..tuned import Settings
from .grid import OF_TEACHER, of_untrained, split_key
from .presets import Layers
from .request import Request

AS_IS = "features"  # the method of a network whose pooled features are the embedding
PRETRAINED = "pretrained"  # the word after @
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
NOT_OF_VECTORS = {
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
}


def check_keys(keys: Iterable[str], chosen: Sequence[str], card: Card, request: Request) -> None:
    """Nothing that is set may be without effect: no key of another option, no method that does not run."""
    for key in keys:
        target, name = split_key(key)
        method = entry(target) if target in chosen else None
        if target and target != "teacher" and method is None:
            raise unknown("method (of those chosen)", target, ["teacher", *chosen])
        if name in RESERVED and not (target == "teacher" and name in TEACHER_MAY):
            raise UsageError(f"{key} cannot be set; use {RESERVED[name]}")
        if method is not None and method.is_posthoc and name in OF_TEACHER:
            raise UsageError(f"{key} cannot be set: {target} is made of the teacher's embeddings; set teacher.{name}")
        untrained = method is not None and not method.trains and name not in of_untrained(method)
        if untrained and name in Spec.model_fields:
            raise UsageError(f"{key} cannot be set: {target} is not trained, and {name} would have no effect")
        if request.taught_by is not None and target == "teacher" and name != "normalize":
            raise UsageError(f"{key} cannot be set: the teacher is vectors; of these teacher.normalize can be")
        of_vectors = name in NOT_OF_VECTORS or (target in ("teacher", "features") and name != "normalize")
        if card.vectors is not None and of_vectors:
            raise UsageError(f"{key} cannot be set: own vectors are as their files have them; teacher.normalize can be")


def settings_of_teacher(text: str, values: Settings) -> Settings:
    """The settings that --teacher stands for, beside those of --set.

    Raises:
        UsageError: it is no NAME, NAME@DIM, NAME@pretrained or FILE.py:FACTORY@CHECKPOINT, or --set says otherwise.
    """
    text = registered("backbones").get(text, text)
    name, at, word = text.partition("@")
    own = names.OWN_PLACE.fullmatch(text) is not None
    if own or word == PRETRAINED:
        if values.get("teacher.method", AS_IS) != AS_IS:
            raise UsageError(f"--teacher {text} is taken as it is; to train it, set teacher.backbone instead")
        return {
            "teacher.backbone": text if own else name,
            "teacher.method": AS_IS,
            "teacher.pretrained": values.get("teacher.pretrained", True),
        }
    if at and not re.fullmatch(r"[0-9]{1,9}", word):
        raise UsageError(f"--teacher NAME@DIM wants a whole number, or the word {PRETRAINED}, not {word!r}")
    return {"teacher.backbone": name} | ({"teacher.dim": int(word)} if at else {})


def with_own_names(values: Settings) -> Settings:
    """Settings in which modules of one's own have their names, and the weights that they come with.

    Raises:
        UsageError: no backbone is called that, or no module lies there; as `open_own`.
    """
    result = dict(values)
    for key, value in values.items():
        if split_key(key)[1] != "backbone":
            continue
        place = registered("backbones").get(str(value), str(value))
        if names.OWN_PLACE.fullmatch(place):
            from ..networks.own import absolute, open_own  # imports torch

            result[key] = open_own(absolute(place)).name
        names.check_name(str(result[key]))
        if names.OWN_NAME.fullmatch(result[key]):
            result.setdefault(key.removesuffix("backbone") + "pretrained", True)
    return result


def set_of(target: str, values: Settings) -> Settings:
    """The settings of one target, by field."""
    return {split_key(key)[1]: value for key, value in values.items() if split_key(key)[0] == target}


def pooled_of(settings: Settings) -> int:
    """How many features the backbone of some settings has. Raises as `own_width`."""
    name, pixels = (settings.get(field, _default(field)) for field in ("backbone", "image"))
    if names.OWN_NAME.fullmatch(name):
        from ..networks.own import own_width  # imports torch

        return own_width(name, pixels)
    return names.pooled(name)


def _default(field: str) -> object:
    return Spec.model_fields[field].default


def as_students_see(values: Settings, students: Settings, below: Layers, chosen: Sequence[str]) -> Settings:
    """The settings that follow from the students' images: how teachers see them, and the dimensions of what is taken as it is, a
    teacher or the students' features. Raises as `_as_is`.
    """
    result = _as_is(values, below)
    if "fit" in values:  # both see the same pixels
        result["teacher.fit"] = values.get("teacher.fit", values["fit"])
    if AS_IS in chosen:
        result[f"{AS_IS}.dim"] = pooled_of({**students, **set_of(AS_IS, values)})
    return result


def _as_is(values: Settings, below: Layers) -> Settings:
    """The settings that a teacher has which is taken as it is: its own dimension, the students' images; none of one that is trained.

    Raises:
        UsageError: something is set that would be without effect, or its size cannot be known.
    """
    given = set_of("teacher", values)
    teachers = [{**own, **given} for own in below.teachers]
    if any(teacher.get("method") != AS_IS for teacher in teachers):
        return {}
    for field in given:
        if field not in of_untrained(entry(AS_IS)) or field == "dim":
            raise UsageError(
                f"teacher.{field} cannot be set: the teacher is taken as it is, with all numbers that it gives"
            )
    if len({teacher.get("backbone") for teacher in teachers}) > 1:
        raise UsageError("the preset has several teachers: name the one that is taken as it is, by --teacher")
    same = {f"teacher.{name}": values[name] for name in ("image", "resize") if name in values and name not in given}
    result = {**teachers[0], **set_of("teacher", same)}
    return {**same, "teacher.seed": given.get("seed", 0), "teacher.dim": pooled_of(result)}


def check_untrained(specs: Sequence[Spec]) -> None:
    """Raise a UsageError where a teacher would be trained on images without labels."""
    if any(spec.taught_by.steps for spec in specs):
        raise UsageError(
            "without labels no teacher can be trained: --teacher NAME@pretrained or FILE.py:FACTORY@CHECKPOINT takes one as it is, "
            "and --teacher-features takes vectors"
        )


def without_maps(method: str, students: Settings, below: Layers) -> str:
    """The first of a method's two networks that has no feature maps; empty where both have."""
    student = students.get(f"{method}.backbone", students.get("backbone", _default("backbone")))
    backbones = [teacher.get("backbone", _default("backbone")) for teacher in below.teachers]
    taught = [students["teacher.backbone"]] if "teacher.backbone" in students else backbones
    return next((backbone for backbone in (*taught, student) if not names.has_maps(backbone)), "")
