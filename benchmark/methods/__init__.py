"""Distillation methods: one family a file. A class here that names itself is a method; nothing else registers it."""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BenchmarkError, UsageError, unknown
from ..spec import Scalar
from . import declarations
from .declarations import Entry, Kind, out_of_bounds

if TYPE_CHECKING:
    from .base import Method, Widths

__all__ = ["Entry", "Kind"]


def catalogue() -> dict[str, Entry]:
    """All methods by name, sorted.

    Raises:
        BenchmarkError: a file is none of Python's, or declares what no method can be; with file, line and attribute.
    """
    entries, faults = declarations.read()
    if faults:
        raise BenchmarkError(_first(faults))
    return entries


def faults() -> tuple[str, ...]:
    """What is wrong with files and classes that are no method, a line each."""
    return declarations.read().faults


def _first(faults: tuple[str, ...]) -> str:
    return faults[0] + (f" (and {len(faults) - 1} more: benchmark list methods)" if len(faults) > 1 else "")


def entry(name: str) -> Entry:
    """The method of that name, or the combination of several, joined by plus signs.

    Raises:
        UsageError: there is none (the message has the nearest name), or these cannot be combined.
    """
    if "+" in name:
        return _combined(name)
    entries, faults = declarations.read()
    if name in entries:
        return entries[name]
    error = unknown("method", name, entries)
    raise UsageError(f"{error}; not read: {_first(faults)}") if faults else error


def load(name: str) -> Callable[..., Method]:
    """What makes a method, from the widths of student and teacher, the number of classes, and hyper-parameters (imports torch)."""
    if "+" not in name:
        return _class(entry(name))
    from .combination import Combination

    parts = {part: _class(entry(part)) for part in entry(name).parts}

    def make(student: Widths, teacher: Widths | None, classes: int, **params: Any) -> Method:
        return Combination(student, teacher, classes, parts=parts, params=params)

    return make


@functools.cache  # of the files as they were read first: a run may outlast an edit
def edition(name: str) -> str:
    """Digest of the text of the method's file, or of its parts' files, and of the methods' files that these import: what tells a method
    from itself before it was edited."""
    methods = [entry(part) for part in (name, *entry(name).parts)]
    waiting = [part.module for method in methods for part in (method, *([entry(method.task)] if method.task else []))]
    texts: dict[str, bytes] = {}
    while waiting:
        module = waiting.pop()
        path = Path(__file__).with_name(f"{module}.py")
        if (
            module not in texts and module != "base" and path.exists()
        ):  # `base` is what all have in common, and no method's
            texts[module] = path.read_bytes()
            waiting += [imported for imported, _ in declarations.origins(declarations.parsed(path)).values()]
    return hashlib.sha256(b"".join(text for _, text in sorted(texts.items()))).hexdigest()[:10]


def _class(method: Entry) -> type[Method]:
    """The class of a method. Raises a BenchmarkError where its file cannot be imported: a module that is missing, a fault in its code."""
    path = declarations.FOLDER / f"{method.module}.py"
    try:
        cls = getattr(importlib.import_module(f"{__name__}.{method.module}"), method.cls)
    except Exception as error:  # whatever the file does
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise BenchmarkError(f"{path}{line}: {method.name} cannot be imported: {what}") from error
    from torch import nn

    for key in method.defaults:
        if hasattr(nn.Module, key) or key in nn.Module.__annotations__:
            raise BenchmarkError(f"{path}: {method.cls}.{key} hides torch.nn.Module.{key}; rename it")
    return cls


def by_part(parts: Iterable[str], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Hyper-parameters METHOD.KEY of a combination, by its parts.

    Raises:
        UsageError: two parts have one task loss with different settings: it is in the sum once.
    """
    own: dict[str, dict[str, Any]] = {name: {} for name in parts}
    for key, value in params.items():
        name, _, parameter = key.partition(".")
        own[name][parameter] = value
    tasks: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in own:
        if task := entry(name).task:
            settings = task_settings(task, {**entry(name).defaults, **own[name]})
            other, known = tasks.setdefault(task, (name, settings))
            if settings != known:
                differ = ", ".join(key for key in settings if settings[key] != known.get(key))
                raise UsageError(f"{other} and {name} have one {task} loss in a sum, and set {differ} differently")
    return own


def typed(name: str, params: Mapping[str, Any]) -> dict[str, Scalar]:
    """Hyper-parameters of a method in the types of their defaults, so that 1 and 1.0 are one spec.

    Raises:
        UsageError: one is none of the method's (the message has the nearest), of another type, or a number without a meaning for it.
    """
    result: dict[str, Scalar] = {}
    for key, value in params.items():
        defaults = entry(name).defaults
        if key not in defaults:
            raise unknown(f"hyper-parameter of {name}", key, defaults)
        kind = type(defaults[key])
        fits = kind is float and type(value) is int and abs(value) <= sys.float_info.max
        result[key] = float(value) if fits else value
        if type(result[key]) is not kind:
            raise UsageError(f"{name}.{key} is a {kind.__name__}, such as {defaults[key]!r}, not {value!r}")
        if bounds := out_of_bounds(key, result[key]):
            raise UsageError(f"{name}.{key} is {bounds}, not {value!r}")
    return result


def task_settings(task: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those hyper-parameters of a method that are its task loss's, by their names."""
    return {key: value for key, value in params.items() if key in entry(task).defaults}


def _combined(name: str) -> Entry:
    """The sum of methods; of kind "mixed" where individual and relational ones come together: task losses join either."""
    words = sorted(name.split("+"))  # a sum has no order
    if not all(words):
        raise UsageError(f"{name!r}: a method is missing beside a plus sign; write such as fitnet+rkd-da")
    parts = [entry(word) for word in words]
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
        summary="The sum of the losses of " + " and ".join(names),
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
