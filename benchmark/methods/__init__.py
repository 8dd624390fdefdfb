"""Distillation methods: one family a file. A class here that names itself is a method; nothing else registers it."""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError, UsageError, unknown
from ..spec import MATRYOSHKA, Scalar
from . import declarations
from .entries import Entry, combined, nested, out_of_bounds
from .plugins import plugin_files, plugin_module, words_of


def catalogue() -> dict[str, Entry]:
    """All methods by name, sorted.

    Raises:
        BenchmarkError: a file is none of Python's, or declares what no method can be; with file, line and attribute.
    """
    entries, faults = declarations.read()
    if faults:
        raise BenchmarkError(_first(faults))
    return entries


def _first(faults: tuple[str, ...]) -> str:
    return faults[0] + (f" (and {len(faults) - 1} more: benchmark list methods)" if len(faults) > 1 else "")


def entry(name: str) -> Entry:
    """The method of that name, or the combination of several, joined by plus signs.

    Raises:
        UsageError: there is none (the message has the nearest name), or these cannot be combined.
    """
    if "+" in name:
        words = sorted(name.split("+"))  # a sum has no order
        if not all(words):
            raise UsageError(f"{name!r}: a method is missing beside a plus sign; write such as fitnet+rkd-da")
        return combined(name, [entry(word) for word in words])
    entries, faults = declarations.read()
    if name in entries:
        return entries[name]
    if name.startswith(MATRYOSHKA):
        return nested(name, entry(name.removeprefix(MATRYOSHKA)))
    if faults:
        raise UsageError(f"no method {name!r} was read, but not all files could be: {_first(faults)}")
    raise unknown("method", name, entries)


def load(name: str) -> Callable[..., Any]:
    """The class of a method, or of the sum of several: made from the widths of student and teacher, the number of classes and
    hyper-parameters. Imports torch.

    Raises:
        UsageError: as `entry`.
        BenchmarkError: a file cannot be imported: it wants a module that is missing, or has a fault in its code.
    """
    known = entry(name)
    if not known.parts:
        return _class(known)
    for part in known.parts:
        _class(entry(part))
    # By name, as all classes of methods are: their base asks this room for task losses.
    base = getattr(importlib.import_module(f"{__name__}.{known.module}"), known.cls)
    return type(base.__name__, (base,), {"name": known.name, **known.defaults})


def _class(method: Entry) -> type[Any]:
    path = declarations.FOLDER / f"{method.module}.py"
    try:
        is_plugin = path in plugin_files()
        module = plugin_module(path) if is_plugin else importlib.import_module(f"{__name__}.{method.module}")
        cls = getattr(module, method.cls)
    except Exception as error:  # whatever the file does
        raise BenchmarkError(f"{path}: {method.name} cannot be imported: {words_of(error)}") from error
    base = importlib.import_module(f"{__name__}.base").Method
    for key in method.defaults:
        if hasattr(base, key) or key in (*base.__mro__[1].__annotations__, "task_loss"):
            raise BenchmarkError(f"{path}: {method.cls}.{key} hides what every method has; rename it")
    return cls


# Of the files as they were read first: a run may outlast an edit.
@functools.cache
def edition(name: str) -> str:
    """Digest of the text of `sources_of` a method: what tells it from itself before it was edited."""
    return hashlib.sha256(b"".join(text for _, text in sorted(sources_of(name).items()))).hexdigest()[:10]


def is_outside(name: str) -> bool:
    """Whether a file of the method's is none of the suite's."""
    return any("/" in module for module in sources_of(name))


def sources_of(name: str) -> dict[str, bytes]:
    """The method's file, or its parts' files, and the methods' files that these import: text by module."""
    parts = [entry(part) for part in (name, *entry(name).parts)]
    waiting = [each.module for part in parts for each in (part, *([entry(part.task)] if part.task else []))]
    texts: dict[str, bytes] = {}
    while waiting:
        module = waiting.pop()
        path = Path(__file__).parent / f"{module}.py"  # a plugin's module is a path of its own
        # `base` is what all have in common, and no method's.
        if module not in texts and module != "base" and path.exists():
            texts[module] = path.read_bytes()
            waiting += [imported for imported, _ in declarations.origins(declarations.parsed(path)).values()]
    return texts


def typed(name: str, params: Mapping[str, Any]) -> dict[str, Scalar]:
    """Hyper-parameters of a method in the types of their defaults, so that 1 and 1.0 are one spec.

    Raises:
        UsageError: one is none of the method's (the message has the nearest), of another type, or a number without a meaning for it;
            or two parts of a sum have one task loss with different settings, and it is in the sum once.
    """
    defaults = entry(name).defaults
    result: dict[str, Scalar] = {}
    for key, value in params.items():
        if key not in defaults:
            raise unknown(f"hyper-parameter of {name}", key, defaults)
        kind = type(defaults[key])
        fits = kind is float and type(value) is int and abs(value) <= sys.float_info.max
        result[key] = float(value) if fits else value
        if type(result[key]) is not kind:
            raise UsageError(f"{name}.{key} is a {kind.__name__}, such as {defaults[key]!r}, not {value!r}")
        if bounds := out_of_bounds(key, result[key]):
            raise UsageError(f"{name}.{key} is {bounds}, not {value!r}")
    tasks: dict[str, tuple[str, dict[str, Scalar]]] = {}
    for part in entry(name).parts:
        task = entry(part).task
        own = {
            key: {**defaults, **result}.get(f"{part}.{key}", value)
            for key, value in (entry(task).defaults.items() if task else ())
        }
        other, settings = tasks.setdefault(task, (part, own))
        if differ := ", ".join(key for key in own if own[key] != settings[key]):
            raise UsageError(f"{other} and {part} have one {task} loss in a sum, and set {differ} differently")
    return result
