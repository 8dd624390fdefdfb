"""Paired differences between two methods, or between two folders of results of someone who changed one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UsageError
from .cells import Cell, Row, batches
from .columns import NO_TEST, Column, difference, headings, line, mean
from .comparison import Comparison
from .render import Table
from .stats import Summary, holm, p_value, paired, summarise

Pair = tuple[str, Cell, Cell]


def contrast_methods(compared: Comparison, first: str, second: str) -> Table:
    """Second minus first, at every dimension and number of steps that both have, paired by seed.

    Raises:
        UsageError: a method was not run, or they share nothing.
    """
    named = {cell.row.label for cell in compared.cells} | {cell.row.method for cell in compared.cells}
    for name in (first, second):
        if name not in named:
            raise UsageError(f"no run of {name!r} there; these are: {', '.join(sorted(named))}")

    def of(name: str) -> list[Cell]:
        exact = [cell for cell in compared.cells if cell.row.label == name]
        return exact or [cell for cell in compared.cells if cell.row.method == name]

    pairs = [
        (f"{compared.name(right.row)} − {compared.name(left.row)}", left, right)
        for left in of(first)
        for right in of(second)
        if left.dim == right.dim and batches(left) == batches(right) and left is not right
    ]
    return _table(pairs, first, second)


def contrast_folders(before: Comparison, after: Comparison, first: str, second: str) -> Table:
    """Second minus first, of all methods, networks, dimensions and steps that both folders have on the same images, paired by seed.

    Raises:
        UsageError: they share nothing.
    """

    def by_key(compared: Comparison) -> dict[tuple[Row, int], list[Cell]]:
        cells: dict[tuple[Row, int], list[Cell]] = {}
        for cell in compared.cells:
            cells.setdefault((cell.row._replace(settings="", role=""), cell.dim), []).append(cell)
        return cells

    lefts, rights = by_key(before), by_key(after)
    pairs = [
        (right.row.label, left, right)
        for key in lefts
        if key in rights
        for left in lefts[key]
        for right in rights[key]
        if (len(lefts[key]) == len(rights[key]) == 1 or left.row.settings == right.row.settings)
        and left.records[0].data == right.records[0].data
    ]
    return _table(pairs, first, second)


class Contrast(NamedTuple):
    """Differences of a pair of cells, second minus first."""

    name: str
    first: Cell
    second: Cell
    recall: Summary
    map_at_r: Summary | None
    p: float | None = None


def of_contrasts(first: str, second: str) -> list[Column[Contrast]]:
    return [
        Column("", "method", of=lambda contrast: contrast.name),
        Column("", "network", of=lambda contrast: f"{contrast.second.row.network}-{contrast.second.dim}"),
        Column("", "steps", "", of=lambda contrast: contrast.second.row.steps),
        Column("", "seeds", "", of=lambda contrast: contrast.recall.n),
        mean(f"R@1, {first}", lambda contrast: _over(contrast.first, contrast.second)),
        mean(f"R@1, {second}", lambda contrast: _over(contrast.second, contrast.first)),
        difference("difference, ± 95 %", lambda contrast: contrast.recall),
        Column("", "p (Holm)", "", "p", of=lambda contrast: contrast.p, note=NO_TEST),
        difference("MAP@R difference", lambda contrast: contrast.map_at_r),
    ]


def _table(pairs: Sequence[Pair], first: str, second: str) -> Table:
    contrasts = []
    for name, left, right in pairs:
        recall, map_at_r = (_difference(left, right, metric) for metric in ("recall@1", "map@r"))
        if recall is not None:
            contrasts.append(Contrast(name, left, right, recall, map_at_r, p_value(recall)))
    if not contrasts:
        raise UsageError(f"{first} and {second} have no images, network, dimension, number of steps and seed in common")
    corrected = iter(holm([contrast.p for contrast in contrasts if contrast.p is not None]))
    contrasts = [entry if entry.p is None else entry._replace(p=next(corrected)) for entry in contrasts]
    columns = of_contrasts(first, second)
    return Table(
        "contrast",
        f"{second} minus {first}",
        "Percent and points, over the seeds that both have; differences are paired by seed.",
        headings(columns),
        tuple(line(columns, c, c.second.row.role, c.second.dim, c.second.row) for c in contrasts),
    )


def _over(cell: Cell, other: Cell) -> Summary:
    """Recall@1 over the seeds that both have."""
    return summarise([recall for seed, recall in cell.recall.items() if seed in other.recall])


def _difference(first: Cell, second: Cell, metric: str) -> Summary | None:
    def by_seed(cell: Cell) -> dict[int, float]:
        return cell.by_seed(lambda record: 100 * record.metrics[metric])

    return paired(by_seed(second), by_seed(first))
