"""A table for one's own paper: chosen methods, metrics and dimensions of a folder, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..data.cards import read_toml
from ..errors import UsageError, unknown
from .cells import OF_ANY_DIM, Cell, Row, fixed, percent
from .comparison import Comparison, in_order
from .families import head_name
from .render import DASH, templates

SHORT = {"mapr": "map@r", "rp": "r_precision"}
HEADINGS = {"map@r": "MAP@R", "r_precision": "R-Precision"}


class Number(NamedTuple):
    """A number with its standard deviation over seeds, None of one seed."""

    mean: str
    spread: str | None = None
    best: bool = False


class Printed(NamedTuple):
    """A line: its name as LaTeX, where that is given, or else as text; what tells it from others of that name; its numbers."""

    role: str
    latex: str
    name: str
    head: str
    entries: list[list[Number | None]]


def excerpt(
    compared: Comparison,
    title: str,
    methods: Sequence[str] = (),
    columns: Sequence[str] = ("r1", "mapr"),
    dims: Sequence[int] = (),
    names: Mapping[str, str] = {},
) -> str:
    r"""A `table` in booktabs rules: a line a method and head, in the order asked for, a column a metric and dimension.

    Args:
        title: of data and protocol, for the caption.
        methods: names of methods, or of rows with the settings that tell them apart; without them all, in the order of the comparison.
        columns: rK (Recall@K), mapr (MAP@R) and rp (R-Precision).
        dims: of the embeddings; without them all.
        names: LaTeX by name of a method or row, in the place of the name.

    Raises:
        UsageError: no run here is of a method, metric or dimension that is asked for.
    """
    rows: dict[Row, dict[int, Cell]] = {}
    for cell in compared.cells:
        rows.setdefault(cell.row, {})[cell.dim] = cell
    known = list(dict.fromkeys(name for row in rows for name in (row.method, row.label)))
    methods, names = list(map(in_order, methods)), {in_order(name): latex for name, latex in names.items()}
    for name in (*methods, *names):
        if name not in known:
            raise unknown("method (of those that were run)", name, known)
    for dim in dims:
        if dim not in compared.dims:
            raise UsageError(
                f"--dims {dim}: no run here has that dimension; there are {', '.join(map(str, compared.dims))}"
            )
    measured = dict.fromkeys(name for record in compared.records for name in record.metrics)
    metrics = [_metric(word, measured) for word in columns]
    own = [row for row in rows if row.role != "trunk"]
    wanted = methods or list(dict.fromkeys(row.method for row in own))
    chosen = [row for name in wanted for row in _named(own, name)]
    shown = [row for row in chosen if row.role not in OF_ANY_DIM]
    several = len({row.hidden for row in shown}) > 1
    lines = [
        Printed(
            row.role,
            names.get(row.label) or names.get(row.method, ""),
            row.label,
            f" ({row.settings})" * (row.label not in names and row.method in names and bool(row.settings))
            + f", {head_name(row.hidden or 0)}" * several,
            [[_entry(rows[row].get(dim), metric, compared) for dim in dims or compared.dims] for metric in metrics],
        )
        for row in shown
    ]
    numbers = (number for line in lines for entries in line.entries for number in entries)
    return templates().get_template("excerpt.tex.jinja").render(
        title=title, label=re.sub(r"\W+(protocol )?", "-", title.lower()), lines=lines, several=several, dash=DASH, unit=compared.unit,
        metrics=[_heading(metric) for metric in metrics], dims=dims or compared.dims,
        best=any(number and number.best for number in numbers),
        references=[text for row in chosen if row not in shown for text in _references(rows[row], metrics, names)],
        seeds=sorted({cell.seeds for row in shown for cell in rows[row].values()}),
    )  # fmt: skip


def _named(rows: Sequence[Row], name: str) -> list[Row]:
    """The row of that name, settings and all; or all of that method."""
    return [row for row in rows if row.label == name] or [row for row in rows if row.method == name]


def _metric(word: str, measured: Mapping[str, Any]) -> str:
    name = SHORT.get(word) or re.sub(r"^r(?=\d)", "recall@", word)
    if name not in measured:
        short = {full: word for word, full in SHORT.items()}
        there = [short.get(other) or other.replace("recall@", "r") for other in measured]
        raise unknown("column (of what was measured)", word, there)
    return name


def _heading(metric: str) -> str:
    return HEADINGS.get(metric) or metric.replace("recall", "R")


def _entry(cell: Cell | None, metric: str, compared: Comparison) -> Number | None:
    summary = None if cell is None else cell.over_units(lambda record: percent(record.metrics.get(metric)))
    if cell is None or summary is None:
        return None
    spread = None if summary.sd is None else fixed(summary.sd, 2)
    return Number(fixed(summary.mean, 2), spread, cell in compared.leading(metric))


def _references(
    cells: Mapping[int, Cell], metrics: Sequence[str], names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Say in words what has a dimension of its own: its name, in LaTeX where that is given, and its numbers."""
    for dim, cell in cells.items():
        numbers = []
        for metric in metrics:
            summary = cell.over_units(lambda record, metric=metric: percent(record.metrics.get(metric)))  # type: ignore[misc]
            numbers += [] if summary is None else [f"{_heading(metric)} {fixed(summary.mean, 2)}"]
        role = "teacher" if cell.row.role == "teacher" else "frozen features"
        yield names.get(cell.row.method, ""), f"{role}, {cell.row.backbone}, {dim} dimensions: {', '.join(numbers)}"


def read_names(path: Path) -> dict[str, str]:
    """LaTeX by name of a method, in a TOML file of texts. Raises a UsageError where it is none."""
    content = read_toml(path, "names")
    if wrong := [key for key, value in content.items() if not isinstance(value, str)]:
        raise UsageError(f'{path}: {wrong[0]} wants a text of LaTeX: rkd-da = "RKD-DA~\\\\cite{{park2019}}"')
    return content
