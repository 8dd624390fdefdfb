"""Paired differences between two methods, or between two folders of results of someone who changed one thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import UsageError
from ..store import Record
from .cells import Cell, Row, batches, settings, varied
from .columns import NO_TEST, Column, difference, headings, line, mean
from .comparison import Comparison
from .document import several
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

    lefts, rights = of(first), of(second)
    pairs = [
        (f"{compared.name(right.row)} − {compared.name(left.row)}", left, right)
        for left in lefts
        for right in rights
        if left.dim == right.dim and batches(left) == batches(right) and left is not right
    ]
    alone = "no run of the other on the same batches, trunk and dimension"
    return _table(pairs, first, second, {alone: _unpaired(pairs, lefts + rights)})


def contrast_folders(before: Comparison, after: Comparison, first: str, second: str) -> Table:
    """Second minus first, of all methods, networks, dimensions and steps that both folders have on the same images, paired by seed.

    Where a folder has several settings of a method, those are held against each other that are equal in what varies there.

    Raises:
        UsageError: they share nothing.
    """

    def by_key(compared: Comparison) -> dict[tuple[Row, int], list[Cell]]:
        cells: dict[tuple[Row, int], list[Cell]] = defaultdict(list)
        for cell in compared.cells:
            cells[cell.row._replace(settings="", role=""), cell.dim].append(cell)
        return cells

    lefts, rights = by_key(before), by_key(after)
    pairs: list[Pair] = []
    left_out: dict[str, list[Cell]] = {
        f"only in {first}": [cell for key in lefts.keys() - rights.keys() for cell in lefts[key]],
        f"only in {second}": [cell for key in rights.keys() - lefts.keys() for cell in rights[key]],
        "other settings of the method than in the other folder": [],
        "other images": [],
    }
    for key in (key for key in lefts if key in rights):
        sides = lefts[key], rights[key]
        apart = set[str]().union(*(varied([settings(cell.records[0]) for cell in side]) for side in sides))

        def setting(cell: Cell, apart: set[str] = apart) -> list[tuple[str, str]]:
            return sorted(item for item in settings(cell.records[0]).items() if item[0] in apart)

        alike = [(b.row.label, a, b) for a in sides[0] for b in sides[1] if setting(a) == setting(b)]
        pairs += [pair for pair in alike if pair[1].records[0].data == pair[2].records[0].data]
        left_out["other settings of the method than in the other folder"] += _unpaired(alike, sides[0] + sides[1])
        left_out["other images"] += [a for _, a, b in alike if a.records[0].data != b.records[0].data]
    return _table(pairs, first, second, left_out)


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
        Column("", "network", of=lambda contrast: contrast.second.network),
        Column("", "steps", "", of=lambda contrast: contrast.second.row.steps),
        Column("", "seeds", "", of=lambda contrast: contrast.recall.n),
        mean(f"R@1, {first}", lambda contrast: _over(contrast.first, contrast.second)),
        mean(f"R@1, {second}", lambda contrast: _over(contrast.second, contrast.first)),
        difference("difference, ± 95 %", lambda contrast: contrast.recall),
        Column("", "p (Holm)", "", "p", of=lambda contrast: contrast.p, note=NO_TEST),
        difference("MAP@R difference", lambda contrast: contrast.map_at_r, "not measured"),
    ]


def _table(pairs: Sequence[Pair], first: str, second: str, left_out: Mapping[str, Sequence[Cell]]) -> Table:
    """A line a pair; in its notes all that is in no line, and why.

    Args:
        left_out: by the reason, cells that make no pair.
    """
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
    no_seed = [left for _, left, right in pairs if not left.recall.keys() & right.recall.keys()]
    reasons = {**left_out, "no seed in common": no_seed}
    sides = ([record for c in contrasts for record in getattr(c, side).records] for side in ("first", "second"))
    return Table(
        "contrast",
        f"{second} minus {first}",
        "Percent and points, over the seeds that both have; differences are paired by seed.",
        headings(columns),
        tuple(line(columns, c, c.second.row.role, c.second.dim, c.second.row) for c in contrasts),
        (
            *_environments(first, second, *sides),
            *(f"Not compared, {reason}: {_named(cells)}." for reason, cells in reasons.items() if cells),
        ),
    )


def _unpaired(pairs: Sequence[Pair], cells: Iterable[Cell]) -> list[Cell]:
    met = {cell for _, *pair in pairs for cell in pair}
    return [cell for cell in cells if cell not in met]


def _named(cells: Iterable[Cell]) -> str:
    """Name cells in few words: by network and steps, the methods of equal dimensions together."""
    dims: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for cell in cells:
        dims[cell.row.network, cell.row.steps, cell.row.label].add(cell.dim)
    methods: dict[str, list[str]] = defaultdict(list)
    for (network, steps, label), present in sorted(dims.items()):
        methods[f"{network}, {steps} steps, d = {several(present)}"].append(label)
    return "; ".join(f"{', '.join(labels)} ({where})" for where, labels in methods.items())


def _environments(first: str, second: str, *sides: Iterable[Record]) -> list[str]:
    """In a line, what of threads, processor and libraries is not the same in the records of both; what one lacks says nothing."""
    values: list[dict[str, set[str]]] = [defaultdict(set), defaultdict(set)]
    for known, records in zip(values, sides, strict=True):
        for record in records:
            for name, value in record.environment.items():
                known[name].add(value)
    before, now = values
    names = sorted((before.keys() & now.keys()) - {"code", "method"})
    changed = [
        f"{name} {several(before[name])} and {several(now[name])}" for name in names if before[name] != now[name]
    ]
    return [f"{first} and {second} ran under other conditions: {'; '.join(changed)}."] * bool(changed)


def _over(cell: Cell, other: Cell) -> Summary:
    """Recall@1 over the seeds that both have."""
    return summarise([recall for seed, recall in cell.recall.items() if seed in other.recall])


def _difference(first: Cell, second: Cell, metric: str) -> Summary | None:
    if not all(metric in record.metrics for cell in (first, second) for record in cell.records):
        return None

    def by_seed(cell: Cell) -> dict[int, float]:
        return cell.by_seed(lambda record: 100 * record.metrics[metric])

    return paired(by_seed(second), by_seed(first))
