"""A table for one's own paper: chosen methods, metrics and dimensions of a folder, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.cards import read_toml
from ..errors import UsageError, unknown
from .cells import OF_ANY_DIM, Cell, Row, fixed
from .columns import Column, metric_column
from .comparison import Comparison, in_order
from .render import Value, dash, templates


class Printed(NamedTuple):
    """A line: its name as LaTeX, where that is given, or else as text; settings that tell it from others of that name; its numbers."""

    role: str
    latex: str
    name: str
    settings: str
    head: str
    entries: list[list[Value]]  # by metric and dimension


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
    methods, names = list(map(in_order, methods)), {in_order(name): latex for name, latex in names.items()}
    ran = {name for row in rows for name in (row.method, row.label)}
    measured = {_short(name): name for record in compared.records for name in record.metrics}
    for what, words, known in (
        ("method (of those that were run)", [*methods, *names], ran),
        ("column (of what was measured)", columns, measured),
        ("dimension (of those that were run)", map(str, dims), map(str, compared.dims)),
    ):
        choice = set(known)
        for word in words:
            if word not in choice:
                raise unknown(what, word, choice)
    dims = dims or compared.dims
    metrics = [metric_column(measured[word], compared) for word in columns]
    own = [row for row in rows if row.role != "trunk"]
    wanted = methods or list(dict.fromkeys(row.method for row in own))
    # The row of that name, settings and all; or all of that method.
    chosen = [row for name in wanted for row in _where(own, "label", name) or _where(own, "method", name)]
    shown = [row for row in chosen if row.role not in OF_ANY_DIM]
    hidden = sorted({row.hidden for row in shown if row.hidden})
    several = len({row.hidden for row in shown}) > 1
    lines = [
        Printed(
            row.role,
            names.get(row.label) or names.get(row.method, ""),
            row.label,
            f" ({row.settings})" * (row.label not in names and row.method in names and bool(row.settings)),
            "linear" if not row.hidden else "hidden" if len(hidden) == 1 else f"{row.hidden}",
            [[column.entry(at) if (at := rows[row].get(dim)) else dash() for dim in dims] for column in metrics],
        )
        for row in shown
    ]
    return templates().get_template("excerpt.tex.jinja").render(
        title=title, label=re.sub(r"\W+(protocol )?", "-", title.lower()), lines=lines, several=several, hidden=hidden, unit=compared.unit,
        metrics=[column.label for column in metrics], dims=dims,
        best=any(value.best for line in lines for entries in line.entries for value in entries),
        references=[_reference(cell, metrics) for row in chosen if row not in shown for cell in rows[row].values()],
        seeds=sorted({cell.seeds for row in shown for cell in rows[row].values()}),
    )  # fmt: skip


def _where(rows: Sequence[Row], field: str, name: str) -> list[Row]:
    return [row for row in rows if getattr(row, field) == name]


def _short(metric: str) -> str:
    """A metric as it is asked for: r1, mapr, rp."""
    return {"map@r": "mapr", "r_precision": "rp"}.get(metric) or metric.replace("recall@", "r")


def _reference(cell: Cell, metrics: Sequence[Column[Cell]]) -> str:
    """Say in words what has a dimension of its own, with its numbers."""
    known = [(column.label, summary) for column in metrics if (summary := column.of(cell))]
    numbers = ", ".join(f"{label} {fixed(summary.mean, 2)}" for label, summary in known)
    return f"{'Teacher' if cell.row.role == 'teacher' else 'Frozen features'}, {cell.row.backbone}, {cell.dim} dimensions: {numbers}"


def read_names(path: Path) -> dict[str, str]:
    """LaTeX by name of a method, in a TOML file of texts. Raises a UsageError where it is none."""
    content = read_toml(path, "names")
    if wrong := [key for key, value in content.items() if not isinstance(value, str)]:
        raise UsageError(f'{path}: {wrong[0]} wants a text of LaTeX: rkd-da = "RKD-DA~\\\\cite{{park2019}}"')
    return content
