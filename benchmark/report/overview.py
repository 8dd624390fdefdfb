"""Across data sets and presets: each folder's answer, its best methods of each kind, and a figure of the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from .cells import Cell, batches, fixed
from .columns import Column, difference, headings, line, mean
from .comparison import Comparison
from .document import Document, several
from .families import Families, Pool, gap
from .figures import families_figure
from .render import Table, markdown
from .stats import paired, summarise


class Entry(NamedTuple):
    """A folder, and where it is from the folder of all results."""

    made: Document
    compared: Comparison
    link: str


class Dimension(NamedTuple):
    """A folder's students of one dimension that saw the same batches."""

    entry: Entry
    dim: int
    steps: int
    cells: Sequence[Cell]
    main: tuple[Pool, Pool] | None

    @property
    def teacher(self) -> Cell | None:
        taught = next((cell for cell in self.cells if cell.records[0].spec.teacher is not None), self.cells[0])
        return self.entry.compared.teacher_of(taught)

    @property
    def baseline(self) -> Cell | None:
        return next((cell for cell in self.cells if cell.row.method == self.entry.compared.baseline), None)

    def best(self, role: str) -> str | None:
        """The method of a role with the highest mean, with that mean. One lucky seed is no best, where another has several."""
        cells = [cell for cell in self.cells if cell.row.role == role]
        tried = [cell for cell in cells if len(cell.recall) > 1] or cells
        scores = [(summarise(list(cell.recall.values())).mean, cell.row.label) for cell in tried]
        score, name = max(scores, default=(0.0, None))
        return name and f"{name} {fixed(score, 2)}"


COLUMNS: tuple[Column[Dimension], ...] = (
    Column("", "data set", of=lambda at: at.entry.made.dataset + " (agreement)" * at.entry.compared.agreement),
    Column("", "preset", of=lambda at: at.entry.made.preset),
    Column("", "d", "", of=lambda at: at.dim),
    Column("", "steps", "", of=lambda at: at.steps),
    Column("", "seeds", "", of=lambda at: several(len(cell.recall) for cell in at.cells)),
    mean("teacher", lambda at: at.teacher.summary("recall@1") if at.teacher else None, "no teacher"),
    mean("baseline", lambda at: at.baseline.summary("recall@1") if at.baseline else None, "no baseline"),
    Column("", "best IKD", "", of=lambda at: at.best("individual"), note="no individual method"),
    Column("", "best RKD", "", of=lambda at: at.best("relational"), note="no relational method"),
    difference("RKD − IKD, ± 95 %", lambda at: at.main and gap(at.main, at.dim), "one of the two families is missing"),
)


def overview_table(entries: Sequence[Entry]) -> Table:
    """A line a folder and dimension."""
    return Table(
        "overview",
        "Across data sets and presets",
        "Recall@1 in percent; of vectors without labels, agreement with the teacher's neighbours. Best IKD, best RKD: the individual "
        "and the relational method of the highest mean, chosen by these very numbers. RKD − IKD: the mean of all relational methods "
        "minus that of all individual ones, in points, paired by seed.",
        headings(COLUMNS),
        tuple(line(COLUMNS, at, "", at.dim) for entry in entries for at in _dimensions(entry)),
    )


def _dimensions(entry: Entry) -> Iterator[Dimension]:
    compared, main = entry.compared, Families(entry.compared).main
    alike = batches(main[0].cells[0]) if main else None
    steps = main[0].steps if main else compared.usual_steps
    for dim in compared.dims:
        cells = [
            cell
            for cell in compared.candidates
            if cell.dim == dim and (batches(cell) == alike if alike else cell.row.steps == steps)
        ]
        if cells:
            yield Dimension(entry, dim, steps, cells, main)


def overview_markdown(entries: Sequence[Entry], figure: str | None) -> str:
    """`overview.md`."""
    table = overview_table(entries)
    parts = ["# Overview\n"]
    parts += [
        f"- [{made.dataset}, {made.preset}]({quote(link)}/comparison.md): {made.answer}" for made, _, link in entries
    ]
    parts += ["", f"## {table.title}\n", f"{table.caption}\n", markdown(table)]
    if figure is not None:
        parts += ["![Relational minus individual methods, by data set, preset and dimension](figures/families.svg)", ""]
    return "\n".join(parts)


def overview_figure(entries: Sequence[Entry]) -> str | None:
    """RKD - IKD of all folders in one forest plot; None where none has both families."""
    gaps = []
    for made, compared, _ in entries:
        main = Families(compared).main
        if main is None:
            continue
        individual, relational = main[0].recall, main[1].recall
        for dim in sorted(individual.keys() & relational.keys()):
            off = paired(relational[dim], individual[dim])
            if off is not None:
                seeds = sorted(individual[dim].keys() & relational[dim].keys())
                points = [relational[dim][seed] - individual[dim][seed] for seed in seeds]
                gaps.append((f"{made.dataset}, {made.preset}, d = {dim}", off, points))
    return families_figure(gaps) if gaps else None
