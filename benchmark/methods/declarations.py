"""Methods as their files declare them: read without running them, so that listing and checking names imports no torch.

Whatever a file has wrong is told in one line: the file, the line, the class and attribute, and what to write.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BenchmarkError
from ..spec import Spec
from .entries import FACTS, TYPES, Entry, impossible, out_of_bounds
from .plugins import plugin_files

FOLDER = Path(__file__).parent
NO_METHODS = (
    "__init__",
    "combination",
    "contract",
    "declarations",
    "entries",
    "matryoshka",
    "plugins",
)  # files that hold none
Key = tuple[str, str]  # file and class
METHOD: Key = ("base", "Method")
# The bases of methods that are not trained, by kind, and what each of these defines.
UNTRAINED: dict[str, tuple[Key, str]] = {
    "posthoc": (("posthoc", "PostHoc"), "compress(self, embedding)"),
    "control": (("closed", "ClosedForm"), "directions(self, features, labels, teacher)"),
}


class Catalogue(NamedTuple):
    entries: dict[str, Entry]  # by name, sorted
    faults: tuple[str, ...]  # of files and classes that could not be read, a line each


class MethodClass(NamedTuple):
    """A class in a file of the package."""

    path: Path
    node: ast.ClassDef
    bases: tuple[Key, ...]

    @property
    def key(self) -> Key:
        return module_of(self.path), self.node.name

    def wrong(self, why: str, name: str = "", line: int = 0) -> BenchmarkError:
        """The error of the class, or of one of its attributes."""
        subject = f"{self.node.name}.{name}" if name else self.node.name
        return BenchmarkError(f"{self.path}, line {line or self.node.lineno}: {subject} {why}")


class Attribute(NamedTuple):
    """A name that a class's body binds: `name: annotation = value`, or a function."""

    source: MethodClass
    name: str
    line: int
    annotation: str = ""
    value: ast.expr | None = None
    is_function: bool = False

    def wrong(self, why: str) -> BenchmarkError:
        return self.source.wrong(why, self.name, self.line)

    @property
    def literal(self) -> Any:
        """The value. Raises a BenchmarkError where only running the file would tell it."""
        assert self.value is not None
        try:
            return ast.literal_eval(self.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise self.wrong("must be a literal, since the file is read without running it") from None


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
    entries: dict[str, Entry] = {}
    first: dict[str, Entry] = {}

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except BenchmarkError as error:
            faults[str(error)] = None

    for path in (*sorted(folder.glob("*.py")), *plugins):
        with noted():
            sources |= {} if module_of(path) in NO_METHODS else _classes(path)
    bases = {base for source in sources.values() for base in source.bases}
    for key, source in sources.items():
        with noted():
            if (method := _entry(source, sources, is_base=key in bases)) is None:
                continue
            other = first.setdefault(method.name, method)
            if other is not method:
                # Which of them is meant, nobody knows.
                entries.pop(method.name, None)
                raise source.wrong(
                    f"is called {method.name!r}, as {other.cls} in {other.module}.py is; rename one of them"
                )
            entries[method.name] = method
    tasks = {
        name: method for name, method in entries.items() if method.kind == "none" and method.trains and not method.task
    }
    for method in [method for method in entries.values() if method.task]:
        with noted():
            if (task := tasks.get(method.task)) is None:
                del entries[method.name]
                attribute = _attributes(_lineage(sources[method.module, method.cls], sources))["task"]
                raise attribute.wrong(
                    f"is {method.task!r}, which is no loss of labels alone; write one of {', '.join(tasks)}"
                )
            needs = tuple(dict.fromkeys((*method.needs, *task.needs)))
            entries[method.name] = replace(method, needs=needs, is_random=method.is_random or task.is_random)
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
    nodes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    known = {node.name: (module_of(path), node.name) for node in nodes} | origins(tree)
    result: dict[Key, MethodClass] = {}
    for node in nodes:
        names = [ast.unparse(base).partition(".") for base in node.bases]
        bases = tuple((known[first][0], rest or known[first][1]) for first, _, rest in names if first in known)
        source = MethodClass(path, node, bases)
        if source.key in result:
            raise source.wrong(f"is defined in line {result[source.key].node.lineno} already; rename one of them")
        result[source.key] = source
    return result


def _lineage(source: MethodClass, sources: Mapping[Key, MethodClass], below: tuple[Key, ...] = ()) -> list[MethodClass]:
    """The class and its bases in this package, the farthest first."""
    if source.key in below:
        raise source.wrong("is its own base; write class NAME(Method), with `from .base import Method`")
    bases = [sources[key] for key in reversed(source.bases) if key in sources]
    return [*(each for base in bases for each in _lineage(base, sources, (*below, source.key))), source]


def _entry(source: MethodClass, sources: Mapping[Key, MethodClass], *, is_base: bool) -> Entry | None:
    """The method that a class is; None of another class, and of one that only serves others as a base.

    Raises:
        BenchmarkError: it declares something that no method can be.
    """
    own = {item.name: item for item in _body(source)}
    lineage = _lineage(source, sources)
    keys = [each.key for each in lineage]
    if METHOD not in keys:
        if "name" in own and ("kind" in own or not own["name"].annotation):
            raise source.wrong("derives from no Method; write class NAME(Method), with `from .base import Method`")
        return None
    attributes = _attributes(lineage)
    if source.key == METHOD or (("name" not in own) and (is_base or source.node.name.startswith("_"))):
        return None
    if "name" not in own:
        raise source.wrong(f"declares no name, so that nobody can ask for it; write name = {FACTS['name']!r}")
    base = next((kind for kind, (key, _) in UNTRAINED.items() if key in keys), "")
    facts = {name: attributes[name].literal for name in FACTS if name in attributes}
    defaults = {name: item.literal for name, item in attributes.items() if item.annotation in TYPES}
    for name in FACTS:
        if name not in facts:
            raise source.wrong(f"declares no {name}; write {name} = {FACTS[name]!r}")
        if why := impossible(name, facts, defaults, base):
            raise source.wrong(why, name, own[name].line if name in own else 0)
    key, needed = UNTRAINED.get(base, (METHOD, "forward(self, batch)"))
    if (facts["trains"] or base) and attributes[needed.partition("(")[0]].source.key == key:
        raise source.wrong(f"defines no {needed}")
    return Entry(**facts, defaults=defaults, module=module_of(source.path), cls=source.node.name)


def _attributes(lineage: Iterable[MethodClass]) -> dict[str, Attribute]:
    """Gather what a class and its bases bind, by name. Raises a BenchmarkError where one of these is not written as it is read."""
    result: dict[str, Attribute] = {}
    for item in (item for source in lineage for item in _body(source)):
        _check_attribute(item)
        before = result.get(item.name, item)
        if before.is_function != item.is_function:
            raise item.wrong(
                f"is {'a function' if before.is_function else 'a value'} of {before.source.node.name}; rename it"
            )
        if item.value is not None or item.is_function:
            result[item.name] = item
    return result


def _body(source: MethodClass) -> Iterator[Attribute]:
    for item in source.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation).strip("'\"")
            yield Attribute(source, item.target.id, item.lineno, annotation.removeprefix("typing."), item.value)
        elif isinstance(item, ast.Assign) and len(item.targets) == 1 and isinstance(item.targets[0], ast.Name):
            yield Attribute(source, item.targets[0].id, item.lineno, "", item.value)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Attribute(source, item.name, item.lineno, is_function=True)
        elif not isinstance(item, ast.ClassDef):
            names = [node for node in ast.walk(item) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
            yield from (Attribute(source, node.id, node.lineno) for node in names)


def _check_attribute(item: Attribute) -> None:
    """Raise a BenchmarkError where a name is bound in a way that would be without effect, or stand for two things."""
    name = item.name
    if item.is_function:
        if name == "__init__" and item.source.key != METHOD:
            raise item.wrong(
                "sets nothing: hyper-parameters are annotated attributes, what it learns is made by `build`"
            )
    elif name.startswith("_") or re.match(r"ClassVar\b", item.annotation):
        return
    elif name in FACTS:
        if item.value is None or item.annotation:
            raise item.wrong(f"is a fact about the method; write {name} = {FACTS[name]!r}, without a type")
    elif item.annotation not in TYPES:
        raise item.wrong(
            f"is {f'of type {item.annotation}' if item.annotation else 'without a type'}; a hyper-parameter is written {name}: float = 1.0 "
            f"({', '.join(TYPES)}), a constant {name}: ClassVar = ... or _{name} = ..., and what it learns is made by `build`"
        )
    elif item.value is None:
        raise item.wrong(f"has no default; write {name}: {item.annotation} = ...")
    elif name in Spec.model_fields:
        raise item.wrong(
            f"is called as a field of every run, so that --set METHOD.{name} would mean two things; rename it"
        )
    elif type(item.literal).__name__ != item.annotation or item.literal in (math.inf, -math.inf):
        raise item.wrong(f"is {item.annotation}, and its default {item.literal!r} is not")
    elif bounds := out_of_bounds(name, item.literal):
        raise item.wrong(f"is {bounds}, and its default {item.literal!r} is not")
