"""Distillation methods: one family a file. A class here that names itself is a method; nothing else registers it.

The catalogue is read from the source text, so that listing and checking names imports no torch.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import BenchmarkError, UsageError, unknown

if TYPE_CHECKING:
    from .base import Method, Widths

KINDS = ("none", "individual", "relational", "posthoc")  # that a method may declare
FEATURES = ("embedding", "pooled", "maps", "labels")  # that it may read
RESERVED = ("all", "individual", "relational", "posthoc", "none", "teacher")  # words of the command line
TYPES = ("bool", "int", "float", "str")  # that a hyper-parameter may have
Kind = Literal["none", "individual", "relational", "mixed", "posthoc"]


@dataclass(frozen=True)
class Entry:
    """A method as its source declares it; what a class does not declare is `base.Method`'s."""

    name: str
    kind: Kind
    reference: str
    summary: str  # first line of the docstring
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    task: str
    normalize: bool
    trains: bool
    has_head: bool
    defaults: dict[str, Any]  # hyper-parameters, as published
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
        return self.kind != "none" and not self.self_taught

    @property
    def is_posthoc(self) -> bool:
        """Whether it is made of the teacher's embeddings, without a student."""
        return self.kind == "posthoc"


class Declared(NamedTuple):
    """What a class and its bases declare: literals, and types and defaults of hyper-parameters, each by name."""

    literals: dict[str, ast.expr]
    fields: dict[str, tuple[str, ast.expr | None]]


class Source(NamedTuple):
    """A class in a file of the package."""

    path: Path
    node: ast.ClassDef


@functools.cache
def catalogue() -> dict[str, Entry]:
    """All methods by name, sorted.

    Raises:
        BenchmarkError: a file is none of Python's, or declares something that no method can be; with file and line.
    """
    sources = {
        (path.stem, node.name): Source(path, node)
        for path in sorted(Path(__file__).parent.glob("*.py"))
        for node in _parsed(path).body
        if isinstance(node, ast.ClassDef)
    }
    entries: dict[str, Entry] = {}
    for (module, cls), (path, node) in sources.items():
        if module in ("__init__", "base", "combination") or not any(_name_of(item) == "name" for item in node.body):
            continue
        try:
            method = _entry(_declared(module, cls, sources), node, module)
        except ValueError as error:
            raise BenchmarkError(f"{path}, line {node.lineno}: {cls}: {error}") from error
        if method.name in entries:
            files = f"{entries[method.name].module}.py and {path.name}"
            raise BenchmarkError(f"two methods are called {method.name!r}: in {files} of {path.parent}")
        entries[method.name] = method
    for method in entries.values():
        if method.task and (method.task not in entries or entries[method.task].kind != "none"):
            path, node = sources[method.module, method.cls]
            raise BenchmarkError(
                f"{path}, line {node.lineno}: {method.cls}: task {method.task!r} is no method without a teacher"
            )
    return dict(sorted(entries.items()))


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise BenchmarkError(f"{path}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8: {error.reason}") from error


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
    methods = [entry(part) for part in (name, *entry(name).parts)]
    waiting = [part.module for method in methods for part in (method, *([entry(method.task)] if method.task else []))]
    texts: dict[str, bytes] = {}
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
    modules = [
        name for node in nodes for name in ([node.module] if node.module else [each.name for each in node.names])
    ]
    return [module for module in modules if module != "base"]


def _class(method: Entry) -> type[Method]:
    try:
        return getattr(importlib.import_module(f"{__name__}.{method.module}"), method.cls)
    except ImportError as error:
        raise BenchmarkError(f"{method.name}: methods/{method.module}.py cannot be imported: {error}") from error


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


def check_params(name: str, params: Iterable[str]) -> None:
    """Raise a UsageError where one of these is no hyper-parameter of a method; the message has the nearest."""
    for key in params:
        if key not in entry(name).defaults:
            raise unknown(f"hyper-parameter of {name}", key, entry(name).defaults)


def task_settings(task: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those hyper-parameters of a method that are its task loss's, by their names."""
    return {key: value for key, value in params.items() if key in entry(task).defaults}


def _combined(name: str) -> Entry:
    """Of kind "mixed" where individual and relational methods come together; task losses join either."""
    parts = [entry(part) for part in sorted(name.split("+"))]  # a sum has no order
    names = tuple(part.name for part in parts)
    if len(set(names)) < len(names) or not all(part.trains for part in parts):
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


def _name_of(item: ast.stmt) -> str:
    """The name that a statement of a class's body binds; empty where it is no assignment."""
    target = (
        item.targets[0] if isinstance(item, ast.Assign) else item.target if isinstance(item, ast.AnnAssign) else None
    )
    return target.id if isinstance(target, ast.Name) else ""


def _declared(module: str, cls: str, sources: Mapping[tuple[str, str], Source]) -> Declared:
    """What a class declares, over what its bases do.

    Raises:
        ValueError: a hyper-parameter of another type than these can have, or an __init__.
    """
    declared = Declared({}, {})
    path, node = sources[module, cls]
    origins = {
        alias.asname or alias.name: (item.module or "", alias.name)
        for item in _parsed(path).body
        if isinstance(item, ast.ImportFrom) and item.level == 1
        for alias in item.names
    }
    for base in reversed(node.bases):
        name = base.id if isinstance(base, ast.Name) else ""
        place = (module, name) if (module, name) in sources else origins.get(name)
        if place is not None and place in sources:
            inherited = _declared(*place, sources)
            declared.literals.update(inherited.literals)
            declared.fields.update(inherited.fields)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__" and module != "base":
            raise ValueError(
                "hyper-parameters are annotated class attributes, and what it learns is made by `build`, not __init__"
            )
        if not (name := _name_of(item)):
            continue
        kind = ast.unparse(item.annotation) if isinstance(item, ast.AnnAssign) else "ClassVar"
        value = item.value if isinstance(item, ast.Assign | ast.AnnAssign) else None
        if kind in TYPES:
            declared.fields[name] = kind, value
        elif kind.startswith("ClassVar") and value is not None:
            declared.literals[name] = value
    return declared


def _entry(declared: Declared, node: ast.ClassDef, module: str) -> Entry:
    """The method that a class is.

    Raises:
        ValueError: it declares something that no method can be.
    """
    names = {field.name for field in fields(Entry)} - {"summary", "defaults", "module", "cls", "parts"}
    literals = {key: _literal(key, declared.literals[key]) for key in names if key in declared.literals}
    defaults = {key: _default(key, *field) for key, field in declared.fields.items()}
    _check(literals, defaults)
    summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
    return Entry(**literals, summary=summary, defaults=defaults, module=module, cls=node.name)


def _default(name: str, kind: str, value: ast.expr | None) -> Any:
    if value is None:
        raise ValueError(f"the hyper-parameter {name} has no default")
    default = _literal(name, value)
    if type(default).__name__ != kind:
        raise ValueError(f"the hyper-parameter {name} is {kind}, its default {default!r} is not")
    return default


def _literal(name: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a literal, since it is read without running the file") from error


def _check(declared: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse what no method can be: the catalogue is read by commands that never run it. Raises a ValueError."""
    name = declared["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name in RESERVED:
        raise ValueError(
            f"name {name!r} must be of small letters, digits and single hyphens, and none of {', '.join(RESERVED)}"
        )
    for field in ("kind", "reference"):
        if field not in declared:
            raise ValueError(f"it declares no {field}")
    if declared["kind"] not in KINDS:
        raise ValueError(f"kind {declared['kind']!r} is none of {', '.join(KINDS)}")
    for field in ("needs", "optional"):
        words = declared[field]
        odd = [words] if isinstance(words, str) else [word for word in words if word not in FEATURES]
        if odd:
            raise ValueError(f"{field} is a tuple of {', '.join(FEATURES)}; not {odd[0]!r}")
    for field in ("ranges", "later"):
        odd = [key for key in declared[field] if key not in defaults]
        if odd:
            raise ValueError(f"{field} names {odd[0]!r}, which is no hyper-parameter")
