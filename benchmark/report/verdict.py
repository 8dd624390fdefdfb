"""The verdict: relational against individual methods, and methods with labels against those without, by every estimand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from .cells import FAMILIES, Cell
from .columns import Column, difference_column, laid_out
from .estimands import PAPERS, Array, Classes, gap_of_best, gap_of_kinds, gap_of_these
from .families import Families
from .render import Table, phrases
from .stats import FEW_SEEDS, LEVEL, Summary

METRICS = {"recall@1": "Recall@1", "map@r": "MAP@R"}
QUESTIONS = {
    "kinds": "relational − individual",
    "but one": "relational − individual, without {}",
    "no labels": "relational − individual, of methods without labels",
    "labels": "relational − individual, of methods with labels",
    "use of labels": "with labels − without",
}
ONE_UNIT = "one seed or teacher has no interval"
FEW_PAPERS = f"fewer than {PAPERS} papers, too few to generalise from"


class Gap(NamedTuple):
    """A difference between two groups of methods, by each estimand; the best of each by their names, first minus second."""

    these: Summary
    kinds: Summary
    best: Summary
    names: tuple[str, str]

    def sign(self, estimand: str) -> int:
        """1 or -1 where an estimand is resolved, else 0."""
        summary: Summary = getattr(self, estimand)
        return 0 if summary.zero is not False else 1 if summary.mean > 0 else -1


class Verdict:
    """The numbers of a folder's main pools by method, head, dimension and unit, and what follows from them.

    Attributes:
        methods: those of both families.
        groups: by question, which of these are held against which.
        whole, map_at_r: the families' difference, by Recall@1 and, where it was measured, by MAP@R.
        agreed: whether MAP@R resolves the kinds as Recall@1 does.
        few: whether there are too few units to be sure.
        swing: the method that moves the whole most; "" where no family has a second one.
        where: the heads and dimensions that the whole is a mean over.
    """

    def __init__(self, families: Families) -> None:
        self.families, compared = families, families.compared
        self.methods = [(role, name) for role in FAMILIES for name in families.methods(role)]
        relational = np.array([role == "relational" for role, _ in self.methods])
        labelled = np.array([name in compared.labelled for _, name in self.methods])
        groups = {
            "kinds": (relational, ~relational),
            "no labels": (relational & ~labelled, ~relational & ~labelled),
            "labels": (relational & labelled, ~relational & labelled),
            "use of labels": (labelled, ~labelled),
        }
        self.groups = {name: pair for name, pair in groups.items() if all(side.any() for side in pair)}
        if not labelled.any():
            self.groups.pop("no labels", None)  # it is all there is
        self.names = np.array([name for _, name in self.methods])
        self.papers = np.array([compared.papers.get(name, name) for name in self.names])
        self._cells = {
            (pool.role, cell.row.method, head, cell.dim): cell
            for head, pair in enumerate(families.main)
            for pool in pair
            for cell in pool.cells
        }
        records = [record for cell in self._cells.values() for record in cell.records]
        self.metrics = [name for name in METRICS if all(name in record.metrics for record in records)]
        counts = {getattr(getattr(record, "by_class", None), "queries", None) for record in records}
        self.has_classes = len(counts) == 1 and None not in counts
        self._weights = np.array(next(iter(counts)) if self.has_classes else (), dtype=float)
        self.swing = self._swing()
        if self.swing:
            others = self.names != self.swing
            self.groups = {
                "kinds": (relational, ~relational),
                "but one": (relational & others, ~relational & others),
                **self.groups,
            }
        # The answer, the tables and the overview ask for the same ones.
        self.gap = cache(self._gap)
        self.whole = self.gap()
        self.map_at_r = self.gap(metric="map@r") if "map@r" in self.metrics else None
        self.agreed = self.map_at_r is None or self.map_at_r.sign("kinds") == self.whole.sign("kinds")
        self.few = len(families.units) < FEW_SEEDS
        dims = families.dims
        place = f"mean over d = {dims[0]} to {dims[-1]}" if len(dims) > 1 else f"at d = {dims[0]}"
        self.where = f"{place}, {' and '.join(families.heads)}"

    @cached_property
    def values(self) -> Mapping[str, Array]:
        """By metric, in percent: [method, head, dimension, unit]."""

        def of(cell: Cell, metric: str) -> list[float]:
            values = cell.percents(metric)
            return [values[unit] for unit in self.families.units]

        return {metric: self._array(of, metric) for metric in self.metrics}

    @cached_property
    def by_class(self) -> Mapping[str, Array]:
        """By metric, in percent, the mean over units: [method, head, dimension, class]."""

        def of(cell: Cell, metric: str) -> Array:
            units: dict[int, list[Array]] = defaultdict(list)
            for record in cell.records:
                classes: Any = getattr(record, "by_class", None)
                shares = np.array(classes.precision) if metric == "map@r" else np.array(classes.hits) / self._weights
                units[cell.units.get(record.spec.seed, record.spec.seed)].append(100 * shares)
            return np.asarray(np.mean([np.mean(units[unit], axis=0) for unit in self.families.units], axis=0))

        return {metric: self._array(of, metric) for metric in self.metrics}

    def _array(self, of: Callable[[Cell, str], Any], metric: str) -> Array:
        heads, dims = range(len(self.families.main)), self.families.dims
        return np.array([
            [[of(self._cells[*method, head, dim], metric) for dim in dims] for head in heads] for method in self.methods
        ])  # fmt: skip

    def _swing(self) -> str:
        means, moved = self.values["recall@1"].mean((1, 2, 3)), dict[str, float]()
        for side in self.groups["kinds"]:
            rest = (means[side].sum() - means[side]) / max(side.sum() - 1, 1)
            moved |= (
                dict(zip(self.names[side], np.abs(rest - means[side].mean()), strict=True)) if side.sum() > 1 else {}
            )
        return str(max(moved, key=lambda name: moved[name], default=""))

    def label(self, question: str) -> str:
        """Name the difference."""
        return QUESTIONS[question].format(self.swing)

    def _gap(
        self,
        question: str = "kinds",
        metric: str = "recall@1",
        dim: int | None = None,
        head: int | None = None,
        level: float = LEVEL,
    ) -> Gap:
        """A question's difference as the mean over heads and dimensions, or at one of them."""
        heads = slice(None) if head is None else slice(head, head + 1)
        dims = slice(None) if dim is None else slice(own := self.families.dims.index(dim), own + 1)

        def sides(values: Array) -> tuple[Array, Array]:
            mean = values[:, heads, dims].mean((1, 2))
            first, second = (mean[group] for group in self.groups[question])
            return first, second

        first, second = sides(self.values[metric])
        papers, names = ([own[group] for group in self.groups[question]] for own in (self.papers, self.names))
        classes = None
        if self.has_classes:
            classes = Classes(*sides(self.by_class[metric]), self._weights / self._weights.sum())
        units = len(self.families.units)
        return Gap(
            _summary(units, gap_of_these(first, second, level)),
            _summary(sum(self.sizes(question)[1]), gap_of_kinds(first, second, (papers[0], papers[1]), classes, level)),
            _summary(units, gap_of_best(first, second, level)),
            (str(names[0][first.mean(-1).argmax()]), str(names[1][second.mean(-1).argmax()])),
        )

    def resolvable(self, estimand: str, *place: Any) -> Summary | None:
        """A gap by an estimand; None where too few papers, seeds or teachers tell of kinds."""
        summary: Summary = getattr(self.gap(*place), estimand)
        return None if summary.half is None and estimand == "kinds" else summary

    def depends(self, estimand: str) -> list[str]:
        """On which of dimension and head the sign depends: some parts are above 0 and some below, each resolved at a level that is
        corrected for their number."""
        dims, heads = self.families.dims, range(len(self.families.main))
        parts = {
            "d": [self.gap(dim=dim, level=1 - (1 - LEVEL) / len(dims)) for dim in dims],
            "the head": [self.gap(head=head, level=1 - (1 - LEVEL) / len(heads)) for head in heads],
        }
        return [name for name, gaps in parts.items() if len({gap.sign(estimand) for gap in gaps} - {0}) > 1]

    def sizes(self, question: str = "kinds") -> tuple[tuple[int, int], tuple[int, int]]:
        """How many methods of how many papers are held against each other."""
        (first, second), papers = self.groups[question], self.papers
        return (int(first.sum()), int(second.sum())), (len({*papers[first]}), len({*papers[second]}))


def _summary(n: int, interval: tuple[Array, Array]) -> Summary:
    mean, half = map(float, interval)
    return Summary(n, mean, None, None if np.isnan(half) else half)


def verdict_of(families: Families) -> Verdict | None:
    """The verdict; None where there is no pair of families that share a head, a dimension and a unit."""
    return Verdict(families) if families.units else None


def answer(families: Families, verdict: Verdict | None) -> tuple[str, ...]:
    """The paper's question, answered by the records: a sentence, and what it rests on."""
    return phrases("answer", families=families, verdict=verdict)


class Asked(NamedTuple):
    """A line of the verdict's table."""

    verdict: Verdict
    question: str
    estimand: str
    metric: str
    head: int | None = None

    def at(self, dim: int | None = None) -> Summary | None:
        return self.verdict.resolvable(self.estimand, self.question, self.metric, dim, self.head)

    @property
    def of(self) -> str:
        """Name the estimand, with the numbers that it rests on."""
        methods, papers = self.verdict.sizes(self.question)
        if self.estimand == "best":
            return "the best of each"
        if self.estimand == "these":
            return f"these {methods[0]} and {methods[1]} methods"
        return f"families (methods of {papers[0]} and {papers[1]} papers)"


def _asked(verdict: Verdict) -> Iterator[Asked]:
    for question in verdict.groups:
        for metric in verdict.metrics:
            for estimand in ("kinds", "these", "best")[: 3 if question == "kinds" else 2]:
                yield Asked(verdict, question, estimand, metric)
            if question == "kinds" and len(verdict.families.main) > 1:
                for head in range(len(verdict.families.main)):
                    for estimand in ("kinds", "these"):
                        yield Asked(verdict, question, estimand, metric, head)


def verdict_table(verdict: Verdict | None) -> Table | None:
    """Every question by every estimand, at each dimension; None where there is no answer."""
    if verdict is None:
        return None
    families = verdict.families
    several = len(families.main) > 1

    def head(asked: Asked) -> str:
        return "mean of both" if asked.head is None else families.heads[asked.head]

    why = ONE_UNIT if len(families.units) < 2 else FEW_PAPERS
    columns: list[Column[Asked]] = [
        Column("", "difference", of=lambda asked: asked.verdict.label(asked.question)),
        Column("", "of", of=lambda asked: asked.of),
        *[Column("", "head", of=head)] * several,
        Column("", "by", of=lambda asked: METRICS[asked.metric]),
        *[difference_column("mean over d", Asked.at, why)] * (len(families.dims) > 1),
        *(difference_column(f"d = {dim}", partial(Asked.at, dim=dim), why) for dim in families.dims),
    ]
    lines = ((asked, "families", None) for asked in _asked(verdict))
    return laid_out("verdict", columns, lines)
