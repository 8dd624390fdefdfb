"""The paper's question: do methods that transfer relations do better than methods that transfer individual outputs?"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from typing import NamedTuple

from .cells import Cell, Comparison, fixed
from .stats import Summary, paired, summarise

FAMILIES = {"individual": "individual (IKD)", "relational": "relational (RKD)"}


class Pool(NamedTuple):
    """All methods of one family that were trained alike, each with the same weight."""

    role: str
    backbone: str
    steps: int
    methods: tuple[str, ...]
    recall: dict[int, dict[int, float]]  # Recall@1 in percent by dimension and seed, the mean over methods

    def at(self, dim: int) -> Summary | None:
        seeds = self.recall.get(dim)
        return summarise(list(seeds.values())) if seeds else None

    @property
    def label(self) -> str:
        return f"mean of {len(self.methods)} method{'s' * (len(self.methods) != 1)}"


class Families:
    """The pools of a comparison, and the difference between its two families.

    Left out are generations of networks of the teacher's size, what has other images than the rest (§), and a method that lacks a
    dimension or a seed which others of its pool have: a pool is the same methods in all of its columns.
    """

    def __init__(self, compared: Comparison) -> None:
        self.compared = compared

    @cached_property
    def pools(self) -> list[Pool]:
        """Sorted by steps, individual before relational."""
        found: dict[tuple[str, int, str], list[Cell]] = defaultdict(list)
        for cell in self.compared.candidates:
            if cell.row.role in FAMILIES and "§" not in self.compared.flags(cell):
                found[cell.row.backbone, cell.row.steps, cell.row.role].append(cell)
        pools = [_pool(*key, cells) for key, cells in sorted(found.items(), key=lambda item: item[0])]
        return [pool for pool in pools if pool.methods]

    def of(self, role: str, backbone: str, steps: int) -> Pool | None:
        return next((pool for pool in self.pools if pool[:3] == (role, backbone, steps)), None)

    @cached_property
    def pairs(self) -> list[tuple[Pool, Pool]]:
        """Individual and relational pools of the same backbone and steps."""
        relational = {pool[1:3]: pool for pool in self.pools if pool.role == "relational"}
        return [
            (pool, relational[pool[1:3]])
            for pool in self.pools
            if pool.role == "individual" and pool[1:3] in relational
        ]

    @property
    def main(self) -> tuple[Pool, Pool] | None:
        """The pair that answers: of the backbone with most methods, and of its longest training."""
        return max(
            self.pairs, key=lambda pair: (len(pair[0].methods) + len(pair[1].methods), pair[0].steps), default=None
        )

    def answer(self) -> str:
        """The paper's question, answered by the records in one sentence."""
        if self.main is None:
            lacking = [name for role, name in FAMILIES.items() if not any(pool.role == role for pool in self.pools)]
            return f"No answer yet: no method of the kind {' nor '.join(lacking) or 'individual beside relational'} was run here."
        individual, relational = self.main
        dims = sorted(individual.recall.keys() & relational.recall.keys())
        by_dim = {dim: paired(relational.recall[dim], individual.recall[dim]) for dim in dims}
        over_dims = _over_dims(self.main, dims)
        if over_dims is None:
            return "No answer yet: the two families share no seed at any dimension."
        of = "agreement" if self.compared.agreement else "Recall@1"
        them = f"the {len(relational.methods)} relational method{'s' * (len(relational.methods) != 1)}"
        others = f"the {len(individual.methods)} individual one{'s' * (len(individual.methods) != 1)}"
        seeds = f"{over_dims.n} seed{'s' * (over_dims.n != 1)}"
        span = f"d = {dims[0]}" if len(dims) == 1 else f"d = {dims[0]} to {dims[-1]}"
        trend = ""
        if len(dims) > 1:
            shown = [(dim, summary) for dim, summary in by_dim.items() if summary is not None]
            trend = f": {signed(shown[0][1])} at d = {shown[0][0]}, {signed(shown[-1][1])} at d = {shown[-1][0]}"
        number = f"{signed(over_dims)} points of {of}, {'at' if len(dims) == 1 else 'mean over'} {span}{trend}"
        number += f"; the best of each are {self._best(relational, dims)} and {self._best(individual, dims)}"
        if over_dims.half is None:
            return f"Not resolved with one seed: {them} minus {others} is {number}."
        if over_dims.zero:
            return f"Not resolved with {seeds}: {them} minus {others} is {number}."
        verdict = "Relations pay here" if over_dims.mean > 0 else "Relations do not pay here"
        return f"{verdict}: {them} minus {others} is {number}; 95 % intervals over {seeds}, one teacher."

    def _best(self, pool: Pool, dims: list[int]) -> str:
        """The method of a pool with the highest mean over some dimensions, with that mean."""
        scores: dict[str, list[float]] = defaultdict(list)
        for cell in self.compared.candidates:
            row = cell.row
            if (row.role, row.backbone, row.steps) == pool[:3] and row.method in pool.methods and cell.dim in dims:
                scores[row.method].append(summarise(list(cell.recall.values())).mean)
        score, name = max((summarise(values).mean, name) for name, values in scores.items())
        return f"{name} ({fixed(score, 2)})"


def _pool(backbone: str, steps: int, role: str, cells: list[Cell]) -> Pool:
    """Of those methods that have all the dimensions and seeds that most have."""
    by_method: dict[str, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        by_method[cell.row.method][cell.dim].append(cell)

    def grid(method: str) -> frozenset[tuple[int, int]]:
        return frozenset(
            (dim, seed) for dim, found in by_method[method].items() for cell in found for seed in cell.recall
        )

    grids = Counter(grid(method) for method in by_method)
    usual = max(grids, key=lambda one: (grids[one], len(one), sorted(one)))
    methods = tuple(sorted(method for method in by_method if grid(method) >= usual))
    recall: dict[int, dict[int, float]] = defaultdict(dict)
    for dim, seed in sorted(usual):
        values = [
            summarise([cell.recall[seed] for cell in by_method[method][dim] if seed in cell.recall]).mean
            for method in methods
        ]
        recall[dim][seed] = summarise(values).mean
    return Pool(role, backbone, steps, methods, dict(recall))


def _over_dims(pair: tuple[Pool, Pool], dims: list[int]) -> Summary | None:
    """Relational minus individual, in points: the mean over dimensions, over the seeds that all have."""
    sides = []
    for pool in pair:
        seeds = set.intersection(*(set(pool.recall[dim]) for dim in dims)) if dims else set()
        sides.append({seed: summarise([pool.recall[dim][seed] for dim in dims]).mean for seed in seeds})
    return paired(sides[1], sides[0])


def signed(summary: Summary, digits: int = 2) -> str:
    """With its sign, a true minus, and the half-width of its interval where there is one."""
    mean = fixed(summary.mean, digits).replace("-", "−")
    return (
        ("" if mean.startswith("−") else "+")
        + mean
        + ("" if summary.half is None else f" ± {fixed(summary.half, digits)}")
    )
