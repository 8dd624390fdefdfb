"""Parts outside of the package: files of methods that `--plugin` names, and what installed packages name as entry points.

The files' names are in the environment variable `BENCHMARK_PLUGINS`, which child processes inherit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from ..errors import UsageError

VARIABLE = "BENCHMARK_PLUGINS"  # files, parted by semicolons
# Modules that lay beside a user's file and were imported by it, with their folder: Python knows one of a name.
_neighbours: dict[str, Path] = {}
GROUP = "embedding_distillation"  # begins the names of the groups of entry points: .methods, .backbones, .cards


def add_plugin(word: str) -> None:
    """Have a file's methods read, in this process and its children. Raises a UsageError where there is no such file."""
    path = Path(word).expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"--plugin {word}: there is no such file of Python's")
    if str(path) not in named_plugins():
        os.environ[VARIABLE] = ";".join([*named_plugins(), str(path)])


def plugin_files() -> tuple[Path, ...]:
    """All files outside of the package that hold methods."""
    return tuple(dict.fromkeys([*map(Path, named_plugins()), *_installed()]))


def named_plugins() -> list[str]:
    """Paths of the files that `--plugin` has named."""
    return [word for word in os.environ.get(VARIABLE, "").split(";") if word]


def registered(kind: str) -> dict[str, str]:
    """Read what installed packages name, by name: of methods modules, of backbones MODULE:FACTORY, of cards packages with NAME.toml."""
    return {point.name: point.value for point in entry_points(group=f"{GROUP}.{kind}")}


@functools.cache
def _installed() -> tuple[Path, ...]:
    """The files of modules that packages name: found, not run."""
    places = []
    for place in registered("methods").values():
        with contextlib.suppress(ImportError, ValueError):  # a package that is gone names nothing
            places.append(importlib.util.find_spec(place.partition(":")[0]))
    return tuple(Path(place.origin).resolve() for place in places if place is not None and place.origin)


def words_of(error: BaseException) -> str:
    """An error's own words in one line, with the user's line that led to it."""
    places = sysconfig.get_paths()
    inner = str(Path(__file__).parents[1]), places["stdlib"], places["purelib"], places["platlib"], "<frozen"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(inner)]
    at = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{at}"


@functools.cache
def plugin_module(path: Path) -> ModuleType:
    """A plugin's file as a module, run once."""
    return module_of_text(path, path.read_bytes())


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Python's path with a folder, for what lies beside a file."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def module_of_text(path: Path, text: bytes) -> ModuleType:
    """Run the text of a user's file as a module, which finds what lies beside it. Raises whatever that raises."""

    def is_beside(name: str) -> bool:
        return path.with_name(f"{name}.py").exists() or path.with_name(name).is_dir()

    for name, folder in _neighbours.items():
        if folder != path.parent and is_beside(name):
            raise ImportError(f"{folder} and {path.parent} both have a module {name}; rename one of them")
    module = ModuleType(f"_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}")
    module.__file__ = str(path)
    before = {*sys.modules}
    sys.modules[module.__name__] = module  # where dataclasses look for it
    with on_path(path.parent):
        try:
            exec(compile(text, str(path), "exec"), module.__dict__)
        finally:
            _neighbours.update({name: path.parent for name in sys.modules.keys() - before if is_beside(name)})
    return module
