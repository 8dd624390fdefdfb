"""A method, or the sum of several, as commands know it before anything of it is run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UsageError
from ..spec import MATRYOSHKA, Scalar

Kind = Literal["none", "individual", "relational", "mixed", "posthoc", "control"]
KINDS = ("none", "individual", "relational", "posthoc", "control")  # that a method may declare
UNTRAINED = {"posthoc": "PostHoc of posthoc.py", "control": "ClosedForm of closed.py"}  # kinds with a base of their own
FEATURES = ("embedding", "pooled", "maps", "labels", "teacher")  # that it may read; a control, the last
RESERVED = ("all", "individual", "relational", "posthoc", "control", "none", "teacher")  # words of the command line
LONGEST = 100  # letters of a name, which is part of files' names
TYPES = ("bool", "int", "float", "str")  # that a hyper-parameter may have
# Facts that a class declares about its method, each with an example.
FACTS: dict[str, Any] = {
    "name": "my-method",
    "kind": "relational",
    "reference": "Author et al., Title, venue, year",
    "needs": ("embedding", "labels"),
    "optional": ("maps",),
    "task": "triplet",
    "normalize": False,
    "trains": False,
    "has_head": False,
    "ranges": {"weight": (0.1, 10.0)},
    "later": ("weight",),
    "self_taught": True,
    "same_size": True,
    "is_random": True,
}
# Numbers that have a meaning, by the last word of a hyper-parameter's name: low, high, whether low itself is among them.
BOUNDS = {
    "weight": (0.0, math.inf, True),
    "rate": (0.0, math.inf, True),
    "share": (0.0, 1.0, True),
    "temperature": (0.0, math.inf, False),
}
# Texts that have a meaning, by the same last word.
WORDS = {"miner": ("ours", "authors")}


@dataclass(frozen=True)
class Entry:
    """A method as its source declares it; what a class does not declare is `base.Method`'s."""

    name: str
    kind: Kind
    reference: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
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
        if not part.trains:
            raise UsageError(f"{name}: {part.name} has no loss to add; only methods that train are in a sum")
        if names.count(part.name) > 1:
            raise UsageError(
                f"{name}: {part.name} stands in it {names.count(part.name)} times; a sum has a method once"
            )
    kinds = {part.kind for part in parts} - {"none"}
    needs = tuple(dict.fromkeys(need for part in parts for need in part.needs))
    return Entry(
        name="+".join(names),
        kind=next(iter(kinds), "none") if len(kinds) < 2 else "mixed",
        reference="; ".join(part.reference for part in parts),
        needs=needs,
        optional=tuple(dict.fromkeys(need for part in parts for need in part.optional if need not in needs)),
        task="",  # of the parts, each once
        normalize=any(part.normalize for part in parts),  # a task loss wants it, and relations can do with it
        trains=True,
        has_head=True,
        same_size=any(part.same_size for part in parts),
        self_taught=bool(kinds) and all(part.self_taught or part.kind == "none" for part in parts),
        defaults={f"{part.name}.{key}": value for part in parts for key, value in part.defaults.items()},
        ranges={f"{part.name}.{key}": range_ for part in parts for key, range_ in part.ranges.items()},
        later=tuple(f"{part.name}.{key}" for part in parts for key in part.later),
        is_random=any(part.is_random for part in parts),
        module="combination",
        cls="Combination",
        parts=names,
    )


def nested(name: str, inner: Entry) -> Entry:
    """The method over nested embeddings (`matryoshka.Matryoshka`). Raises a UsageError where it has no loss to nest."""
    if not inner.trains or inner.same_size or inner.parts:
        raise UsageError(
            f"{name}: {inner.name} cannot be nested; only methods that train a student of any dimension can"
        )
    return replace(inner, name=name, task="", module="matryoshka", cls="Matryoshka", parts=(inner.name,))


def out_of_bounds(name: str, value: Scalar) -> str:
    """Tell what a hyper-parameter of that name may be, where it has no meaning at that value; else nothing."""
    last = re.split(r"[._]", name)[-1]
    low, high, closed = BOUNDS.get(last, (-math.inf, math.inf, True))
    if isinstance(value, str):
        return "" if value in WORDS.get(last, (value,)) else " or ".join(WORDS[last])
    if low < value <= high or (closed and value == low):
        return ""
    return f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more" if closed else f"more than {low:g}"


def impossible(name: str, facts: Mapping[str, Any], defaults: Mapping[str, Scalar], base: str) -> str:
    """Tell why a fact cannot be; else nothing. `base`: the kind of `UNTRAINED` whose base the class derives from, if any."""
    value, kind = facts[name], type(FACTS[name])
    if type(value) is not kind or (name == "reference" and not value.strip()):
        return f"is {value!r}; write a {kind.__name__}, such as {name} = {FACTS[name]!r}"
    if name == "name" and (
        not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) or value in RESERVED or len(value) > LONGEST
    ):
        words = ", ".join(RESERVED)
        return f"is {value!r}; write small letters, digits and single hyphens, at most {LONGEST}, and none of {words}"
    if name == "kind" and value not in KINDS:
        return f"is {value!r}; write one of {', '.join(KINDS)}"
    for kind_of in UNTRAINED if name == "kind" else ():
        if (value == kind_of) != (base == kind_of):
            return f"is {value!r}; {kind_of} is for classes that derive from {UNTRAINED[kind_of]}, and for no others"
    allowed: Sequence[str] = FEATURES if name in ("needs", "optional") else list(defaults)
    for word in value if kind in (tuple, dict) else ():
        if word not in allowed:
            return f"names {word!r}; write only what is among {', '.join(allowed) or 'its hyper-parameters, and it has none'}"
        if name == "ranges" and not _is_range(value[word], defaults[word]):
            return f"has {value[word]!r} for {word}; write (low, high) above 0, with the default between, of a float"
    if name == "trains" and facts["kind"] != "none" and value == (facts["kind"] in UNTRAINED):
        return f"is {value}, which no method of the kind {facts['kind']} can be"
    if name == "has_head" and facts["trains"] and not value:
        return "is False, and without a head there is nothing to train; write trains = False as well"
    return ""


def _is_range(span: Any, default: Scalar) -> bool:
    numbers = isinstance(span, tuple) and len(span) == 2 and all(type(number) in (int, float) for number in span)
    return numbers and isinstance(default, float) and 0 < span[0] <= default <= span[1] < math.inf and span[0] < span[1]
