"""How the house is built: imports point down only, rooms know what they may, files and functions stay small, names mean one thing."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "benchmark"
# A module may import from its own floor and from those below it. A module that is named stands apart from its room.
FLOORS = [
    {"__init__", "__main__"},
    {"cli", "api"},
    {"commands"},
    {"bench", "gallery", "shipping"},
    {"report", "training.driver"},
    {"costs"},
    {"training"},
    {"protocol", "networks", "data", "retrieval", "tuned"},
    {"methods"},
    {"store"},
    {"record", "queries"},
    {"spec", "features", "files", "errors", "machine", "absurd", "timing", "provenance"},
]
HEIGHT = {name: len(FLOORS) - number for number, names in enumerate(FLOORS) for name in names}
STANDARD = set(sys.stdlib_module_names)
# As few as it has, on the way to 10,000: whoever makes it smaller lowers the number, and whoever adds says why.
LINES, FILE_LINES, FUNCTION_LINES = 21_094, 300, 60
LONG = {"fit": "the training loop, which is read from top to bottom"}
OPENINGS = ("Of ", "What ", "That ", "As ", "Those ")
NO_NOUNS = {"found", "one", "ours", "theirs"}
# Public functions and classes of one name in several modules, each with why that is no confusion. Verbs of the command line need no
# entry: the function of `commands/<verb>.py` may be called as what it calls.
SHARED = {"run": "the verb in Python, as on the command line; and what it comes to for one group"}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package by its name without `benchmark.`; a room by its own: `data`, `data.cards`, `__init__`."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"))
    return modules


def is_package(module: str) -> bool:
    return (PACKAGE / Path(*module.split("."))).is_dir()


def resolved(module: str, node: ast.ImportFrom) -> Iterator[tuple[str, str | None]]:
    """The modules of the package that a relative import names, each with the name that is taken from it, if it is no module."""
    parts = module.split(".") if module != "__init__" else []
    up = node.level - (1 if is_package(module) or module == "__init__" else 0)
    base = [*parts[: len(parts) - up], *(node.module.split(".") if node.module else [])]
    for alias in node.names:
        target = ".".join([*base, alias.name])
        if target in trees():
            yield target, None
        else:
            yield ".".join(base) or "__init__", alias.name


@functools.cache
def imports(module: str) -> frozenset[tuple[str, str | None]]:
    """Modules of the package that a module imports, wherever in it, for types alone included; each with the name that is taken."""
    nodes = (node for node in ast.walk(trees()[module]) if isinstance(node, ast.ImportFrom) and node.level)
    return frozenset(pair for node in nodes for pair in resolved(module, node))


def outside(module: str) -> set[str]:
    """Packages beyond the standard library and this one that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names - STANDARD


def room(name: str) -> list[str]:
    return [module for module in trees() if module.split(".")[0] == name]


def height(module: str) -> int:
    return HEIGHT.get(module, HEIGHT[module.split(".")[0]])


def listed(faults: list[str]) -> str:
    return "\n" + "\n".join(sorted(faults))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_room_has_a_floor() -> None:
    assert {module.split(".")[0] for module in trees()} <= set(HEIGHT)


def test_imports_point_down() -> None:
    """Those within functions and for types alone, too: a lazy import is no way up."""
    faults = [
        f"{module} imports {target}, which lies above it"
        for module in trees()
        for target, _ in imports(module)
        if height(target) > height(module)
    ]
    assert not faults, listed(faults)


def test_the_package_imports_itself_by_relative_names() -> None:
    faults = [module for module in trees() if "benchmark" in outside(module)]
    assert not faults, listed(faults)


def test_no_modules_import_each_other() -> None:
    graph = {module: {target for target, _ in imports(module)} - {module} for module in trees()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_no_room_hands_on_what_another_module_defines() -> None:
    """A name is imported from where it is defined, not by way of a package's `__init__`."""
    faults = []
    for module in trees():
        for target, name in imports(module):
            if name is not None and is_package(target):
                defined = {name for _, name in imports(target) if name is not None}
                if name in defined:
                    faults.append(f"{module} imports {name} by way of {target}")
    faults += [
        f"{module} declares __all__"
        for module, tree in trees().items()
        if is_package(module) and any(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(tree))
    ]
    assert not faults, listed(faults)


def test_methods_import_torch_and_their_own_package_only() -> None:
    allowed = {"torch", "pytorch_metric_learning", "numpy", "faiss", "scipy"}  # the last three for controls
    faults = []
    # The catalogue has errors for users, and checks what is declared.
    catalogue = {"methods", "methods.declarations", "methods.entries", "methods.plugins"}
    for module in room("methods"):
        more = {"pydantic"} if module in catalogue else set()
        faults += [f"{module} imports {name}" for name in outside(module) - allowed - more]
        if module in catalogue:
            continue
        faults += [
            f"{module} reaches out of methods, to {target}"
            for target, _ in imports(module)
            if target != "features" and target.split(".")[0] != "methods"
        ]
    assert not faults, listed(faults)


def test_retrieval_imports_numpy_and_faiss_only() -> None:
    faults = [
        f"{module} imports {name}" for module in room("retrieval") for name in outside(module) - {"numpy", "faiss"}
    ]
    assert not faults, listed(faults)


def test_report_knows_neither_torch_nor_the_planner() -> None:
    faults = [f"{module} imports torch" for module in room("report") if "torch" in outside(module)]
    faults += [
        f"{module} imports {target}"
        for module in room("report")
        for target, _ in imports(module)
        if target.split(".")[0] == "protocol"
    ]
    assert not faults, listed(faults)


def without_heavy(code: str, *heavy: str) -> None:
    """Run code in a new process, in which none of some packages may have been imported at the end."""
    check = f"; heavy = {set(heavy)!r} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}{check}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_report_is_made_without_torch() -> None:
    """By nothing that its modules import when they are imported."""
    without_heavy("import " + ", ".join(f"benchmark.{module}" for module in room("report")), "torch", "faiss", "timm")


@pytest.mark.parametrize(
    "words",
    ["list methods", "list datasets --json", "list presets", "list backbones", "--help", "run --help", "--version"],
)
def test_what_only_lists_imports_no_torch(words: str) -> None:
    code = f"from benchmark.cli import run_command; assert run_command({words.split()!r}) == 0"
    without_heavy(code, "torch", "pandas", "faiss", "timm", "matplotlib")


def test_no_folder_of_data_is_a_package() -> None:
    assert not (PACKAGE.parent / "datasets" / "__init__.py").exists()


def test_cores_are_counted_by_joblib() -> None:
    """The machine's number says nothing of what a scheduler or a container gives to this process."""
    assert not [path.name for path in PACKAGE.rglob("*.py") if re.search(r"os\.(cpu_count|sched_)", path.read_text())]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_package_is_small() -> None:
    assert sum(map(lines_of, PACKAGE.rglob("*.py"))) <= LINES


def test_files_are_small() -> None:
    counts = {path.relative_to(PACKAGE).as_posix(): lines_of(path) for path in PACKAGE.rglob("*.py")}
    faults = [f"{name} has {count} lines" for name, count in counts.items() if count > FILE_LINES]
    assert not faults, listed(faults)


def test_functions_are_small() -> None:
    """Their docstrings do not count: that of a command is its page of help."""
    faults = []
    for module, tree in trees().items():
        for function in functions(tree):
            lines = function.end_lineno - function.lineno + 1  # type: ignore[operator]
            first = function.body[0]
            if ast.get_docstring(function) is not None:
                lines -= first.end_lineno - first.lineno + 1  # type: ignore[operator]
            if lines > FUNCTION_LINES and function.name not in LONG:
                faults.append(f"{module}.{function.name} has {lines} lines")
    assert not faults, listed(faults)


def test_docstrings_begin_with_a_verb_or_their_subject() -> None:
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    faults = []
    for module, tree in trees().items():
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            if text is not None and text.startswith(OPENINGS):
                faults.append(f"{module}.{getattr(node, 'name', '')}: {text.splitlines()[0]}")
    assert not faults, listed(faults)


def bound(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that a module gives to values, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def test_variables_are_called_by_what_they_hold() -> None:
    faults = [
        f"{module}, line {line}: {name}"
        for module, tree in trees().items()
        for name, line in bound(tree)
        if name in NO_NOUNS
    ]
    assert not faults, listed(faults)


def shared_names(*kinds: type[ast.stmt]) -> list[str]:
    """Public names of what modules define at their top, where several do, with the modules."""
    places = defaultdict(list)
    for module, tree in trees().items():
        for node in tree.body:
            name = node.name if isinstance(node, kinds) else "_"  # type: ignore[attr-defined]
            if not name.startswith("_") and name not in SHARED and module != f"commands.{name}":
                places[name].append(module)
    return [f"{name}: {', '.join(modules)}" for name, modules in places.items() if len(modules) > 1]


def test_a_function_has_a_name_of_its_own() -> None:
    faults = shared_names(ast.FunctionDef, ast.AsyncFunctionDef)
    assert not faults, listed(faults)


def test_a_class_has_a_name_of_its_own() -> None:
    faults = shared_names(ast.ClassDef)
    assert not faults, listed(faults)
