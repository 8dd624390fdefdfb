"""A method, or the sum of several, as commands know it before anything of it is run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ..errors import UsageError
from ..spec import MATRYOSHKA, Frozen, Scalar

Kind = Literal["none", "individual", "relational", "mixed", "posthoc", "control"]  # mixed: of sums
Feature = Literal["embedding", "pooled", "maps", "labels", "teacher"]  # that it may read; a control, the last
UNTRAINED = ("posthoc", "control")
RESERVED = ("all", "individual", "relational", "posthoc", "control", "none", "teacher")  # words of the command line
TYPES = ("bool", "int", "float", "str")  # that a hyper-parameter may have
# Numbers that have a meaning, by the last word of a hyper-parameter's name: low, high, whether low itself is among them.
BOUNDS = {
    "weight": (0.0, math.inf, True),
    "rate": (0.0, math.inf, True),
    "share": (0.0, 1.0, True),
    "temperature": (0.0, math.inf, False),
}
# Texts that have a meaning, by the same last word.
WORDS = {"miner": ("ours", "authors")}


class Entry(Frozen):
    """A method as its source declares it; what a class does not declare is `base.Method`'s."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)]  # part of files' names
    kind: Kind
    reference: Annotated[str, Field(pattern=r"\S")]
    needs: tuple[Feature, ...]
    optional: tuple[Feature, ...]
    task: str
    normalize: bool
    trains: bool
    has_head: bool
    defaults: dict[str, Scalar]  # hyper-parameters, as published
    ranges: dict[str, tuple[float, float]]  # of some of these: low and high of what a random search draws from
    later: tuple[str, ...]
    is_random: bool
    same_size: bool
    self_taught: bool
    module: str
    cls: str
    parts: tuple[str, ...] = ()  # of a combination

    @field_validator("name")
    @classmethod
    def _is_no_word(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name!r} is a word of the command line")
        return name

    @field_validator("ranges", "later")
    @classmethod
    def _are_of_hyper_parameters(cls, names: Any, info: ValidationInfo) -> Any:
        defaults = info.data.get("defaults", {})
        for name in names:
            if name not in defaults:
                raise ValueError(f"{name!r} is none of its hyper-parameters: {', '.join(defaults) or 'it has none'}")
            low, high = names[name] if info.field_name == "ranges" else (0, 0)
            if low != high and not (type(defaults[name]) is float and 0 < low <= defaults[name] <= high):
                raise ValueError(f"of {name} write (low, high) above 0, with the default, a float, between")
        return names

    @model_validator(mode="after")
    def _can_be(self) -> Entry:
        if self.kind == "mixed" or (self.kind != "none" and self.trains == (self.kind in UNTRAINED)):
            raise ValueError(f"no method of the kind {self.kind} has trains = {self.trains}")
        if self.trains and not self.has_head:
            raise ValueError("has_head = False leaves nothing to train; write trains = False as well")
        return self

    @property
    def needs_teacher(self) -> bool:
        return "teacher" in self.needs or (self.kind not in ("none", "control") and not self.self_taught)

    @property
    def is_posthoc(self) -> bool:
        """Whether it is made of the teacher's embeddings, without a student."""
        return self.kind == "posthoc"

    @property
    def is_nested(self) -> bool:
        """Whether one student has embeddings of several dimensions."""
        return self.name.startswith(MATRYOSHKA)

    @property
    def uses_labels(self) -> bool:
        """Whether it reads labels, itself or by the task loss that it adds."""
        return "labels" in self.needs

    @property
    def said(self) -> dict[str, Any]:
        """The facts that a record keeps."""
        return {name: getattr(self, name) for name in ("kind", "paper", "self_taught")} | {"labels": self.uses_labels}

    @property
    def paper(self) -> str:
        """Name the paper that it is from, by which methods are grouped: the number on arXiv, else first author, venue and year, else
        its own name."""
        if number := re.search(r"arXiv (\d{4}\.\d{4,5})", self.reference):
            return number[1]
        author = re.search(r"([^\W\d_]+)(?: et al\.| and \w+)?,", self.reference)
        venue = re.search(r"[A-Z]\w*(?: workshop)? (?:19|20)\d\d", self.reference)
        return f"{author[1]}, {venue[0]}" if author and venue else self.name


def combined(name: str, parts: Sequence[Entry]) -> Entry:
    """The sum of methods, of the kind "mixed" where individual and relational ones come together: task losses join either.

    Raises:
        UsageError: one of them does not train, or is there twice.
    """
    names = tuple(part.name for part in parts)
    for part in parts:
        if not part.trains or names.count(part.name) > 1:
            raise UsageError(f"{name}: {part.name} cannot be added; a sum is of methods that train, each once")
    kinds = {part.kind for part in parts} - {"none"}
    needs = tuple(dict.fromkeys(need for part in parts for need in part.needs))
    facts = {
        "name": "+".join(names),
        "kind": next(iter(kinds), "none") if len(kinds) < 2 else "mixed",
        "reference": "; ".join(part.reference for part in parts),
        "needs": needs,
        "optional": tuple(dict.fromkeys(need for part in parts for need in part.optional if need not in needs)),
        "task": "",  # of the parts, each once
        "normalize": any(part.normalize for part in parts),  # a task loss wants it, and relations can do with it
        "same_size": any(part.same_size for part in parts),
        "self_taught": bool(kinds) and all(part.self_taught or part.kind == "none" for part in parts),
        "defaults": {f"{part.name}.{key}": value for part in parts for key, value in part.defaults.items()},
        "ranges": {f"{part.name}.{key}": range_ for part in parts for key, range_ in part.ranges.items()},
        "later": tuple(f"{part.name}.{key}" for part in parts for key in part.later),
        "is_random": any(part.is_random for part in parts),
    }
    return parts[0].model_copy(update=facts | {"module": "combination", "cls": "Combination", "parts": names})


def nested(name: str, inner: Entry) -> Entry:
    """The method over nested embeddings (`matryoshka.Matryoshka`). Raises a UsageError where it has no loss to nest."""
    if not inner.trains or inner.same_size or inner.parts:
        raise UsageError(
            f"{name}: {inner.name} cannot be nested; only methods that train a student of any dimension can"
        )
    place = {"module": "matryoshka", "cls": "Matryoshka", "parts": (inner.name,)}
    return inner.model_copy(update={"name": name, "task": "", **place})


def out_of_bounds(name: str, value: Scalar) -> str:
    """Tell what a hyper-parameter of that name may be, where it has no meaning at that value; else nothing."""
    last = re.split(r"[._]", name)[-1]
    low, high, closed = BOUNDS.get(last, (-math.inf, math.inf, True))
    if isinstance(value, str):
        return "" if value in WORDS.get(last, (value,)) else " or ".join(WORDS[last])
    if low < value <= high or (closed and value == low):
        return ""
    return f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more" if closed else f"more than {low:g}"
