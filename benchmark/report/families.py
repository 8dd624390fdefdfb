"""The paper's question: do methods that transfer relations do better than methods that transfer individual outputs?

Asked at equal heads: a linear head and one with a hidden layer are different networks, and no difference between methods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..record import Record
from .cells import FAMILIES, Cell, Row, batches, head_of
from .comparison import Comparison
from .stats import summarise


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
    cells: tuple[Cell, ...]  # of each method one row
    recall: dict[int, dict[int, float]]  # Recall@1 in percent by dimension and unit, the mean over methods

    @property
    def hidden(self) -> int:
        return self.cells[0].row.hidden or 0

    @property
    def rows(self) -> list[Row]:
        """List a row a method."""
        return sorted({cell.row for cell in self.cells}, key=lambda row: row.order)

    @property
    def members(self) -> list[Member]:
        """The family as a row of the table."""
        first, rows = self.cells[0].row, self.rows
        label = f"mean of {len(rows)} method{'s' * (len(rows) != 1)}"
        names = "; ".join(row.label for row in rows)
        row = Row(f"{self.role} family", label, first.backbone, self.hidden, None, first.steps, names)
        return [
            Member(row, dim, (), {}, tuple(cell for cell in self.cells if cell.dim == dim), recall)
            for dim, recall in sorted(self.recall.items())
        ]


Pair = tuple[Pool, Pool]


class Families:
    """The pools of a comparison, and those that answer.

    A pool has one row of each method (of several the one of most runs, of those the first of the table) and the same methods in all
    of its columns: left out is what lacks a dimension or a seed that most have; and generations of networks of the teacher's size.

    Attributes:
        pools: by backbone, steps and head, individual before relational.
        pairs: individual and relational pools of the same batches and head.
        main: the pairs that answer, one a head: of the usual number of steps, else of most methods; another head joins where it has
            at least half of these methods too.
        dims: those that all of these have.
        units: the seeds, or teachers, that all of these have.
    """

    def __init__(self, compared: Comparison) -> None:
        self.compared = compared
        alike: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
        for cell in compared.candidates:
            if cell.row.role in FAMILIES:
                alike[cell.row.role, *head_of(cell), *batches(cell)].append(cell)
        self.pools = [_pool(cells) for cells in alike.values()]
        self.pools.sort(key=lambda pool: (*_place(pool), pool.role))
        relational = {_key(pool): pool for pool in self.pools if pool.role == "relational"}
        individual = [(pool, _key(pool)) for pool in self.pools if pool.role == "individual"]
        self.pairs = [(pool, relational[key]) for pool, key in individual if key in relational]
        self.main = self._main()
        pools = [pool for pair in self.main for pool in pair]
        self.dims = sorted(set.intersection(*(set(pool.recall) for pool in pools))) if pools else []
        columns = [set(pool.recall[dim]) for pool in pools for dim in self.dims]
        self.units = sorted(set.intersection(*columns)) if columns else []

    def _main(self) -> tuple[Pair, ...]:
        first = max(self.pairs, key=self._weight, default=None)
        if first is None:
            return ()
        others = [pair for pair in self.pairs if batches(pair[0].cells[0]) == batches(first[0].cells[0])]

        def joins(pair: Pair) -> bool:
            return all(
                2 * len(_names(own) & _names(most)) >= len(_names(most)) for own, most in zip(pair, first, strict=True)
            )

        return tuple(pair for pair in others if joins(pair))

    def _weight(self, pair: Pair) -> tuple[bool, int]:
        return pair[0].cells[0].row.steps == self.compared.usual_steps, sum(len(pool.rows) for pool in pair)

    def methods(self, role: str) -> list[str]:
        """The methods of a family that answer: those of all main pools."""
        pools = [pool for pair in self.main for pool in pair if pool.role == role]
        return sorted(set.intersection(*map(_names, pools)))

    @property
    def heads(self) -> list[str]:
        """The heads of the main pairs, as people call them."""
        return [head_name(pair[0].hidden) for pair in self.main]

    @property
    def lacking(self) -> list[str]:
        """The families of which there is no method."""
        return [name for role, name in FAMILIES.items() if not any(pool.role == role for pool in self.pools)]

    @property
    def unmatched(self) -> set[str]:
        """The methods of main batches that no pair has, since the other family has nothing of their head."""
        alike = [pool for pool in self.pools if self.main and _key(pool)[2:] == _key(self.main[0][0])[2:]]
        return set().union(*map(_names, alike)) - {
            name for pair in self.pairs for pool in pair for name in _names(pool)
        }

    @property
    def left_out(self) -> set[str]:
        """The methods that are in no pool, since they lack a seed or a dimension that most have."""
        methods = {cell.row.method for cell in self.compared.candidates if cell.row.role in FAMILIES}
        return methods - set().union(*map(_names, self.pools))

    @property
    def members(self) -> list[str]:
        """Which methods each family's mean is of, at which head."""
        names = (
            f"{FAMILIES[pool.role]}, {head_name(pool.hidden)}: {', '.join(row.label for row in pool.rows)}"
            for pool in self.pools
        )
        return list(dict.fromkeys(names))

    @property
    def seeds(self) -> int:
        """How many seeds a method of the main pools has."""
        return min(cell.seeds for pair in self.main for pool in pair for cell in pool.cells)

    @property
    def teachers(self) -> int:
        """How many networks taught the main pools."""
        records = (record for pair in self.main for pool in pair for cell in pool.cells for record in cell.records)
        return len({(record.spec.teacher.id, record.teacher) for record in records if record.spec.teacher is not None})


def head_name(hidden: int | None) -> str:
    return f"hidden layer of {hidden}" if hidden else "linear head"


def _key(pool: Pool) -> tuple[object, ...]:
    return *head_of(pool.cells[0]), *batches(pool.cells[0])


def _place(pool: Pool) -> tuple[str, int, int]:
    return pool.cells[0].row.backbone, pool.cells[0].row.steps, pool.hidden


def _names(pool: Pool) -> set[str]:
    return {row.method for row in pool.rows}


def _pool(cells: list[Cell]) -> Pool:
    """Pool those methods that have all the dimensions and seeds that most have."""
    by_row: dict[Row, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_row[cell.row].append(cell)
    grids = {
        row: frozenset((cell.dim, record.spec.seed) for cell in own for record in cell.records)
        for row, own in by_row.items()
    }
    chosen: dict[str, Row] = {}
    for row in sorted(by_row, key=lambda row: (-len(grids[row]), row.order)):
        chosen.setdefault(row.method, row)
    counts = Counter(grids[row] for row in chosen.values())
    usual = max(counts, key=lambda grid: (counts[grid], len(grid), sorted(grid)))
    kept = tuple(cell for row in chosen.values() if grids[row] >= usual for cell in by_row[row])
    units = cells[0].units
    recall: dict[int, dict[int, float]] = defaultdict(dict)
    for dim, unit in sorted({(dim, units.get(seed, seed)) for dim, seed in usual}):
        recall[dim][unit] = summarise(cell.recall[unit] for cell in kept if cell.dim == dim).mean
    return Pool(cells[0].row.role, kept, dict(recall))


def by_role(pairs: Iterable[Pair], role: str) -> list[Pool]:
    return [pool for pair in pairs for pool in pair if pool.role == role]
