"""Settings that `benchmark tune` chose, as files: where they lie, and whether they are as they were written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from .data.cards import read_toml
from .errors import UsageError
from .files import digest, write_atomically

PRESETS = Path(__file__).parent / "protocol" / "presets"  # their TOML files
PUBLISHED = PRESETS / "tuned"
SEALED = "digest of what follows: "  # ends the first line
WHERE = "where"  # in the table of a choice, what it was chosen for
Settings = dict[str, Any]


class Tuned(NamedTuple):
    """Settings that were chosen for a method, wherever it is used or for what has some values, such as a head and a dimension."""

    values: Settings
    where: Settings = {}  # noqa: RUF012  (read, never changed)

    @classmethod
    def from_table(cls, table: Settings) -> Tuned:
        return cls({key: value for key, value in table.items() if key != WHERE}, table.get(WHERE, {}))

    @property
    def table(self) -> Settings:
        return {WHERE: self.where, **self.values} if self.where else self.values

    def distance(self, form: Mapping[str, Any]) -> float:
        """How far its dimension is from a run's, in log scale; infinite where it is for other runs."""
        if any(form.get(key) != value for key, value in self.where.items() if key != "dim"):
            return math.inf
        return abs(math.log(form["dim"] / self.where.get("dim", form["dim"])))


def settings_for(form: Mapping[str, Any], choices: Sequence[Tuned]) -> Settings | None:
    """Settings of the choice for runs like this one, of the nearest dimension; None where there is none.

    Args:
        form: values of a run by field, its `dim` among them.
    """
    nearest = min(choices, key=lambda choice: choice.distance(form), default=None)
    return None if nearest is None or math.isinf(nearest.distance(form)) else nearest.values


class TunedFiles(NamedTuple):
    """The files of a preset and data set; the later one has the last word on a method."""

    published: Path | None  # in the package, for all; None of own data
    own: Path  # among the results that the choice came from
    by: tuple[str, ...] = ()  # what has a choice of its own: the head, the dimension

    @classmethod
    def of(cls, preset: str, dataset: str | None, results: Path) -> TunedFiles:
        """Find those of a preset, or of the one whose settings it takes.

        Args:
            dataset: of the suite; None of own data.
            results: the data set's folder among the results.
        """
        content = read_toml(PRESETS / f"{preset}.toml", "a preset")
        name = content.get("tuned") or preset
        published = None if dataset is None else PUBLISHED / f"{name}-{dataset}.toml"
        return cls(published, results / name / "tuned.toml", tuple(content.get("tuning", {}).get("by", ())))

    @property
    def there(self) -> list[Path]:
        return [path for path in (self.published, self.own) if path is not None and path.exists()]

    def read(self) -> dict[str, list[Tuned]]:
        """By method, what was chosen; empty where nothing was. Raises as `read_tuned`."""
        return {method: choices for path in self.there for method, choices in read_tuned(path).items()}

    def for_runs(self) -> dict[str, list[Tuned]]:
        """The same, for runs that are to be made.

        Raises:
            UsageError: as `read_tuned`; or a choice is for all heads and dimensions, and the preset makes one for each.
        """
        for path in self.there:
            if self.by and any(not choice.where for choices in read_tuned(path).values() for choice in choices):
                raise UsageError(
                    f"{path} was chosen for all values of {', '.join(self.by)} alike, by an earlier version of this preset: "
                    f"move its folder to {path.parent.name}-v1, or delete the file and tune again"
                )
        return self.read()


def read_tuned(path: Path) -> dict[str, list[Tuned]]:
    """By method, what one file says.

    Raises:
        UsageError: it is none, or was changed since it was written.
    """
    methods = read_toml(path, "tuned settings").get("method")
    tables = {name: tables_of(table) for name, table in methods.items()} if isinstance(methods, dict) else None
    if tables is None or not all(_is_choice(table) for group in tables.values() for table in group):
        raise UsageError(f"{path} has no [method.NAME] tables of settings; delete it, and tune again")
    head, _, settings = path.read_text(encoding="utf-8").partition("\n")
    if SEALED in head and head.partition(SEALED)[2] != digest(settings.encode()):
        raise UsageError(f"{path} was changed since it was written; tune again, or delete its first line to use it")
    return {name: [Tuned.from_table(table) for table in group] for name, group in tables.items()}


def _is_choice(table: Any) -> bool:
    where = table.get(WHERE, {}) if isinstance(table, dict) else None
    return isinstance(where, dict) and isinstance(dim := where.get("dim", 1), int) and dim > 0


def read_reasons(path: Path) -> dict[str, list[Tuned]]:
    """By method, how each choice of a file came to be; empty without it."""
    tables = read_toml(path, "tuned settings").get("chosen", {}) if path.exists() else {}
    return {name: [Tuned.from_table(table) for table in tables_of(group)] for name, group in tables.items()}


def tables_of(tables: Any) -> list[Any]:
    """The tables of a method: it has a single one where its settings are for all its runs."""
    return tables if isinstance(tables, list) else [tables]


def write_tuned(path: Path, settings: Mapping[str, Sequence[Tuned]], chosen: Mapping[str, Sequence[Tuned]]) -> None:
    """Write settings by method, and how each came to be, as a file that is known to be as it was written."""

    def tables(by_method: Mapping[str, Sequence[Tuned]]) -> dict[str, Any]:
        own = {method: [choice.table for choice in choices] for method, choices in sorted(by_method.items())}
        return {method: group[0] if group[0].keys().isdisjoint({WHERE}) else group for method, group in own.items()}

    content = (
        "# What did best, by MAP@R, on held-out training classes. Settings first, then how they were chosen.\n\n"
        + tomli_w.dumps({"method": tables(settings), "chosen": tables(chosen)})
    )
    write_atomically(path, f"# Written by `benchmark tune`; {SEALED}{digest(content.encode())}\n{content}")
