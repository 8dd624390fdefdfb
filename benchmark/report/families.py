"""The paper's question: do methods that transfer relations do better than methods that transfer individual outputs?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..record import Record
from .cells import FAMILIES, Cell, Row, batches
from .comparison import Comparison
from .render import phrases
from .stats import Summary, paired, summarise


@dataclass(frozen=True, eq=False)
class Member(Cell):
    """A family at one dimension, as a cell of the table: of its numbers it has Recall@1 alone."""

    parts: tuple[Cell, ...]  # its methods' cells
    recall: dict[int, float]  # the mean over methods

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.parts

    def over_seeds(self, value: Callable[[Record], float | None]) -> None:
        return None


class Pool(NamedTuple):
    """The methods of one family that saw the same batches, each with the same weight."""

    role: str
    cells: tuple[Cell, ...]  # of each method one row
    recall: dict[int, dict[int, float]]  # Recall@1 in percent by dimension and seed, the mean over methods

    @property
    def rows(self) -> list[Row]:
        """One a method."""
        return sorted({cell.row for cell in self.cells}, key=lambda row: row.order)

    @property
    def members(self) -> list[Member]:
        """The family as a row of the table."""
        first, rows = self.cells[0].row, self.rows
        label = f"mean of {len(rows)} method{'s' * (len(rows) != 1)}"
        names = "; ".join(row.label for row in rows)
        row = Row(f"{self.role} family", label, first.backbone, None, None, first.steps, names)
        return [
            Member(row, dim, (), tuple(cell for cell in self.cells if cell.dim == dim), recall)
            for dim, recall in sorted(self.recall.items())
        ]

    def over(self, dims: Iterable[int]) -> dict[int, float]:
        """By seed, the mean over some dimensions, of the seeds that all of these have."""
        columns = [self.recall.get(dim, {}) for dim in dims]
        seeds = set(columns[0]).intersection(*columns[1:]) if columns else ()
        return {seed: summarise(recall[seed] for recall in columns).mean for seed in seeds}

    def best(self, dims: Iterable[int]) -> tuple[str, float]:
        """The method with the highest mean over some dimensions and the pool's seeds, with that mean."""
        cells = {(cell.row, cell.dim): cell.recall for cell in self.cells}
        scores = [
            (
                summarise(summarise(cells[row, dim][seed] for seed in self.recall[dim]).mean for dim in dims).mean,
                row.label,
            )
            for row in self.rows
        ]
        score, name = max(scores)
        return name, score


class Families:
    """The pools of a comparison, and the difference between its two families.

    A pool has one row of each method (of several the one of most runs, of those the first of the table) and the same methods in all
    of its columns: left out is what lacks a dimension or a seed that most have; and generations of networks of the teacher's size.

    Attributes:
        pools: by backbone and steps, individual before relational.
        pairs: individual and relational pools of the same batches.
        main: the pair that answers: of the usual number of steps, else of most methods.
        dims: those that both of these have.
        whole: relational minus individual of these, as the mean over dimensions; None where they share no seed.
    """

    def __init__(self, compared: Comparison) -> None:
        self.compared = compared
        alike: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
        for cell in compared.candidates:
            if cell.row.role in FAMILIES:
                alike[cell.row.role, *batches(cell)].append(cell)
        self.pools = [_pool(cells) for cells in alike.values()]
        self.pools.sort(key=lambda pool: (pool.cells[0].row.backbone, pool.cells[0].row.steps, pool.role))
        relational = {batches(pool.cells[0]): pool for pool in self.pools if pool.role == "relational"}
        individual = [(pool, batches(pool.cells[0])) for pool in self.pools if pool.role == "individual"]
        self.pairs = [(pool, relational[key]) for pool, key in individual if key in relational]
        self.main = max(self.pairs, key=self._weight, default=None)
        self.dims = sorted(set.intersection(*(set(pool.recall) for pool in self.main))) if self.main else []
        self.whole = gap(self.main, *self.dims) if self.main else None

    def _weight(self, pair: tuple[Pool, Pool]) -> tuple[bool, int]:
        return pair[0].cells[0].row.steps == self.compared.usual_steps, sum(len(pool.rows) for pool in pair)

    def answer(self) -> str:
        """The paper's question, answered by the records in one sentence."""
        (words,) = phrases("answer", families=self)
        return words

    @property
    def trend(self) -> list[tuple[int, Summary]]:
        """Relational minus individual by dimension."""
        gaps = [(dim, gap(self.main, dim)) for dim in self.dims] if self.main else []
        return [(dim, summary) for dim, summary in gaps if summary is not None]

    @property
    def lacking(self) -> list[str]:
        """The families of which there is no method."""
        return [name for role, name in FAMILIES.items() if not any(pool.role == role for pool in self.pools)]

    @property
    def members(self) -> list[str]:
        """Which methods each family's mean is of."""
        names = (f"{FAMILIES[pool.role]}: {', '.join(row.label for row in pool.rows)}" for pool in self.pools)
        return list(dict.fromkeys(names))

    @property
    def teachers(self) -> int:
        """How many networks taught the main pair."""
        records = (record for pool in self.main or () for cell in pool.cells for record in cell.records)
        return len({(record.spec.teacher.id, record.teacher) for record in records if record.spec.teacher is not None})


def _pool(cells: list[Cell]) -> Pool:
    """Pool those methods that have all the dimensions and seeds that most have."""
    by_row: dict[Row, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_row[cell.row].append(cell)
    grids = {row: frozenset((cell.dim, seed) for cell in own for seed in cell.recall) for row, own in by_row.items()}
    chosen: dict[str, Row] = {}
    for row in sorted(by_row, key=lambda row: (-len(grids[row]), row.order)):
        chosen.setdefault(row.method, row)
    counts = Counter(grids[row] for row in chosen.values())
    usual = max(counts, key=lambda grid: (counts[grid], len(grid), sorted(grid)))
    kept = tuple(cell for row in chosen.values() if grids[row] >= usual for cell in by_row[row])
    recall: dict[int, dict[int, float]] = defaultdict(dict)
    for dim, seed in sorted(usual):
        recall[dim][seed] = summarise(cell.recall[seed] for cell in kept if cell.dim == dim).mean
    return Pool(cells[0].row.role, kept, dict(recall))


def gap(pair: tuple[Pool, Pool], *dims: int) -> Summary | None:
    """Relational minus individual, paired by seed, in points: of the mean over dimensions, where there are several."""
    individual, relational = (pool.over(dims) for pool in pair)
    return paired(relational, individual)
