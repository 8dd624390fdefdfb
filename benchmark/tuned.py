"""Settings that `benchmark tune` chose, as files: where they lie, and whether they are as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from .data.cards import read_toml
from .errors import UsageError
from .files import digest, write_atomically

PRESETS = Path(__file__).parent / "protocol" / "presets"  # their TOML files
PUBLISHED = PRESETS / "tuned"
SEALED = "digest of what follows: "  # ends the first line
Settings = dict[str, Any]


class TunedFiles(NamedTuple):
    """The files of a preset and data set; the later one has the last word on a method."""

    published: Path | None  # in the package, for all; None of own data
    own: Path  # among the results that the choice came from

    @classmethod
    def of(cls, preset: str, dataset: str | None, results: Path) -> TunedFiles:
        """Find those of a preset, or of the one whose settings it takes.

        Args:
            dataset: of the suite; None of own data.
            results: the data set's folder among the results.
        """
        name = read_toml(PRESETS / f"{preset}.toml", "a preset").get("tuned") or preset
        published = None if dataset is None else PUBLISHED / f"{name}-{dataset}.toml"
        return cls(published, results / name / "tuned.toml")

    @property
    def there(self) -> list[Path]:
        return [path for path in self if path is not None and path.exists()]

    def read(self) -> dict[str, Settings]:
        """By method, what was chosen; empty where nothing was. Raises as `read_tuned`."""
        return {method: settings for path in self.there for method, settings in read_tuned(path).items()}


def read_tuned(path: Path) -> dict[str, Settings]:
    """By method, what one file says.

    Raises:
        UsageError: it is none, or was changed since it was written.
    """
    methods = read_toml(path, "tuned settings").get("method")
    if not isinstance(methods, dict) or not all(isinstance(settings, dict) for settings in methods.values()):
        raise UsageError(f"{path} has no [method.NAME] tables; delete it, and tune again")
    head, _, settings = path.read_text(encoding="utf-8").partition("\n")
    if SEALED in head and head.partition(SEALED)[2] != digest(settings.encode()):
        raise UsageError(
            f"{path} was changed since `benchmark tune` wrote it; tune again, or delete its first line to use it"
        )
    return methods


def write_tuned(path: Path, settings: Mapping[str, Settings], chosen: Mapping[str, Settings]) -> None:
    """Write settings by method, and how each came to be, as a file that is known to be as it was written."""
    tables = {title: dict(sorted(by_method.items())) for title, by_method in (("method", settings), ("chosen", chosen))}
    content = (
        "# What did best, by MAP@R, on held-out training classes. Settings first, then how they were chosen.\n\n"
        + tomli_w.dumps(tables)
    )
    write_atomically(path, f"# Written by `benchmark tune`; {SEALED}{digest(content.encode())}\n{content}")
