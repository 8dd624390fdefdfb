"""Distillation methods: one family a file. A class here that names itself is a method; nothing else registers it.

The catalogue is read from the source text, so that listing and checking names imports no torch.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BenchmarkError, unknown

if TYPE_CHECKING:
    from .base import Method

Kind = Literal["none", "individual", "relational", "posthoc"]


@dataclass(frozen=True)
class Entry:
    """A method as its source declares it."""

    name: str
    kind: Kind
    reference: str
    summary: str  # first line of the docstring
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    normalize: bool
    trained: bool
    head: bool
    defaults: dict[str, Any]  # keyword-only arguments of __init__: the hyper-parameters, as published
    search: dict[str, tuple[float, float]]  # of some of these: low and high of what a random search draws from
    draws: bool
    module: str
    cls: str

    @property
    def needs_teacher(self) -> bool:
        return self.kind != "none"


@functools.cache
def catalogue() -> dict[str, Entry]:
    """All methods by name, sorted."""
    entries: dict[str, Entry] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        except SyntaxError as error:
            raise BenchmarkError(f"{path}, line {error.lineno}: {error.msg}") from error
        for node in tree.body:
            try:
                found = _entry(node, path.stem) if isinstance(node, ast.ClassDef) else None
            except ValueError as error:  # literal_eval
                raise BenchmarkError(f"{path}, line {node.lineno}: what a method declares must be literals") from error
            if found is not None:
                if found.name in entries:
                    files = f"{entries[found.name].module}.py and {path.name}"
                    raise BenchmarkError(f"two methods are called {found.name!r}: in {files} of {path.parent}")
                entries[found.name] = found
    return dict(sorted(entries.items()))


def entry(name: str) -> Entry:
    """The method of that name.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if name not in catalogue():
        raise unknown("method", name, catalogue())
    return catalogue()[name]


def load(name: str) -> type[Method]:
    """The class of a method (imports torch)."""
    found = entry(name)
    try:
        return getattr(importlib.import_module(f"{__name__}.{found.module}"), found.cls)
    except ImportError as error:
        raise BenchmarkError(f"{name}: methods/{found.module}.py cannot be imported: {error}") from error


def _entry(node: ast.ClassDef, module: str) -> Entry | None:
    """What a class declares by literal attributes; None where it does not name itself (a base or a helper)."""
    declared: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            declared[item.targets[0].id] = item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            declared[item.target.id] = item.value
        elif isinstance(item, ast.FunctionDef) and item.name == "__init__":
            pairs = zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True)
            defaults = {argument.arg: ast.literal_eval(value) for argument, value in pairs if value is not None}
    if "name" not in declared:
        return None
    names = ("name", "kind", "reference", "needs", "optional", "normalize", "trained", "head", "search", "draws")
    literal = {key: ast.literal_eval(declared[key]) for key in names if key in declared}
    return Entry(
        name=literal["name"],
        kind=literal["kind"],
        reference=literal["reference"],
        summary=(ast.get_docstring(node) or "").split("\n", 1)[0],
        needs=literal.get("needs", ("embedding",)),
        optional=literal.get("optional", ()),
        normalize=literal.get("normalize", True),
        trained=literal.get("trained", True),
        head=literal.get("head", True),
        defaults=defaults,
        search=literal.get("search", {}),
        draws=literal.get("draws", False),
        module=module,
        cls=node.name,
    )
