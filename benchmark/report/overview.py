"""Across data sets and presets: each folder's answer, its best methods of each kind, and a figure of the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from .cells import Cell, batches, fixed, listed
from .columns import Column, difference_column, laid_out
from .comparison import Comparison
from .document import Document
from .families import Families, Pool, gap
from .figures import families_figure
from .render import markdown
from .stats import by_pairs, summarise


class Reported(NamedTuple):
    """A folder, and where it is from the folder of all results."""

    made: Document
    compared: Comparison
    link: str


class Dimension(NamedTuple):
    """A folder's students of one dimension that saw the same batches."""

    entry: Reported
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
        score, name = max(((cell.mean, cell.row.label) for cell in tried), default=(0.0, None))
        return name and f"{name} {fixed(score, 2)}"


COLUMNS: tuple[Column[Dimension], ...] = (
    Column("", "data set", of=lambda at: at.entry.made.dataset + " (agreement)" * at.entry.compared.agreement),
    Column("", "preset", of=lambda at: at.entry.made.preset),
    Column("", "d", "", of=lambda at: at.dim),
    Column("", "steps", "", of=lambda at: at.steps),
    Column("", "seeds", "", of=lambda at: listed(len(cell.recall) for cell in at.cells)),
    Column("", "teacher", "%", 2, of=lambda at: at.teacher and at.teacher.recalled, note="no teacher"),
    Column("", "baseline", "%", 2, of=lambda at: at.baseline and at.baseline.recalled, note="no baseline"),
    Column("", "best IKD", "", of=lambda at: at.best("individual"), note="no individual method"),
    Column("", "best RKD", "", of=lambda at: at.best("relational"), note="no relational method"),
    difference_column(
        "RKD − IKD, ± 95 %", lambda at: at.main and gap(at.main, at.dim), "one of the two families is missing"
    ),
)


def _dimensions(entry: Reported) -> Iterator[Dimension]:
    compared, main = entry.compared, Families(entry.compared).main
    alike = batches(main[0].cells[0]) if main else None
    steps = main[0].cells[0].row.steps if main else compared.usual_steps
    for dim in compared.dims:
        of_dim = [cell for cell in compared.candidates if cell.dim == dim]
        cells = [cell for cell in of_dim if (batches(cell) == alike if alike else cell.row.steps == steps)]
        if cells:
            yield Dimension(entry, dim, steps, cells, main)


def overview_markdown(entries: Sequence[Reported], figure: str | None) -> str:
    """`overview.md`: the answers, and a line a folder and dimension."""
    table = laid_out("overview", COLUMNS, ((at, "", at.dim) for entry in entries for at in _dimensions(entry)))
    links = [
        f"- [{made.dataset}, {made.preset}]({quote(link)}/comparison.md): {made.answer}" for made, _, link in entries
    ]
    parts = ["# Overview\n", *links, "", f"## {table.title}\n", f"{table.caption}\n", markdown(table)]
    if figure is not None:
        parts += ["![Relational minus individual methods, by data set, preset and dimension](figures/families.svg)", ""]
    return "\n".join(parts)


def overview_figure(entries: Sequence[Reported]) -> str | None:
    """RKD - IKD of all folders in one forest plot; None where none has both families."""
    gaps = []
    for made, compared, _ in entries:
        families = Families(compared)
        for dim, _ in families.trend:
            individual, relational = (pool.recall[dim] for pool in families.main or ())
            points = by_pairs(relational, individual)
            gaps.append((f"{made.dataset}, {made.preset}, d = {dim}", summarise(points), points))
    return families_figure(gaps) if gaps else None
