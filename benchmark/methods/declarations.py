"""Methods as their files declare them: read without running them, so that listing and checking names imports no torch.

Whatever a file has wrong is told in one line: the file, the line, the class and attribute, and what to write.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import BenchmarkError
from ..spec import Scalar, Spec

FOLDER = Path(__file__).parent
NO_METHODS = ("__init__", "combination", "declarations")  # files that hold none
Kind = Literal["none", "individual", "relational", "mixed", "posthoc"]
KINDS = ("none", "individual", "relational", "posthoc")  # that a method may declare
FEATURES = ("embedding", "pooled", "maps", "labels")  # that it may read
RESERVED = ("all", "individual", "relational", "posthoc", "none", "teacher")  # words of the command line
LONGEST = 100  # letters of a name, which is part of files' names
TYPES = ("bool", "int", "float", "str")  # that a hyper-parameter may have
# Facts that a class declares about its method, each as it may be written.
FACTS = {
    "name": '"my-method"',
    "kind": '"relational"',
    "reference": '"Author et al., Title, venue, year"',
    "needs": '("embedding", "labels")',
    "optional": '("maps",)',
    "task": '"triplet"',
    "normalize": "False",
    "trains": "False",
    "has_head": "False",
    "ranges": '{"weight": (0.1, 10.0)}',
    "later": '("weight",)',
    "self_taught": "True",
    "same_size": "True",
    "is_random": "True",
}
# Numbers that have a meaning, by the last word of a hyper-parameter's name: low, high, whether low itself is among them.
BOUNDS = {
    "weight": (0.0, math.inf, True),
    "rate": (0.0, math.inf, True),
    "share": (0.0, 1.0, True),
    "temperature": (0.0, math.inf, False),
}
Key = tuple[str, str]  # file and class
METHOD: Key = ("base", "Method")
POSTHOC: Key = ("posthoc", "PostHoc")


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
        return self.kind != "none" and not self.self_taught

    @property
    def is_posthoc(self) -> bool:
        """Whether it is made of the teacher's embeddings, without a student."""
        return self.kind == "posthoc"


class Catalogue(NamedTuple):
    entries: dict[str, Entry]  # by name, sorted
    faults: tuple[str, ...]  # of files and classes that could not be read, a line each


class Source(NamedTuple):
    """A class in a file of the package."""

    path: Path
    node: ast.ClassDef
    bases: tuple[Key, ...]

    @property
    def key(self) -> Key:
        return self.path.stem, self.node.name

    def wrong(self, why: str) -> BenchmarkError:
        return BenchmarkError(f"{self.path}, line {self.node.lineno}: {self.node.name} {why}")


class Member(NamedTuple):
    """A name that a class's body binds: `name: annotation = value`, or a function."""

    source: Source
    name: str
    line: int
    annotation: str = ""
    value: ast.expr | None = None
    is_function: bool = False

    def wrong(self, why: str) -> BenchmarkError:
        return BenchmarkError(f"{self.source.path}, line {self.line}: {self.source.node.name}.{self.name} {why}")

    @property
    def literal(self) -> Any:
        """The value. Raises a BenchmarkError where only running the file would tell it."""
        assert self.value is not None
        try:
            return ast.literal_eval(self.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise self.wrong("must be a literal, since the file is read without running it") from None


@functools.cache
def read() -> Catalogue:
    """The methods of all files, and what is wrong with the files and classes that hold none that can be."""
    faults: list[str] = []
    sources: dict[Key, Source] = {}
    entries: dict[str, Entry] = {}
    named: dict[str, Entry] = {}
    for path in sorted(FOLDER.glob("*.py")):
        try:
            sources |= {} if path.stem in NO_METHODS else _classes(path)
        except BenchmarkError as error:
            faults.append(str(error))
    bases = {base for source in sources.values() for base in source.bases}
    for key, source in sources.items():
        try:
            if (method := _entry(source, sources, is_base=key in bases)) is None:
                continue
            other = named.setdefault(method.name, method)
            if other is not method:
                entries.pop(method.name, None)  # which of them is meant, nobody knows
                raise source.wrong(
                    f"is called {method.name!r}, as {other.cls} in {other.module}.py is; rename one of them"
                )
            entries[method.name] = method
        except BenchmarkError as error:
            faults.append(str(error))
    for method in list(entries.values()):
        if why := _no_task(method, entries):
            members = _members(_lineage(sources[method.module, method.cls], sources))
            faults.append(str(members["task"].wrong(f"is {method.task!r}, {why}")))
            del entries[method.name]
        elif method.task:
            task = entries[method.task]
            needs = tuple(dict.fromkeys((*method.needs, *task.needs)))
            entries[method.name] = replace(method, needs=needs, is_random=method.is_random or task.is_random)
    return Catalogue(dict(sorted(entries.items())), tuple(dict.fromkeys(faults)))


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file. Raises a BenchmarkError with the line where it is none of Python's."""
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise BenchmarkError(f"{path}, line {error.lineno or 1}: {error.msg}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise BenchmarkError(f"{path}, line 1: not read as Python: {error}") from error


def origins(tree: ast.Module) -> dict[str, Key]:
    """What a file imports from others of the package, by its name here: the other file, and the name there (none of a file)."""
    return {
        alias.asname or alias.name: (item.module, alias.name) if item.module else (alias.name, "")
        for item in ast.walk(tree)
        if isinstance(item, ast.ImportFrom) and item.level == 1
        for alias in item.names
    }


def out_of_bounds(name: str, value: Scalar) -> str:
    """Which numbers a hyper-parameter of that name may be, where it has no meaning at that value; else empty."""
    low, high, closed = BOUNDS.get(re.split(r"[._]", name)[-1], (-math.inf, math.inf, True))
    if isinstance(value, str) or low < value <= high or (closed and value == low):
        return ""
    return f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more" if closed else f"more than {low:g}"


def _classes(path: Path) -> dict[Key, Source]:
    """The classes of a file, by file and name."""
    tree = parsed(path)
    nodes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    known = {node.name: (path.stem, node.name) for node in nodes} | origins(tree)
    result: dict[Key, Source] = {}
    for node in nodes:
        names = [ast.unparse(base).partition(".") for base in node.bases]
        bases = tuple((known[first][0], rest or known[first][1]) for first, _, rest in names if first in known)
        source = Source(path, node, bases)
        if source.key in result:
            raise source.wrong(f"is defined in line {result[source.key].node.lineno} already; rename one of them")
        result[source.key] = source
    return result


def _lineage(source: Source, sources: Mapping[Key, Source], below: tuple[Key, ...] = ()) -> list[Source]:
    """The class and its bases in this package, the farthest first."""
    if source.key in below:
        raise source.wrong("is its own base; write class NAME(Method), with `from .base import Method`")
    bases = [sources[key] for key in reversed(source.bases) if key in sources]
    return [*(each for base in bases for each in _lineage(base, sources, (*below, source.key))), source]


def _entry(source: Source, sources: Mapping[Key, Source], *, is_base: bool) -> Entry | None:
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
    members = _members(lineage)
    if source.key == METHOD or (("name" not in own) and (is_base or source.node.name.startswith("_"))):
        return None
    if "name" not in own:
        raise source.wrong(f"declares no name, so that nobody can ask for it; write name = {FACTS['name']}")
    facts = {name: members[name].literal for name in FACTS if name in members}
    defaults = {name: item.literal for name, item in members.items() if item.annotation in TYPES}
    for name in FACTS:
        if name not in facts:
            raise source.wrong(f"declares no {name}; write {name} = {FACTS[name]}")
        if why := _impossible(name, facts, defaults, derives_from_posthoc=POSTHOC in keys):
            raise own.get(name, Member(source, name, source.node.lineno)).wrong(why)
    needed = "compress(self, embedding)" if facts["kind"] == "posthoc" else "forward(self, batch)"
    if (facts["trains"] or POSTHOC in keys) and members[needed.partition("(")[0]].source.key in (METHOD, POSTHOC):
        raise source.wrong(f"defines no {needed}")
    summary = (ast.get_docstring(source.node) or "").split("\n", 1)[0]
    return Entry(**facts, summary=summary, defaults=defaults, module=source.path.stem, cls=source.node.name)


def _members(lineage: Iterable[Source]) -> dict[str, Member]:
    """What a class and its bases bind, by name. Raises a BenchmarkError where one of these is not written as it is read."""
    result: dict[str, Member] = {}
    for item in (item for source in lineage for item in _body(source)):
        _check_member(item)
        before = result.get(item.name, item)
        if before.is_function != item.is_function:
            raise item.wrong(
                f"is {'a function' if before.is_function else 'a value'} of {before.source.node.name}; rename it"
            )
        if item.value is not None or item.is_function:
            result[item.name] = item
    return result


def _body(source: Source) -> Iterator[Member]:
    for item in source.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation).strip("'\"")
            yield Member(source, item.target.id, item.lineno, annotation.removeprefix("typing."), item.value)
        elif isinstance(item, ast.Assign) and len(item.targets) == 1 and isinstance(item.targets[0], ast.Name):
            yield Member(source, item.targets[0].id, item.lineno, "", item.value)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Member(source, item.name, item.lineno, is_function=True)
        elif not isinstance(item, ast.ClassDef):
            names = [node for node in ast.walk(item) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
            yield from (Member(source, node.id, node.lineno) for node in names)


def _check_member(item: Member) -> None:
    """Raise a BenchmarkError where a name is bound in a way that would be without effect, or stand for two things."""
    name, example = item.name, FACTS.get(item.name)
    if item.is_function:
        if name == "__init__" and item.source.key != METHOD:
            raise item.wrong(
                "sets nothing: hyper-parameters are annotated attributes, what it learns is made by `build`"
            )
    elif name.startswith("_") or re.match(r"ClassVar\b", item.annotation):
        return
    elif example is not None:
        if item.value is None or item.annotation:
            raise item.wrong(f"is a fact about the method; write {name} = {example}, without a type")
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


def _impossible(
    name: str, facts: Mapping[str, Any], defaults: Mapping[str, Scalar], *, derives_from_posthoc: bool
) -> str:
    """Why a fact cannot be; else empty."""
    value, kind = facts[name], type(ast.literal_eval(FACTS[name]))
    if type(value) is not kind or (name == "reference" and not value.strip()):
        return f"is {value!r}; write a {kind.__name__}, such as {name} = {FACTS[name]}"
    if name == "name" and (
        not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) or value in RESERVED or len(value) > LONGEST
    ):
        words = ", ".join(RESERVED)
        return f"is {value!r}; write small letters, digits and single hyphens, at most {LONGEST}, and none of {words}"
    if name == "kind" and value not in KINDS:
        return f"is {value!r}; write one of {', '.join(KINDS)}"
    if name == "kind" and (value == "posthoc") != derives_from_posthoc:
        return f"is {value!r}; posthoc is for the classes that derive from PostHoc of posthoc.py, and for no others"
    allowed: Sequence[str] = FEATURES if name in ("needs", "optional") else list(defaults)
    for word in value if kind in (tuple, dict) else ():
        if word not in allowed:
            return f"names {word!r}; write only what is among {', '.join(allowed) or 'its hyper-parameters, and it has none'}"
        if name == "ranges" and not _is_range(value[word], defaults[word]):
            return f"has {value[word]!r} for {word}; write (low, high) above 0, with the default between, of a float"
    if name == "trains" and facts["kind"] != "none" and value == (facts["kind"] == "posthoc"):
        return f"is {value}, which no method of the kind {facts['kind']} can be"
    if name == "has_head" and facts["trains"] and not value:
        return "is False, and without a head there is nothing to train; write trains = False as well"
    return ""


def _is_range(span: Any, default: Scalar) -> bool:
    numbers = isinstance(span, tuple) and len(span) == 2 and all(type(number) in (int, float) for number in span)
    return numbers and isinstance(default, float) and 0 < span[0] <= default <= span[1] < math.inf and span[0] < span[1]


def _no_task(method: Entry, entries: Mapping[str, Entry]) -> str:
    """Why the task of a method can be none; else empty."""
    task = entries.get(method.task)
    if not method.task:
        return ""
    if task is None or task.kind != "none" or not task.trains or task.task:
        losses = ", ".join(
            name for name, each in entries.items() if each.kind == "none" and each.trains and not each.task
        )
        return f"which is no loss of labels alone; write one of {losses or 'those that there are: none'}"
    odd = [
        key
        for key in task.defaults
        if type(method.defaults.get(key, task.defaults[key])) is not type(task.defaults[key])
    ]
    return f"whose {odd[0]} is {type(task.defaults[odd[0]]).__name__}, unlike its own" if odd else ""
