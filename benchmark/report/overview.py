"""Across data sets and presets: each folder's answer, its best methods of each kind, and a figure of the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from .cells import Cell, batches, fixed, listed
from .columns import Column, difference_column, laid_out
from .comparison import Comparison
from .document import Document
from .families import Families
from .figures import families_figure
from .leaderboard import leaderboards
from .render import markdown
from .stats import Summary
from .verdict import Verdict, verdict_of


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
    verdict: Verdict | None

    @property
    def teachers(self) -> str | None:
        """Recall@1 of the networks that taught them."""
        taught = {record.spec.teacher.id for cell in self.cells for record in cell.records if record.spec.teacher}
        cells = [cell for cell in self.entry.compared.cells if cell.row.role == "teacher"]
        scores = [cell.mean for cell in cells if taught & {record.id for record in cell.records}]
        return ", ".join(fixed(score, 2) for score in sorted(scores, reverse=True)) or None

    @property
    def baseline(self) -> Cell | None:
        return next((cell for cell in self.cells if cell.row.method == self.entry.compared.baseline), None)

    def gap(self, metric: str, estimand: str) -> Summary | None:
        if self.verdict is None or metric not in self.verdict.metrics:
            return None
        return self.verdict.resolvable(estimand, "kinds", metric, self.dim)

    @property
    def best(self) -> str | None:
        """The two methods that are the best of their kind here."""
        return " − ".join(self.verdict.gap(dim=self.dim).names) if self.verdict else None


NO_PAIR = "no two families of the same head, or one paper or one seed alone"
COLUMNS: tuple[Column[Dimension], ...] = (
    Column("", "data set", of=lambda at: at.entry.made.dataset + " (agreement)" * at.entry.compared.agreement),
    Column("", "preset", of=lambda at: at.entry.made.preset),
    Column("", "d", "", of=lambda at: at.dim),
    Column("", "steps", "", of=lambda at: at.steps),
    Column("", "seeds", "", of=lambda at: listed(cell.seeds for cell in at.cells)),
    Column("", "teachers", "", of=lambda at: at.teachers, note="no teacher"),
    Column("", "baseline", "%", 2, of=lambda at: at.baseline and at.baseline.recalled, note="no baseline"),
    difference_column("families", lambda at: at.gap("recall@1", "kinds"), NO_PAIR),
    difference_column("these methods", lambda at: at.gap("recall@1", "these"), NO_PAIR),
    difference_column("best of each", lambda at: at.gap("recall@1", "best"), NO_PAIR),
    Column("", "which are", of=lambda at: at.best, note=NO_PAIR),
    difference_column("families, MAP@R", lambda at: at.gap("map@r", "kinds"), NO_PAIR),
    difference_column("these methods, MAP@R", lambda at: at.gap("map@r", "these"), NO_PAIR),
)


def _dimensions(entry: Reported) -> Iterator[Dimension]:
    compared, families = entry.compared, Families(entry.compared)
    first = families.main[0][0].cells[0] if families.main else None
    verdict, alike = verdict_of(families), batches(first) if first else None
    steps = first.row.steps if first else compared.usual_steps
    for dim in compared.dims:
        of_dim = [cell for cell in compared.candidates if cell.dim == dim]
        cells = [cell for cell in of_dim if (batches(cell) == alike if alike else cell.row.steps == steps)]
        if cells:
            yield Dimension(entry, dim, steps, cells, verdict if dim in families.dims else None)


def overview_markdown(entries: Sequence[Reported], figure: str | None) -> str:
    """`overview.md`: the answers, methods in order across data sets, and a line a folder and dimension."""
    table = laid_out("overview", COLUMNS, ((at, "", at.dim) for entry in entries for at in _dimensions(entry)))
    links = [
        f"- [{made.dataset}, {made.preset}]({quote(link)}/comparison.md): {made.answer}" for made, _, link in entries
    ]
    boards = leaderboards([(made.dataset, link, compared) for made, compared, link in entries])
    parts = ["# Overview\n", *links, ""]
    for each in (*boards, table):
        parts += [f"## {each.title}\n", f"{each.caption}\n", markdown(each)]
    if figure is not None:
        parts += ["![Relational minus individual methods, by data set, preset and dimension](figures/families.svg)", ""]
    return "\n".join(parts)


def overview_figure(entries: Sequence[Reported]) -> str | None:
    """RKD - IKD, of these methods and of the kinds, of all folders in one forest plot; None where none has both families."""
    gaps: list[tuple[str, Summary, Summary]] = []
    for made, compared, _ in entries:
        if verdict := verdict_of(Families(compared)):
            by_dim = {dim: verdict.gap(dim=dim) for dim in verdict.families.dims}
            names = f"{made.dataset}, {made.preset}, d ="
            gaps += [(f"{names} {dim}", gap.these, gap.kinds) for dim, gap in by_dim.items()]
    return families_figure(gaps) if gaps else None
