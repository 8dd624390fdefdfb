"""The paper's question: do methods that transfer relations do better than methods that transfer individual outputs?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from . import columns
from .cells import Cell, Row, batches, fixed, signed
from .columns import Column, Plain, difference, part
from .comparison import Comparison
from .stats import FEW_SEEDS, Summary, paired, summarise

FAMILIES = {"individual": "individual (IKD)", "relational": "relational (RKD)"}


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
    def backbone(self) -> str:
        return self.cells[0].row.backbone

    @property
    def steps(self) -> int:
        return self.cells[0].row.steps

    @property
    def label(self) -> str:
        return f"mean of {len(self.rows)} method{'s' * (len(self.rows) != 1)}"

    def at(self, dim: int) -> Summary | None:
        seeds = self.recall.get(dim)
        return summarise(list(seeds.values())) if seeds else None


class Families:
    """The pools of a comparison, and the difference between its two families.

    A pool has one row of each method (of several the one of most runs, of those the first of the table) and the same methods in all
    of its columns: left out is what lacks a dimension or a seed that most have; and generations of networks of the teacher's size.
    """

    def __init__(self, compared: Comparison) -> None:
        self.compared = compared

    @cached_property
    def pools(self) -> list[Pool]:
        """By backbone and steps, individual before relational."""
        found: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
        for cell in self.compared.candidates:
            if cell.row.role in FAMILIES:
                found[cell.row.role, *batches(cell)].append(cell)
        pools = [_pool(str(key[0]), cells) for key, cells in found.items()]
        return sorted(pools, key=lambda pool: (pool.backbone, pool.steps, pool.role))

    @cached_property
    def pairs(self) -> list[tuple[Pool, Pool]]:
        """Individual and relational pools of the same batches."""
        relational = {batches(pool.cells[0]): pool for pool in self.pools if pool.role == "relational"}
        return [
            (pool, relational[key])
            for pool in self.pools
            if pool.role == "individual" and (key := batches(pool.cells[0])) in relational
        ]

    @property
    def main(self) -> tuple[Pool, Pool] | None:
        """The pair that answers: of the usual number of steps, else of most methods."""
        usual = self.compared.usual_steps
        return max(
            self.pairs, key=lambda pair: (pair[0].steps == usual, sum(len(pool.rows) for pool in pair)), default=None
        )

    def answer(self) -> str:
        """The paper's question, answered by the records in one sentence."""
        if self.main is None:
            lacking = [name for role, name in FAMILIES.items() if not any(pool.role == role for pool in self.pools)]
            return f"No answer yet: no method of the kind {' nor '.join(lacking) or 'individual beside relational'} was run here."
        individual, relational = self.main
        dims = sorted(individual.recall.keys() & relational.recall.keys())
        by_dim = {dim: gap(self.main, dim) for dim in dims}
        over_dims = _over_dims(self.main, dims)
        if over_dims is None:
            return "No answer yet: the two families share no seed at any dimension."
        of = "agreement" if self.compared.agreement else "Recall@1"
        them = f"the {len(relational.rows)} relational method{'s' * (len(relational.rows) != 1)}"
        others = f"the {len(individual.rows)} individual one{'s' * (len(individual.rows) != 1)}"
        over = f"{over_dims.n} seeds" if over_dims.n > 1 else "one seed"
        span = f"d = {dims[0]}" if len(dims) == 1 else f"d = {dims[0]} to {dims[-1]}"
        trend = ""
        if len(dims) > 1:
            shown = [f"{signed(off.mean, off.half)} at d = {dim}" for dim, off in by_dim.items() if off is not None]
            trend = f": {shown[0]}, {shown[-1]}"
        after = f", after {individual.steps:,} steps of {individual.backbone}" if len(self.pairs) > 1 else ""
        number = f"{signed(over_dims.mean, over_dims.half)} points of {of}, {'at' if len(dims) == 1 else 'mean over'} {span}{trend}{after}"
        number += f"; the best of each are {_best(relational, dims)} and {_best(individual, dims)}"
        if over_dims.zero is not False:
            return f"Not resolved with {over} and {self._teachers()}: {them} minus {others} is {number}."
        few = over_dims.n < FEW_SEEDS
        pay = ("seem to pay" if few else "pay") if over_dims.mean > 0 else ("seem not to pay" if few else "do not pay")
        verdict = f"Relations {pay} here"
        return f"{verdict}: {them} minus {others} is {number}; 95 % intervals over {over}, {self._teachers()}."

    def _teachers(self) -> str:
        """How many networks taught the main pair."""
        assert self.main is not None
        taught = {
            (record.spec.teacher.id, record.teacher)
            for pool in self.main
            for cell in pool.cells
            for record in cell.records
            if record.spec.teacher is not None
        }
        return "one teacher" if len(taught) == 1 else f"{len(taught)} teachers"


def _best(pool: Pool, dims: list[int]) -> str:
    """The method of a pool with the highest mean over some dimensions and the pool's seeds, with that mean."""
    cells = {(cell.row, cell.dim): cell.recall for cell in pool.cells}
    scores = {
        row.label: summarise(
            [summarise([cells[row, dim][seed] for seed in pool.recall[dim]]).mean for dim in dims]
        ).mean
        for row in pool.rows
    }
    name = max(scores, key=lambda name: (scores[name], name))
    return f"{name} ({fixed(scores[name], 2)})"


def _pool(role: str, cells: list[Cell]) -> Pool:
    """Pool those methods that have all the dimensions and seeds that most have."""
    by_row: dict[Row, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_row[cell.row].append(cell)

    def grid(row: Row) -> frozenset[tuple[int, int]]:
        return frozenset((cell.dim, seed) for cell in by_row[row] for seed in cell.recall)

    chosen: dict[str, Row] = {}
    for row in sorted(by_row, key=lambda row: (-len(grid(row)), row.order)):
        chosen.setdefault(row.method, row)
    grids = Counter(grid(row) for row in chosen.values())
    usual = max(grids, key=lambda one: (grids[one], len(one), sorted(one)))
    kept = tuple(cell for row in chosen.values() if grid(row) >= usual for cell in by_row[row])
    recall: dict[int, dict[int, float]] = defaultdict(dict)
    for dim, seed in sorted(usual):
        recall[dim][seed] = summarise([cell.recall[seed] for cell in kept if cell.dim == dim]).mean
    return Pool(role, kept, dict(recall))


def _over_dims(pair: tuple[Pool, Pool], dims: list[int]) -> Summary | None:
    """Relational minus individual, in points: the mean over dimensions, over the seeds that all have."""
    sides = []
    for pool in pair:
        seeds = set.intersection(*(set(pool.recall[dim]) for dim in dims)) if dims else set()
        sides.append({seed: summarise([pool.recall[dim][seed] for dim in dims]).mean for seed in seeds})
    return paired(sides[1], sides[0])


def gap(pair: tuple[Pool, Pool], dim: int) -> Summary | None:
    """Relational minus individual, paired by seed."""
    individual, relational = pair
    return paired(relational.recall.get(dim, {}), individual.recall.get(dim, {}))


class Member(NamedTuple):
    """A family at one dimension."""

    pool: Pool
    dim: int


def of_families(compared: Comparison) -> list[Column[Member]]:
    """The columns of cells, for families: empty but for names and Recall@1."""

    def gap(member: Member) -> Summary | None:
        baseline = compared.baseline_of(next(cell for cell in member.pool.cells if cell.dim == member.dim))
        return None if baseline is None else paired(member.pool.recall[member.dim], baseline.recall)

    def recall(member: Member) -> Summary | None:
        return member.pool.at(member.dim)

    values: dict[str, Callable[[Member], Plain]] = {
        "role": lambda member: f"{member.pool.role} family",
        "group": lambda member: FAMILIES[member.pool.role],
        "method": lambda member: member.pool.label,
        "settings": lambda member: "; ".join(row.label for row in member.pool.rows),
        "backbone": lambda member: member.pool.backbone,
        "network": lambda member: f"{member.pool.backbone}-{member.dim}",
        "dim": lambda member: member.dim,
        "l2": lambda member: "",
        "steps": lambda member: member.pool.steps,
        "seeds": part(recall, "n"),
        "recall@1 mean": part(recall, "mean"),
        "recall@1 sd": part(recall, "sd"),
        "recall@1 95% half-width": part(recall, "half"),
        "difference seeds": lambda member: 0,
    }

    def family(column: Column[Cell]) -> Column[Member]:
        if column.spread:
            return difference(column.label, gap)
        of = values.get(column.key or column.label)
        note = column.note if of and isinstance(column.note, str) else "of Recall@1 alone"
        shape = (column.key, column.label, column.unit, column.digits)
        return Column(*shape, of=of or (lambda member: None), note=note, marks=column.marks)

    return [family(column) for column in columns.of_cells(compared)]
