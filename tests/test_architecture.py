"""Imports point down only, and what must start fast imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "benchmark"
# A module may import from its own row and from rows below it.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"bench", "gallery", "shipping"},
    {"report"},
    {"training"},
    {"protocol"},
    {"networks", "retrieval", "costs"},
    {"data", "methods", "machine", "provenance"},
    {"store"},
    {"spec"},
    {"files", "absurd"},
    {"errors"},
]
HEIGHT = {name: len(LAYERS) - row for row, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    """Names of the package's parts that a file imports."""
    here = ("benchmark", *path.relative_to(PACKAGE).with_suffix("").parts)
    parts = here[:-1]  # of a package's __init__ as of a module: the package that holds it
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = (*parts[: len(parts) - node.level + 1], *(node.module or "").split("."))
            target = tuple(part for part in target if part)
            found |= {target[1]} if len(target) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmark"):
            raise AssertionError(f"{path.name} imports the package by its absolute name")
    return found - {here[1]}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("__init__",):
        assert imports(path) == set()
        return
    for name in imports(path):
        assert HEIGHT[name] <= HEIGHT[part], f"{part} imports {name}, which lies above it"


def test_methods_import_torch_and_their_own_package_only() -> None:
    allowed = {
        "__future__",
        "torch",
        "pytorch_metric_learning",
        "numpy",
        "faiss",  # of the controls without a student
        "math",
        "abc",
        "typing",
        "dataclasses",
        "collections",
        "concurrent",
        "functools",
        "itertools",
    }
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.split(".")[0] for name in names} <= allowed, path.name
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), (
                f"{path.name} reaches out of benchmark.methods"
            )


@pytest.mark.parametrize(
    "words", ["list methods", "list datasets --json", "list presets", "list backbones", "--help", "run --help"]
)
def test_what_only_lists_imports_no_torch(words: str) -> None:
    code = (
        "import sys; from benchmark.cli import run_command; "
        f"code = run_command({words.split()!r}); "
        "heavy = {'torch', 'pandas', 'faiss', 'timm', 'matplotlib'} & set(sys.modules); sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_folder_of_data_is_a_package() -> None:
    assert not (PACKAGE.parent / "datasets" / "__init__.py").exists()
