"""From folders of records to the files beside them."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..costs import Costs, read_costs
from ..data import cards
from ..errors import BenchmarkError, UsageError
from ..files import write_atomically
from ..methods import catalogue, entry
from ..record import Declared, Record
from ..spec import MATRYOSHKA
from ..store import Store
from ..tuned import PRESETS, Tuned, TunedFiles
from .cells import AGREEMENT, REFERENCE_ROLES, SELF_TAUGHT, printable
from .comparison import BASELINE, Comparison
from .document import Document, as_markdown, document
from .figures import CAPTIONS, figures
from .overview import Reported, overview_figure, overview_markdown
from .page import Part, page, runs_table
from .render import Table, latex, markdown, rich
from .style import other_release
from .tables import comparison_csv, runs_csv, tuning_csv

if TYPE_CHECKING:
    from rich.console import Group

# Not over the next beginning: what stands between would be lost where an end is missing.
_GENERATED = re.compile(r"(<!-- generated: (\S+)/(\S+) -->\n)(?:(?!<!-- generated:).)*?(<!-- end -->)", re.DOTALL)
TABLES = ("runs.csv", "comparison.csv", "comparison.md", "comparison.tex", "tuning.csv")


def result_folders(results: Path) -> list[Path]:
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
        if self.kinds is not None:
            return Comparison(self.runs, self.kinds, baseline=self.baseline)
        known = catalogue()
        need_maps = [method.name for method in known.values() if "maps" in method.needs]
        names = {record.spec.method for record in self.runs} | {*known}
        # A method may have left the catalogue since it was run, or its plugin may not be here: then its record tells.
        facts = {record.spec.method: record.declared for record in self.runs if record.declared is not None}
        for name in names:
            if all(part in known for part in name.removeprefix(MATRYOSHKA).split("+")):
                facts[name] = Declared.model_validate(entry(name).said | {"outside": False})
        kinds = {name: SELF_TAUGHT if said.self_taught else said.kind for name, said in facts.items()}
        labelled = [name for name, said in facts.items() if said.labels]
        papers = {name: said.paper for name, said in facts.items()}
        return Comparison(self.runs, kinds, need_maps, self.baseline, labelled, papers)

    @cached_property
    def document(self) -> Document:
        dataset, path = self.runs[0].spec.dataset, self.path.resolve()
        # With the fingerprint of own data and the subset, as `run` names its folder.
        name = path.parent.name if path.parent.name.startswith(f"{dataset}-") else dataset
        tuned = None if self.kinds is not None else _tuned(path, dataset)
        return document(self.compared, path.name, self.costs, name, tuned)

    @cached_property
    def costs(self) -> Costs | None:
        return read_costs(self.path)

    @cached_property
    def figures(self) -> dict[str, str]:
        return figures(self.compared, self.tuned, self.costs)

    def write_pdf(self, folder: Path) -> list[Path]:
        """Write the figures as PDF; their files."""
        return [folder / f"{name}.pdf" for name in figures(self.compared, self.tuned, self.costs, folder)]

    @cached_property
    def part(self) -> Part:
        return Part(self.document, (*self.document.tables, runs_table(self.compared)), self.figures)

    def files(self) -> dict[str, str]:
        """All that is generated, by the name in the folder."""
        files: dict[str, str] = {}
        if self.runs:
            files["runs.csv"] = runs_csv(self.compared)
            files["comparison.csv"] = comparison_csv(self.compared)
            files["comparison.md"] = as_markdown(self.document)
            files["comparison.tex"] = latex(self.document.tables)
            files |= {f"figures/{name}.svg": figure for name, figure in self.figures.items()}
            files["report.html"] = page(f"{self.document.dataset}, preset {self.document.preset}", [self.part])
        if self.tuned:
            files["tuning.csv"] = tuning_csv(self.tuned)
        return {name: printable(content) for name, content in files.items()}

    def write(self) -> list[Path]:
        """Write all that is generated; what was written."""
        return write_files(self.path, self.files())


def alike(records: Sequence[Record]) -> Sequence[Record]:
    """Records whose images can be held against each other's: where some are of a version that knew no contents, all by their
    listing, unless images of one listing are known to differ."""
    contents: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.listing:
            contents[record.listing].add(record.data)
    if all(record.listing for record in records) or any(len(known) > 1 for known in contents.values()):
        return records
    return [record.model_copy(update={"data": record.listed}) for record in records]


def _tuned(path: Path, dataset: str) -> Mapping[str, Sequence[Tuned]] | None:
    """By method, what `tune` chose for a folder's preset; None where the folder's name is no preset of the suite's."""
    if not (PRESETS / f"{path.name}.toml").exists():
        return None
    return TunedFiles.of(path.name, dataset if dataset in cards.names() else None, path.parent).read()


def write_files(path: Path, files: Mapping[str, str]) -> list[Path]:
    """Write what is generated, by name; a table or figure for which there is nothing left goes."""
    for name, content in files.items():
        write_atomically(path / name, content)
    for left in _stale(path, files):
        left.unlink()
    return [path / name for name in files]


def _stale(path: Path, files: Mapping[str, str]) -> list[Path]:
    """Tables and figures of ours that are there and are generated no more."""
    names = (*TABLES, *(f"figures/{name}.svg" for name in CAPTIONS))
    return [path / name for name in names if name not in files and (path / name).exists()]


def overview_files(results: Path, folders: Sequence[Folder]) -> dict[str, str]:
    """Make what is generated across folders, by the name in the folder of all results."""
    links = {folder.path.relative_to(results).as_posix(): folder for folder in folders if folder.runs}
    if len(links) < 2:
        return {}
    entries = [Reported(folder.document, folder.compared, link) for link, folder in links.items()]
    figure = overview_figure(entries)
    files = {"overview.md": overview_markdown(entries, figure)}
    if figure is not None:
        files["figures/families.svg"] = figure
    parts = [folder.part.brief(f"{link}/report.html") for link, folder in links.items()]
    files["report.html"] = page("Embedding distillation", parts)
    return {name: printable(content) for name, content in files.items()}


def update_readme(path: Path, folders: Sequence[Folder]) -> None:
    """Make anew what stands between `<!-- generated: cars/heads-v1 -->` and `<!-- end -->`: the answer and the lines of the verdict
    that it is taken from.

    Raises:
        UsageError: the file has no such part, or names a folder that has no runs.
    """
    documents = {(made.dataset, made.preset): made for made in (folder.document for folder in folders if folder.runs)}
    before = path.read_text(encoding="utf-8")

    def make(match: re.Match[str]) -> str:
        made = documents.get((match[2], match[3]))
        if made is None:
            raise UsageError(f"{path} wants {match[2]}/{match[3]}, which has no runs")
        shown = [f"{table.caption}\n\n{markdown(_first(table))}" for table in made.tables if table.key == "verdict"]
        return "\n".join([match[1], f"**{made.answer}**\n", *(f"{text}\n" for text in made.grounds), *shown, match[4]])

    after, parts = _GENERATED.subn(make, before)
    if not parts or parts < before.count("<!-- generated:"):
        raise UsageError(f"{path}: a part that is generated is <!-- generated: DATASET/PRESET --> ... <!-- end -->")
    write_atomically(path, after)


def _first(verdict: Table) -> Table:
    """The first difference of a verdict alone, at the first of its heads."""
    places = [place for place, column in enumerate(verdict.columns) if column.name in ("difference", "head")]
    lines = (line for line in verdict.lines if all(line.values[at] == verdict.lines[0].values[at] for at in places))
    return replace(verdict, lines=tuple(lines))


def differences(path: Path, files: Mapping[str, str]) -> list[str]:
    """List what differs between files that are generated and those that are there, a line each.

    A page that is missing is no difference: it is not committed. Nor are figures that another release of matplotlib draws, which
    pages hold as well.
    """
    lines, drawn = [], (".svg", ".html") if other_release() else ()
    for name, content in files.items():
        there = path / name
        if not there.exists():
            if name != "report.html":
                lines.append(f"{there} is missing")
        elif not name.endswith(drawn) and (written := there.read_text(encoding="utf-8")) != content:
            pairs = itertools.zip_longest(written.split("\n"), content.split("\n"))
            number = next(number for number, (before, now) in enumerate(pairs, 1) if before != now)
            lines.append(f"{there} differs from what its records give, first in line {number}")
    return lines + [f"{left} is not generated from these records" for left in _stale(path, files)]


def terminal_table(folder: Folder) -> Group:
    """Recall@1 of a folder's runs, for the end of a run: without the columns in which all trained students agree."""
    table = folder.document.table("recall")
    assert table is not None
    of = f" ({AGREEMENT})" if folder.compared.agreement else ""
    title = f"Recall@1{of} in percent, mean ± sd over seeds: {folder.document.dataset}, {folder.document.preset}"
    trained = [line for line in table.lines if line.records and line.role not in REFERENCE_ROLES]

    def keep(number: int) -> bool:
        several = len({line.values[number].text for line in trained}) > 1
        return several or table.columns[number].name not in ("network", "l2", "steps")

    return rich(table, title, keep)
