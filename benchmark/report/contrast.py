"""Paired differences between two methods, or between two folders of results of someone who changed one thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import UsageError
from .cells import Cell, Row, batches, listed, settings, varied
from .columns import NO_TEST, Column, difference_column, laid_out
from .comparison import Comparison, in_order
from .render import Table
from .stats import Summary, holm, p_value, paired, summarise

OTHER_SETTINGS = "other settings of the method than in the other folder"
Pair = tuple[Cell, Cell]


class Contrast(NamedTuple):
    """Differences of a pair of cells, second minus first."""

    name: str
    pair: Pair
    recall: Summary
    map_at_r: Summary | None
    p: float | None = None

    def over_common(self, side: int) -> Summary:
        """Recall@1 of one side, over the seeds that both have."""
        own, other = self.pair[side].recall, self.pair[1 - side].recall
        return summarise(recall for seed, recall in own.items() if seed in other)


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
    pairs = {
        (left, right): f"{compared.name(right.row)} − {compared.name(left.row)}"
        for left in sides[0]
        for right in sides[1]
        if left.dim == right.dim and batches(left) == batches(right) and left is not right
    }
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


def of_contrasts(first: str, second: str) -> list[Column[Contrast]]:
    return [
        Column("", "method", of=lambda contrast: contrast.name),
        Column("", "network", of=lambda contrast: contrast.pair[1].network),
        Column("", "steps", "", of=lambda contrast: contrast.pair[1].row.steps),
        Column("", "seeds", "", of=lambda contrast: contrast.recall.n),
        Column("", f"R@1, {first}", "%", 2, of=lambda contrast: contrast.over_common(0)),
        Column("", f"R@1, {second}", "%", 2, of=lambda contrast: contrast.over_common(1)),
        difference_column("difference, ± 95 %", lambda contrast: contrast.recall),
        Column("", "p (Holm)", "", "p", of=lambda contrast: contrast.p, note=NO_TEST),
        difference_column("MAP@R difference", lambda contrast: contrast.map_at_r, "not measured"),
    ]


def _table(pairs: Mapping[Pair, str], first: str, second: str, left_out: Mapping[str, Sequence[Cell]]) -> Table:
    """A line a pair; in its notes all that is in no line, and why.

    Args:
        pairs: with their names.
        left_out: by the reason, cells that make no pair.
    """
    contrasts = []
    for pair, name in pairs.items():
        recall, map_at_r = (_difference(pair, metric) for metric in ("recall@1", "map@r"))
        if recall is not None:
            contrasts.append(Contrast(name, pair, recall, map_at_r, p_value(recall)))
    if not contrasts:
        raise UsageError(f"{first} and {second} have no images, network, dimension, number of steps and seed in common")
    corrected = iter(holm([contrast.p for contrast in contrasts if contrast.p is not None]))
    contrasts = [entry if entry.p is None else entry._replace(p=next(corrected)) for entry in contrasts]
    no_seed = [left for left, right in pairs if not left.recall.keys() & right.recall.keys()]
    reasons = {**left_out, "no seed in common": no_seed}
    notes = (
        *_environments(first, second, [entry.pair for entry in contrasts]),
        *(f"Not compared, {reason}: {_named(cells)}." for reason, cells in reasons.items() if cells),
    )
    lines = ((entry, entry.pair[1].row.role, entry.pair[1].dim) for entry in contrasts)
    return laid_out("contrast", of_contrasts(first, second), lines, notes=notes, first=first, second=second)


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


def _difference(pair: Pair, metric: str) -> Summary | None:
    """Second minus first of a metric, in points; None where a run did not measure it, or they share no seed."""
    if not all(metric in record.metrics for cell in pair for record in cell.records):
        return None
    before, now = (cell.by_unit(lambda record: 100 * record.metrics[metric]) for cell in pair)
    return paired(now, before)
