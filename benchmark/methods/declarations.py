"""Methods as their files declare them: read without running them, so that listing and checking names imports no torch.

Whatever a file has wrong is told in one line: the file, the line, the class and attribute, and what to write.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..errors import BenchmarkError, wrong_field
from ..spec import Spec
from .entries import TYPES, Entry, out_of_bounds
from .plugins import plugin_files

FOLDER = Path(__file__).parent
Key = tuple[str, str]  # file and class
METHOD: Key = ("base", "Method")
# The bases of methods that are not trained, by kind.
BASES: dict[str, Key] = {"posthoc": ("posthoc", "PostHoc"), "control": ("closed", "ClosedForm")}
FACTS = Entry.model_fields.keys() - {"defaults", "module", "cls", "parts"}
FORM = (
    "write a fact as kind = 'relational', a hyper-parameter as weight: float = 1.0 (of type bool, int, float or str), a constant as "
    "top: ClassVar = ... or _top = ..., with literals, as the file is read without running it; what is learned, `build` makes"
)


class Catalogue(NamedTuple):
    entries: dict[str, Entry]  # by name, sorted
    faults: tuple[str, ...]  # of files and classes that could not be read, a line each


class Attribute(NamedTuple):
    """A name that a class's body binds: `name: annotation = value`, or a function."""

    line: int
    annotation: str = ""
    value: ast.expr | None = None
    is_function: bool = False


class MethodClass(NamedTuple):
    """A class in a file of the package or in a plugin."""

    path: Path
    node: ast.ClassDef
    bases: tuple[Key, ...]

    @property
    def key(self) -> Key:
        return module_of(self.path), self.node.name

    @property
    def body(self) -> Iterator[tuple[str, Attribute]]:
        for item in self.node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                annotation = ast.unparse(item.annotation).strip("'\"").removeprefix("typing.")
                yield item.target.id, Attribute(item.lineno, annotation, item.value)
            elif isinstance(item, ast.FunctionDef):
                yield item.name, Attribute(item.lineno, is_function=True)
            elif isinstance(item, ast.Assign):
                names = [node.id for target in item.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
                for name in names:
                    yield name, Attribute(item.lineno, "", item.value if len(names) == 1 else None)

    def wrong(self, why: str, line: int = 0) -> BenchmarkError:
        """The error of the class, or of one of its attributes, with which `why` begins then."""
        return BenchmarkError(f"{self.path}, line {line or self.node.lineno}: {self.node.name}{why}")


def read() -> Catalogue:
    """Read the methods of all files, and what is wrong with the files and classes that hold none that can be."""
    return _read(FOLDER, plugin_files())


def module_of(path: Path) -> str:
    """The name of a file's module in this package; of a plugin its path without the ending."""
    return path.stem if path.parent == FOLDER else str(path.with_suffix(""))


@functools.cache
def _read(folder: Path, plugins: tuple[Path, ...]) -> Catalogue:
    faults: dict[str, None] = {}
    sources: dict[Key, MethodClass] = {}
    called: dict[str, list[tuple[MethodClass, Entry]]] = defaultdict(list)

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except BenchmarkError as error:
            faults[str(error)] = None

    for path in (*sorted(folder.glob("*.py")), *plugins):
        with noted():
            sources |= _classes(path)
    for source in sources.values():
        with noted():
            if (method := _entry(source, sources)) is not None:
                called[method.name].append((source, method))
    # Which of several is meant, nobody knows.
    entries = {name: methods[0][1] for name, methods in called.items() if len(methods) == 1}
    tasks = {name: task for name, task in entries.items() if task.kind == "none" and task.trains and not task.task}
    for name, ((source, method), *others) in called.items():
        with noted():
            if others:
                twin = others[0][0]
                raise twin.wrong(f" is called {name!r}, as {method.cls} in {source.path.name} is; rename one of them")
            if method.task and method.task not in tasks:
                del entries[name]
                raise source.wrong(f".task is {method.task!r}, which is no loss of labels alone: {', '.join(tasks)}")
        if name in entries and method.task:
            task = tasks[method.task]
            needs = tuple(dict.fromkeys((*method.needs, *task.needs)))
            is_random = method.is_random or task.is_random
            entries[name] = method.model_copy(update={"needs": needs, "is_random": is_random})
    return Catalogue(dict(sorted(entries.items())), tuple(faults))


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file. Raises a BenchmarkError with the line where it is none of Python's."""
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line, why = (error.lineno, error.msg) if isinstance(error, SyntaxError) else (1, str(error))
        raise BenchmarkError(f"{path}, line {line or 1}: {why}") from error


def origins(tree: ast.Module) -> dict[str, Key]:
    """Map the names that a file imports from others of the package to the other file and the name there (empty for a file itself)."""
    result: dict[str, Key] = {}
    for item in ast.walk(tree):
        if not isinstance(item, ast.ImportFrom):
            continue
        inside = f"{item.module}.".startswith(f"{__package__}.")  # as a plugin names it
        if item.level == 1 or inside:
            module = (item.module or "").removeprefix(f"{__package__}").removeprefix(".") if inside else item.module
            result |= {
                alias.asname or alias.name: (module, alias.name) if module else (alias.name, "") for alias in item.names
            }
    return result


def _classes(path: Path) -> dict[Key, MethodClass]:
    """The classes of a file, by file and name."""
    tree = parsed(path)
    known, result = origins(tree), dict[Key, MethodClass]()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = [ast.unparse(base).partition(".") for base in node.bases]
            bases = tuple((known[first][0], rest or known[first][1]) for first, _, rest in names if first in known)
            known[node.name] = key = module_of(path), node.name
            result[key] = MethodClass(path, node, bases)
    return result


def _lineage(source: MethodClass, sources: Mapping[Key, MethodClass], below: tuple[Key, ...] = ()) -> list[MethodClass]:
    """The class and its bases in this package, the farthest first."""
    below = (*below, source.key)
    bases = [sources[key] for key in reversed(source.bases) if key in sources and key not in below]
    return [*(each for base in bases for each in _lineage(base, sources, below)), source]


def _entry(source: MethodClass, sources: Mapping[Key, MethodClass]) -> Entry | None:
    """The method that a class is; None of another class, and of one without a name, which serves others as a base.

    Raises:
        BenchmarkError: it declares something that no method can be.
    """
    own = dict(source.body)
    lineage = _lineage(source, sources)
    keys = [each.key for each in lineage]
    if "name" not in own or source.key == METHOD:
        return None
    if METHOD not in keys:
        if own["name"].annotation:
            return None
        raise source.wrong(" derives from no Method; write class NAME(Method), with `from .base import Method`")
    facts, defaults = dict[str, Any](), dict[str, Any]()
    for each in lineage:
        for name, attribute in each.body:
            if name in FACTS and (value := _literal(each, name, attribute)) is not None:
                facts[name] = value
            elif each.key != METHOD and _is_hyper_parameter(name, attribute):
                defaults[name] = _default(each, name, attribute)
    try:
        entry = Entry(**facts, defaults=defaults, module=module_of(source.path), cls=source.node.name)
    except ValidationError as error:
        place = error.errors()[0]["loc"][:1]
        line = own[str(place[0])].line if place and place[0] in own else 0
        raise source.wrong(f"{'.' if place else ': '}{wrong_field(error)}", line) from None
    for kind, base in BASES.items():
        if (entry.kind == kind) != (base in keys):
            raise source.wrong(f".kind is {entry.kind!r}; {kind} is for what derives from {base[1]} of {base[0]}.py")
    if entry.trains and not any(name == "forward" for each in lineage if each.key != METHOD for name, _ in each.body):
        raise source.wrong(" defines no forward(self, batch)")
    return entry


def _is_hyper_parameter(name: str, attribute: Attribute) -> bool:
    """Whether a name that is no fact is read as a hyper-parameter: all but functions, constants and what is private."""
    if attribute.is_function:
        return name == "__init__"
    return not (name in FACTS or name.startswith("_") or re.match(r"ClassVar\b", attribute.annotation))


def _literal(source: MethodClass, name: str, attribute: Attribute) -> Any:
    """The value of an attribute; None where `base.Method` only says its type."""
    if source.key == METHOD and attribute.value is None:
        return None
    try:
        if attribute.value is None or (name in FACTS and not re.match(r"(ClassVar\b|$)", attribute.annotation)):
            raise ValueError
        return ast.literal_eval(attribute.value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise source.wrong(f".{name}: {FORM}", attribute.line) from None


def _default(source: MethodClass, name: str, attribute: Attribute) -> Any:
    """The published value of a hyper-parameter."""
    value = _literal(source, name, attribute)
    if name in Spec.model_fields:
        why = f"is called as a field of every run, so that --set METHOD.{name} would mean two things; rename it"
        raise source.wrong(f".{name} {why}", attribute.line)
    kind = attribute.annotation
    if kind not in TYPES or type(value).__name__ != kind or value in (math.inf, -math.inf):
        raise source.wrong(f".{name} is {kind or 'without a type'}; {FORM}", attribute.line)
    if bounds := out_of_bounds(name, value):
        raise source.wrong(f".{name} is {bounds}, and its default {value!r} is not", attribute.line)
    return value
