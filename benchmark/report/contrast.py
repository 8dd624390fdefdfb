"""Paired differences between two methods, or between two folders of results of someone who changed one thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from operator import attrgetter
from statistics import fmean
from typing import NamedTuple

from ..errors import UsageError
from .cells import Cell, Row, batches, listed, settings, varied
from .columns import NO_TEST, Column, difference_column, laid_out
from .comparison import Comparison, in_order
from .render import Table
from .stats import Summary, corrected_p, paired

OTHER_SETTINGS = "other settings of the method than in the other folder"
Pair = tuple[Cell, Cell]


class Contrast(NamedTuple):
    """A pair of cells; differences are second minus first."""

    name: str
    first: Cell
    second: Cell

    def gap(self, metric: str) -> Summary | None:
        """The difference of a metric in points; None where a run did not measure it, or they share no seed."""
        pair = self.first, self.second
        if not all(metric in record.metrics for cell in pair for record in cell.records):
            return None
        return paired(self.second.percents(metric), self.first.percents(metric))


def _over_common(cell: Cell, other: Cell) -> float:
    """Recall@1 over the seeds that another has as well."""
    return fmean(recall for seed, recall in cell.recall.items() if seed in other.recall)


def contrast_methods(compared: Comparison, first: str, second: str) -> Table:
    """Second minus first, at every dimension and number of steps that both have, paired by seed.

    Raises:
        UsageError: a method was not run, or they share nothing.
    """
    sides = []
    for name in (first, second):
        exact = [cell for cell in compared.cells if cell.row.label == name]
        sides.append(exact or [cell for cell in compared.cells if cell.row.method == in_order(name)])
        if not sides[-1]:
            names = {name for cell in compared.cells for name in (cell.row.label, cell.row.method)}
            raise UsageError(f"no run of {name!r} there; these are: {', '.join(sorted(names))}")
    pairs: dict[Pair, str] = {}
    for left, right in product(*sides):
        # Of one method with itself, rows of several settings: each pair once.
        if (
            left is not right
            and (right, left) not in pairs
            and left.dim == right.dim
            and batches(left) == batches(right)
        ):
            pairs[left, right] = f"{compared.name(right.row)} − {compared.name(left.row)}"
    alone = "no run of the other on the same batches, trunk and dimension"
    return _table(pairs, first, second, {alone: _unpaired(pairs, sides)})


def contrast_folders(before: Comparison, after: Comparison, first: str, second: str) -> Table:
    """Second minus first, of all methods, networks, dimensions and steps that both folders have on the same images, paired by seed.

    Where a folder has several settings of a method, those are held against each other that are equal in what varies there.

    Raises:
        UsageError: they share nothing.
    """
    cells: dict[tuple[Row, int], tuple[list[Cell], list[Cell]]] = defaultdict(lambda: ([], []))
    for side, compared in enumerate((before, after)):
        for cell in compared.cells:
            cells[cell.row._replace(settings="", role=""), cell.dim][side].append(cell)
    pairs: dict[Pair, str] = {}
    left_out: dict[str, list[Cell]] = {
        f"only in {first}": [cell for sides in cells.values() if not sides[1] for cell in sides[0]],
        f"only in {second}": [cell for sides in cells.values() if not sides[0] for cell in sides[1]],
        OTHER_SETTINGS: [],
        "other images": [],
    }
    for sides in (sides for sides in cells.values() if all(sides)):
        known = {cell: settings(cell.records[0]) for side in sides for cell in side}
        apart = set().union(*(varied(known[cell] for cell in side) for side in sides))
        own = {cell: sorted(item for item in fields.items() if item[0] in apart) for cell, fields in known.items()}
        alike = [(left, right) for left in sides[0] for right in sides[1] if own[left] == own[right]]
        for left, right in alike:
            if left.records[0].data == right.records[0].data:
                pairs[left, right] = right.row.label
            else:
                left_out["other images"].append(left)
        left_out[OTHER_SETTINGS] += _unpaired(alike, sides)
    return _table(pairs, first, second, left_out)


def _table(pairs: Mapping[Pair, str], first: str, second: str, left_out: Mapping[str, Sequence[Cell]]) -> Table:
    """A line a pair; in its notes all that is in no line, and why.

    Args:
        pairs: with their names.
        left_out: by the reason, cells that make no pair.
    """
    contrasts = [Contrast(name, *pair) for pair, name in pairs.items()]
    gaps = {contrast: gap for contrast in contrasts if (gap := contrast.gap("recall@1")) is not None}
    if not gaps:
        raise UsageError(f"{first} and {second} have no images, network, dimension, number of steps and seed in common")
    columns: list[Column[Contrast]] = [
        Column("", "method", of=attrgetter("name")),
        Column("", "network", of=attrgetter("second.network")),
        Column("", "steps", "", of=attrgetter("second.row.steps")),
        Column("", "seeds", "", of=lambda contrast: gaps[contrast].n),
        Column("", f"R@1, {first}", "%", 2, of=lambda contrast: _over_common(contrast.first, contrast.second)),
        Column("", f"R@1, {second}", "%", 2, of=lambda contrast: _over_common(contrast.second, contrast.first)),
        difference_column("difference, ± 95 %", gaps.get),
        Column("", "p (Holm)", "", "p", of=corrected_p(gaps).get, note=NO_TEST),
        difference_column("MAP@R difference", lambda contrast: contrast.gap("map@r"), "not measured"),
    ]
    reasons = {**left_out, "no seed in common": [contrast.first for contrast in contrasts if contrast not in gaps]}
    notes = (
        *_environments(first, second, [contrast[1:] for contrast in gaps]),
        *(f"Not compared, {reason}: {_named(cells)}." for reason, cells in reasons.items() if cells),
    )
    lines = ((contrast, contrast.second.row.role, contrast.second.dim) for contrast in gaps)
    return laid_out("contrast", columns, lines, notes=notes, first=first, second=second)


def _unpaired(pairs: Iterable[Pair], sides: Iterable[Sequence[Cell]]) -> list[Cell]:
    met = {cell for pair in pairs for cell in pair}
    return [cell for side in sides for cell in side if cell not in met]


def _named(cells: Iterable[Cell]) -> str:
    """Name cells in few words: by network and steps, the methods of equal dimensions together."""
    dims: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for cell in cells:
        dims[cell.row.network, cell.row.steps, cell.row.label].add(cell.dim)
    methods: dict[str, list[str]] = defaultdict(list)
    for (network, steps, label), present in sorted(dims.items()):
        methods[f"{network}, {steps} steps, d = {listed(present)}"].append(label)
    return "; ".join(f"{', '.join(labels)} ({where})" for where, labels in methods.items())


def _environments(first: str, second: str, pairs: Iterable[Pair]) -> list[str]:
    """In a line, what of threads, processor and libraries is not the same in the records of both; what one lacks says nothing."""
    values: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for pair in pairs:
        for side, cell in enumerate(pair):
            for record in cell.records:
                for name in record.environment.keys() - {"code", "method"}:
                    values[name][side].add(record.environment[name])
    known = ((name, before, now) for name, (before, now) in sorted(values.items()) if before and now)
    changed = [f"{name} {listed(before)} and {listed(now)}" for name, before, now in known if before != now]
    return [f"{first} and {second} ran under other conditions: {'; '.join(changed)}."] * bool(changed)
