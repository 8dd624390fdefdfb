"""The paper's question: do methods that transfer relations do better than methods that transfer individual outputs?

Asked at equal heads: a linear head and one with a hidden layer are different networks, and no difference between methods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeVar

from ..record import Record
from .cells import FAMILIES, Cell, Row, batches, head_of
from .comparison import Comparison

Item = TypeVar("Item", int, str)


@dataclass(frozen=True, eq=False)
class Member(Cell):
    """A family at one dimension, as a cell of the table: of its numbers it has Recall@1 alone."""

    parts: tuple[Cell, ...] = ()  # its methods' cells
    recall: dict[int, float] = None  # type: ignore[assignment]  # the mean over methods

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.parts

    @property
    def seeds(self) -> int:
        return min(cell.seeds for cell in self.parts)

    @property
    def teachers(self) -> int:
        return max(cell.teachers for cell in self.parts)

    def over_units(self, value: Callable[[Record], float | None]) -> None:
        return None


class Pool(NamedTuple):
    """The methods of one family that saw the same batches with the same head, each with the same weight."""

    role: str
    head: tuple[int, str]  # as `head_of` gives it
    batches: tuple[object, ...]
    rows: list[Row]  # of each method one
    cells: tuple[Cell, ...]  # of these rows
    recall: dict[int, dict[int, float]]  # Recall@1 in percent by dimension and unit, the mean over methods

    @property
    def methods(self) -> set[str]:
        return {row.method for row in self.rows}

    @property
    def members(self) -> list[Member]:
        """The family as a row of the table."""
        first, names = self.rows[0], "; ".join(row.label for row in self.rows)
        label = f"mean of {len(self.rows)} method{'s' * (len(self.rows) != 1)}"
        row = Row(f"{self.role} family", label, first.backbone, self.head[0], None, first.steps, names)
        return [
            Member(row, dim, (), {}, tuple(cell for cell in self.cells if cell.dim == dim), recall)
            for dim, recall in sorted(self.recall.items())
        ]


class Families:
    """The pools of a comparison, and those that answer.

    A pool has one row of each method (of several the one of most runs, of those the first of the table) and the same methods in all
    of its columns: left out is what lacks a dimension or a seed that most have; and generations of networks of the teacher's size.

    Attributes:
        pools: by backbone, steps and head, individual before relational.
        pairs: individual and relational pools of the same batches and head.
        main: the pairs that answer, one a head: of the usual number of steps, else of most methods; another head joins where it has
            at least half of these methods too.
        answering: the pools of these, whose `heads` (as people call them), `dims` and `units` (seeds, or teachers) all have,
            with the fewest `seeds` of a method and the number of `teachers`.
        lacking: the families of which there is no method.
        left_out: methods that are in no pool, since they lack a seed or a dimension that most have.
        unmatched: methods of main batches that no pair has, since the other family has nothing of their head.
        members: which methods each family's mean is of, at which head.
    """

    def __init__(self, compared: Comparison) -> None:
        self.compared = compared
        alike: dict[tuple[str, tuple[int, str], tuple[object, ...]], list[Cell]] = defaultdict(list)
        for cell in compared.candidates:
            if cell.row.role in FAMILIES:
                alike[cell.row.role, head_of(cell), batches(cell)].append(cell)
        self.pools = sorted(
            (Pool(*key, *_pooled(cells)) for key, cells in alike.items()),
            key=lambda pool: (pool.rows[0].backbone, pool.rows[0].steps, pool.head[0], pool.role),
        )
        individual, relational = (
            {(pool.head, pool.batches): pool for pool in self.pools if pool.role == role} for role in FAMILIES
        )
        self.pairs = [(pool, relational[key]) for key, pool in individual.items() if key in relational]
        self.main = self._main()
        self.answering = [pool for pair in self.main for pool in pair]
        self.heads = [head_name(pool.head[0]) for pool, _ in self.main]
        self.dims = _common(pool.recall for pool in self.answering)
        self.units = _common(pool.recall[dim] for pool in self.answering for dim in self.dims)
        cells = [cell for pool in self.answering for cell in pool.cells]
        self.seeds = min((cell.seeds for cell in cells), default=0)
        records = (record for cell in cells for record in cell.records)
        self.teachers = len({(record.spec.teacher.id, record.teacher) for record in records if record.spec.teacher})
        self.lacking = [name for role, name in FAMILIES.items() if all(pool.role != role for pool in self.pools)]
        self.left_out = {cell.row.method for own in alike.values() for cell in own} - _methods(self.pools)
        alongside = [pool for pool in self.pools if self.main and pool.batches == self.answering[0].batches]
        self.unmatched = _methods(alongside) - _methods(pool for pair in self.pairs for pool in pair)
        named = ((FAMILIES[pool.role], head_name(pool.head[0]), pool.rows) for pool in self.pools)
        members = (f"{family}, {head}: {', '.join(row.label for row in rows)}" for family, head, rows in named)
        self.members = list(dict.fromkeys(members))

    def _main(self) -> list[tuple[Pool, Pool]]:
        def weight(pair: tuple[Pool, Pool]) -> tuple[bool, int]:
            return pair[0].rows[0].steps == self.compared.usual_steps, sum(len(pool.rows) for pool in pair)

        def joins(pool: Pool, most: Pool) -> bool:
            return pool.batches == most.batches and 2 * len(pool.methods & most.methods) >= len(most.methods)

        first = max(self.pairs, key=weight, default=())
        return [pair for pair in self.pairs if all(map(joins, pair, first))]

    def methods(self, role: str) -> list[str]:
        """The methods of a family that answer: those of all main pools."""
        return _common(pool.methods for pool in self.answering if pool.role == role)


def head_name(hidden: int | None) -> str:
    return f"hidden layer of {hidden}" if hidden else "linear head"


def _methods(pools: Iterable[Pool]) -> set[str]:
    return set().union(*(pool.methods for pool in pools))


def _common(groups: Iterable[Iterable[Item]]) -> list[Item]:
    """Sort what is in all groups; of no group nothing."""
    sets = list(map(set, groups))
    return sorted(set.intersection(*sets)) if sets else []


def _pooled(cells: list[Cell]) -> tuple[list[Row], tuple[Cell, ...], dict[int, dict[int, float]]]:
    """The rows and cells of those methods that have all the dimensions and seeds that most have, and their mean Recall@1."""
    grids: dict[Row, set[tuple[int, int]]] = defaultdict(set)
    for cell in cells:
        grids[cell.row] |= {(cell.dim, record.spec.seed) for record in cell.records}
    chosen: dict[str, Row] = {}
    for row in sorted(grids, key=lambda row: (-len(grids[row]), row.order)):
        chosen.setdefault(row.method, row)
    counts = Counter(frozenset(grids[row]) for row in chosen.values())
    usual = max(counts, key=lambda grid: (counts[grid], len(grid), sorted(grid)))
    rows = [row for row in chosen.values() if grids[row] >= usual]
    kept = tuple(cell for row in rows for cell in cells if cell.row == row)
    units = cells[0].units
    recall: dict[int, dict[int, float]] = defaultdict(dict)
    for dim, unit in sorted({(dim, units.get(seed, seed)) for dim, seed in usual}):
        recall[dim][unit] = fmean(cell.recall[unit] for cell in kept if cell.dim == dim)
    return sorted(rows, key=lambda row: row.order), kept, dict(recall)
