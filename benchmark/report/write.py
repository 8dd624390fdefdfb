"""From folders of records to the files beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..costs import read_costs
from ..data import cards
from ..errors import BenchmarkError, UsageError
from ..files import write_atomically
from ..store import Record, Store
from ..tuned import PRESETS, TunedFiles
from .cells import AGREEMENT, SELF_TAUGHT, printable
from .comparison import BASELINE, Comparison
from .document import Document, as_markdown, document
from .figures import figures
from .overview import Entry, overview_figure, overview_markdown
from .page import CAPTIONS, Part, page, part
from .render import latex, rich
from .tables import comparison_csv, runs_csv, tuning_csv

if TYPE_CHECKING:
    from rich.table import Table

TABLES = ("runs.csv", "comparison.csv", "comparison.md", "comparison.tex", "tuning.csv")


def find(results: Path) -> list[Path]:
    """All folders at or below `results` that hold records, sorted.

    Raises:
        UsageError: there is none.
    """
    folders = {path.parents[1] for kind in ("runs", "tuning") for path in results.rglob(f"{kind}/*.json")}
    if not folders:
        raise UsageError(f"no results below {results}: runs are kept as <dataset>/<preset>/runs/*.json")
    return sorted(folders)


@dataclass(frozen=True, eq=False)
class Folder:
    """One `results/<dataset>/<preset>`, read once.

    Args:
        kinds: of methods; by default as the catalogue has them.
        baseline: what the others are held against.

    Raises:
        UsageError: it holds no records.
        BenchmarkError: a record is damaged.
    """

    path: Path
    runs: Sequence[Record]
    tuned: Sequence[Record]
    kinds: Mapping[str, str] | None = None
    baseline: str = BASELINE

    @classmethod
    def read(cls, path: Path, kinds: Mapping[str, str] | None = None, baseline: str = BASELINE) -> Folder:
        runs, tuned = alike(list(Store(path))), list(Store(path, "tuning"))
        if not runs and not tuned:
            raise UsageError(f"no results in {path}: neither runs/ nor tuning/ holds a record")
        names = sorted({record.spec.dataset for record in (*runs, *tuned)})
        if len(names) > 1:
            raise BenchmarkError(f"{path} mixes the data sets {', '.join(names)}; keep each in a folder of its own")
        return cls(path, runs, tuned, kinds, baseline)

    @cached_property
    def compared(self) -> Comparison:
        from ..methods import catalogue, entry

        if self.kinds is not None:
            return Comparison(self.runs, self.kinds, baseline=self.baseline)
        known = catalogue()
        need_maps = [found.name for found in known.values() if "maps" in found.needs]
        named = {record.spec.method for record in self.runs} | {*known}
        # A method may have left the catalogue since it was run.
        entries = [entry(name) for name in sorted(named) if all(one in known for one in name.split("+"))]
        kinds = {one.name: SELF_TAUGHT if one.self_taught else one.kind for one in entries}
        return Comparison(self.runs, kinds, need_maps, self.baseline)

    @cached_property
    def document(self) -> Document:
        tuned = {} if self.kinds is not None else _tuned(self.path, self.runs[0].spec.dataset)
        return document(self.compared, self.path.resolve().name, read_costs(self.path), self.name, tuned)

    @property
    def name(self) -> str:
        """The data set's among results: with the fingerprint of own data and the subset, as `run` names its folder."""
        name, parent = self.runs[0].spec.dataset, self.path.resolve().parent.name
        return parent if parent.startswith(f"{name}-") else name

    @cached_property
    def figures(self) -> dict[str, str]:
        return figures(self.compared, self.tuned, read_costs(self.path))

    @cached_property
    def part(self) -> Part:
        return part(self.compared, self.document, self.figures)

    def files(self) -> dict[str, str]:
        """All that is generated, by the name in the folder."""
        found: dict[str, str] = {}
        if self.runs:
            found["runs.csv"] = runs_csv(self.compared)
            found["comparison.csv"] = comparison_csv(self.compared)
            found["comparison.md"] = as_markdown(self.document)
            found["comparison.tex"] = "\n".join(map(latex, self.document.tables))
            found |= {f"figures/{name}.svg": figure for name, figure in self.figures.items()}
            found["report.html"] = page(f"{self.document.dataset}, preset {self.document.preset}", [self.part])
        if self.tuned:
            found["tuning.csv"] = tuning_csv(self.tuned)
        return {name: printable(content) for name, content in found.items()}


def alike(records: Sequence[Record]) -> Sequence[Record]:
    """Records whose images can be held against each other's: where some are of a version that knew no contents, all by their
    listing, unless images of one listing are known to differ."""
    contents: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.listing:
            contents[record.listing].add(record.data)
    if all(record.listing for record in records) or any(len(several) > 1 for several in contents.values()):
        return records
    return [record.model_copy(update={"data": record.listed}) for record in records]


def _tuned(path: Path, dataset: str) -> Mapping[str, Mapping[str, Any]]:
    """By method, what `tune` chose for a folder's preset; nothing where the preset is none of the suite's."""
    path = path.resolve()
    if not (PRESETS / f"{path.name}.toml").exists():
        return {}
    return TunedFiles.of(path.name, dataset if dataset in cards.names() else None, path.parent).read()


def write_report(folder: Path, kinds: Mapping[str, str] | None = None, baseline: str = BASELINE) -> list[Path]:
    """Write all that is generated from the records of one folder; what was written. Raises as `Folder`."""
    return write(Folder.read(folder, kinds, baseline))


def write(folder: Folder) -> list[Path]:
    """Write all that is generated; a table or figure for which there is nothing left goes."""
    return write_files(folder.path, folder.files())


def write_files(path: Path, files: Mapping[str, str]) -> list[Path]:
    for name, content in files.items():
        write_atomically(path / name, content)
    for one in stale(path, files):
        one.unlink()
    return [path / name for name in files]


def stale(path: Path, files: Mapping[str, str]) -> list[Path]:
    """Tables and figures of ours that are there and are generated no more."""
    names = (*TABLES, *(f"figures/{name}.svg" for name in CAPTIONS))
    return [path / name for name in names if name not in files and (path / name).exists()]


def overview_files(results: Path, folders: Sequence[Folder]) -> dict[str, str]:
    """What is generated across folders, by the name in the folder of all results."""
    entries = [
        Entry(folder.document, folder.compared, folder.path.relative_to(results).as_posix())
        for folder in folders
        if folder.runs
    ]
    if len(entries) < 2:
        return {}
    figure = overview_figure(entries)
    files = {"overview.md": overview_markdown(entries, figure)}
    if figure is not None:
        files["figures/families.svg"] = figure
    files["report.html"] = page("Embedding distillation", [folder.part for folder in folders if folder.runs])
    return {name: printable(content) for name, content in files.items()}


def verify(path: Path, files: Mapping[str, str]) -> list[str]:
    """What differs between files that are generated and those that are there, a line each.

    A page that is missing is no difference: it is not committed.
    """
    lines = []
    for name, content in files.items():
        there = path / name
        if not there.exists():
            if name != "report.html":
                lines.append(f"{there} is missing")
        elif (found := there.read_text(encoding="utf-8")) != content:
            lines.append(
                f"{there} differs from what its records give, first in line {_first_difference(found, content)}"
            )
    return lines + [f"{one} is not generated from these records" for one in stale(path, files)]


def _first_difference(ours: str, theirs: str) -> int:
    lines = zip(ours.split("\n"), theirs.split("\n"), strict=False)
    return next(
        (number for number, (a, b) in enumerate(lines, 1) if a != b), min(ours.count("\n"), theirs.count("\n")) + 1
    )


def terminal_table(folder: Folder) -> Table:
    """Recall@1 of a folder's runs, for the end of a run: without the columns in which all trained students agree."""
    compared = folder.compared
    table = folder.document.tables[0]
    of = f" ({AGREEMENT})" if compared.agreement else ""
    title = f"Recall@1{of} in percent, mean ± sd over seeds: {folder.document.dataset}, {folder.document.preset}"
    trained = [line for line in table.lines if line.row is not None and line.row.trained]

    def keep(number: int) -> bool:
        name = table.columns[number].name
        several = len({line.values[number].text for line in trained}) > 1
        return several or name not in ("network", "l2", "steps")

    return rich(table, title, keep)
