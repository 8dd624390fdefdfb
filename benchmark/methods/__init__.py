"""Distillation methods: one family a file. A class here that names itself is a method; nothing else registers it.

The catalogue is read from the source text, so that listing and checking names imports no torch.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BenchmarkError, UsageError, unknown

if TYPE_CHECKING:
    from .base import Method, Widths

KINDS = ("none", "individual", "relational", "posthoc")  # that a method may declare
FEATURES = ("embedding", "pooled", "maps", "labels")  # that it may read
RESERVED = ("all", "individual", "relational", "posthoc", "none", "teacher")  # words of the command line
GIVEN = ("self", "student", "teacher", "classes")  # arguments of every method; the others are hyper-parameters
Kind = Literal["none", "individual", "relational", "mixed", "posthoc"]


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
    later: tuple[str, ...]
    draws: bool
    same_size: bool
    self_taught: bool
    module: str
    cls: str
    parts: tuple[str, ...] = ()  # of a combination

    @property
    def needs_teacher(self) -> bool:
        return self.kind != "none" and not self.self_taught


@functools.cache
def catalogue() -> dict[str, Entry]:
    """All methods by name, sorted."""
    entries: dict[str, Entry] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        except SyntaxError as error:
            raise BenchmarkError(f"{path}, line {error.lineno}: {error.msg}") from error
        except UnicodeDecodeError as error:
            raise BenchmarkError(f"{path} is not UTF-8: {error.reason}") from error
        for node in tree.body:
            try:
                found = _entry(node, path.stem) if isinstance(node, ast.ClassDef) else None
            except ValueError as error:
                raise BenchmarkError(f"{path}, line {node.lineno}: {error}") from error
            if found is not None:
                if found.name in entries:
                    files = f"{entries[found.name].module}.py and {path.name}"
                    raise BenchmarkError(f"two methods are called {found.name!r}: in {files} of {path.parent}")
                entries[found.name] = found
    return dict(sorted(entries.items()))


def entry(name: str) -> Entry:
    """The method of that name, or the combination of several, joined by plus signs.

    Raises:
        UsageError: there is none (the message has the nearest name), or these cannot be combined.
    """
    if "+" in name:
        return _combined(name)
    if name not in catalogue():
        raise unknown("method", name, catalogue())
    return catalogue()[name]


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
    waiting, texts = [entry(one).module for one in (name, *entry(name).parts)], {}
    while waiting:
        module = waiting.pop()
        path = Path(__file__).with_name(f"{module}.py")
        if module not in texts and path.exists():
            texts[module] = path.read_bytes()
            waiting += _imported(ast.parse(texts[module]))
    return hashlib.sha256(b"".join(text for _, text in sorted(texts.items()))).hexdigest()[:10]


def _imported(tree: ast.Module) -> list[str]:
    """The files of methods that one imports; `base` is what all have in common, and no method's."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    found = [name for node in nodes for name in ([node.module] if node.module else [one.name for one in node.names])]
    return [module for module in found if module != "base"]


def _class(found: Entry) -> type[Method]:
    try:
        return getattr(importlib.import_module(f"{__name__}.{found.module}"), found.cls)
    except ImportError as error:
        raise BenchmarkError(f"{found.name}: methods/{found.module}.py cannot be imported: {error}") from error


def _combined(name: str) -> Entry:
    """Of kind "mixed" where individual and relational methods come together; task losses join either."""
    parts = [entry(part) for part in sorted(name.split("+"))]  # a sum has no order
    names = tuple(part.name for part in parts)
    if len(set(names)) < len(names) or not all(part.trained for part in parts):
        raise UsageError(f"{name}: only different methods that train can be combined")
    kinds = {part.kind for part in parts} - {"none"}
    needs = tuple(dict.fromkeys(need for part in parts for need in part.needs))
    return Entry(
        name="+".join(names),
        kind=next(iter(kinds), "none") if len(kinds) < 2 else "mixed",
        reference="; ".join(part.reference for part in parts),
        summary="The sum of the losses of " + " and ".join(names),
        needs=needs,
        optional=tuple(dict.fromkeys(need for part in parts for need in part.optional if need not in needs)),
        normalize=any(part.normalize for part in parts),  # a task loss wants it, and relations can do with it
        trained=True,
        head=True,
        same_size=any(part.same_size for part in parts),
        self_taught=bool(kinds) and all(part.self_taught or part.kind == "none" for part in parts),
        defaults={f"{part.name}.{key}": value for part in parts for key, value in part.defaults.items()},
        search={f"{part.name}.{key}": range_ for part in parts for key, range_ in part.search.items()},
        later=tuple(f"{part.name}.{key}" for part in parts for key in part.later),
        draws=any(part.draws for part in parts),
        module="combination",
        cls="Combination",
        parts=names,
    )


def _entry(node: ast.ClassDef, module: str) -> Entry | None:
    """What a class declares by literal attributes; None where it does not name itself (a base or a helper).

    Raises:
        ValueError: it declares something that no method can be.
    """
    declared: dict[str, Any] = {}
    init: ast.FunctionDef | None = None
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            declared[item.targets[0].id] = item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            declared[item.target.id] = item.value
        elif isinstance(item, ast.FunctionDef) and item.name == "__init__":
            init = item
    if "name" not in declared:
        return None
    defaults = {} if init is None else _hyper_parameters(node.name, init.args)
    names = {field.name for field in fields(Entry)} - {"summary", "defaults", "module", "cls", "parts"}
    literal = {key: _literal(node.name, key, declared[key]) for key in names if key in declared}
    _check(node.name, literal, defaults)
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
        later=literal.get("later", ()),
        draws=literal.get("draws", False),
        same_size=literal.get("same_size", False),
        self_taught=literal.get("self_taught", False),
        module=module,
        cls=node.name,
    )


def _hyper_parameters(cls: str, arguments: ast.arguments) -> dict[str, Any]:
    """Keyword-only arguments with their defaults."""
    odd = [one.arg for one in (*arguments.posonlyargs, *arguments.args) if one.arg not in GIVEN]
    pairs = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    odd += [argument.arg for argument, value in pairs if value is None]
    if odd:
        raise ValueError(f"{cls}: a hyper-parameter is keyword-only (after *) and has a default: {', '.join(odd)}")
    return {argument.arg: _literal(cls, argument.arg, value) for argument, value in pairs if value is not None}


def _literal(cls: str, name: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{cls}: {name} must be a literal, since it is read without running the file") from error


def _check(cls: str, declared: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """That what a class declares can be: the catalogue is read by commands that never run it."""
    name = declared["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name in RESERVED:
        raise ValueError(
            f"{cls}: name {name!r} must be of small letters, digits and single hyphens, and none of {', '.join(RESERVED)}"
        )
    for field in ("kind", "reference"):
        if field not in declared:
            raise ValueError(f"{cls} declares no {field}")
    if declared["kind"] not in KINDS:
        raise ValueError(f"{cls}: kind {declared['kind']!r} is none of {', '.join(KINDS)}")
    for field in ("needs", "optional"):
        words = declared.get(field, ())
        odd = [words] if isinstance(words, str) else [word for word in words if word not in FEATURES]
        if odd:
            raise ValueError(f"{cls}: {field} is a tuple of {', '.join(FEATURES)}; not {odd[0]!r}")
    for field in ("search", "later"):
        odd = [key for key in declared.get(field, ()) if key not in defaults]
        if odd:
            raise ValueError(f"{cls}: {field} names {odd[0]!r}, which is no hyper-parameter")
