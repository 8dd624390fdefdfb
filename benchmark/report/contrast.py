"""Paired differences between two methods, or between two folders of results of someone who changed one thing."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError
from .cells import Cell, Row, batches
from .comparison import Comparison
from .render import Column, Line, Table, Value, dash, difference, mean, text
from .stats import Summary, holm, p_value, paired, summarise
from .tables import p_text

Pair = tuple[str, Cell, Cell]
METRICS = ("recall@1", "map@r")


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
        (f"{compared.name(other.row)} − {compared.name(one.row)}", one, other)
        for one in of(first)
        for other in of(second)
        if one.dim == other.dim and batches(one) == batches(other) and one is not other
    ]
    return _table(pairs, first, second)


def contrast_folders(ours: Comparison, theirs: Comparison, first: str, second: str) -> Table:
    """Second minus first, of all methods, networks, dimensions and steps that both folders have on the same images, paired by seed.

    Raises:
        UsageError: they share nothing.
    """

    def key(cell: Cell) -> tuple[Row, int]:
        return cell.row._replace(settings="", role=""), cell.dim

    def unique(compared: Comparison) -> dict[tuple[Row, int], list[Cell]]:
        found: dict[tuple[Row, int], list[Cell]] = {}
        for cell in compared.cells:
            found.setdefault(key(cell), []).append(cell)
        return found

    left, right = unique(ours), unique(theirs)
    pairs = [
        (other.row.label, one, other)
        for name in left
        if name in right
        for one in left[name]
        for other in right[name]
        if (len(left[name]) == len(right[name]) == 1 or one.row.settings == other.row.settings)
        and one.records[0].data == other.records[0].data
    ]
    return _table(pairs, first, second)


def _table(pairs: Sequence[Pair], first: str, second: str) -> Table:
    found = [(name, one, other, _differences(one, other)) for name, one, other in pairs]
    found = [entry for entry in found if entry[3]["recall@1"] is not None]
    if not found:
        raise UsageError(f"{first} and {second} have no images, network, dimension, number of steps and seed in common")
    values = [p_value(entry[3]["recall@1"]) for entry in found if entry[3]["recall@1"] is not None]
    corrected = iter(holm([value for value in values if value is not None]))
    lines = []
    for (name, one, other, by_metric), p in zip(found, values, strict=True):
        off = by_metric["recall@1"]
        assert off is not None
        lines.append(
            Line(
                (
                    text(name),
                    text(f"{other.row.network}-{other.dim}"),
                    Value(str(other.row.steps)),
                    Value(str(off.n)),
                    mean(_over(one, other)),
                    mean(_over(other, one)),
                    difference(off),
                    p_text(None if p is None else next(corrected)),
                    difference(by_metric["map@r"]) if by_metric["map@r"] is not None else dash(),
                ),
                role=other.row.role,
                dim=other.dim,
                row=other.row,
            )
        )
    names = (
        "method",
        "network",
        "steps",
        "seeds",
        f"R@1, {first}",
        f"R@1, {second}",
        "difference, ± 95 %",
        "p (Holm)",
        "MAP@R difference",
    )
    return Table(
        "contrast",
        f"{second} minus {first}",
        "Percent and points, over the seeds that both have; differences are paired by seed.",
        tuple(Column(name, number > 1) for number, name in enumerate(names)),
        tuple(lines),
    )


def _over(cell: Cell, other: Cell) -> Summary:
    """Recall@1 over the seeds that both have."""
    return summarise([recall for seed, recall in cell.recall.items() if seed in other.recall])


def _differences(one: Cell, other: Cell) -> dict[str, Summary | None]:
    def by_seed(cell: Cell, metric: str) -> dict[int, float]:
        return cell.by_seed(lambda record: 100 * record.metrics[metric])

    return {metric: paired(by_seed(other, metric), by_seed(one, metric)) for metric in METRICS}
