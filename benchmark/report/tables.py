"""Columns and what they are about, laid out: the CSV files, and the tables of a comparison for readers."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from ..record import Record
from . import columns
from .cells import AGREEMENT, OF_ANY_DIM, ROLES, Cell, Row, fixed, settings, varied
from .columns import TEXT, Column, Tried, difference_column, headings, laid_out, recall_column
from .comparison import Comparison
from .families import Families, head_name
from .render import Heading, Line, Table, Value, captioned, dash, text
from .stats import Summary, paired

NO_STUDENTS = (
    "There are no students: no run here has a teacher, and what stands as baseline may be one whose students failed."
)


def _csv(declared: Sequence[Column[Any]], subjects: Iterable[Any]) -> str:
    """A line of each subject."""
    written = [column for column in declared if column.key]
    units = ["" if column.unit in (TEXT, "") else f" [{column.unit}]" for column in written]
    # So that a reader that only splits lines at commas finds the columns; of a stranger's record, any may be in a parameter's name.
    names = [re.sub(r'[",\s]+', " ", column.key + unit) for column, unit in zip(written, units, strict=True)]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([names, *([column.exact(subject) for column in written] for subject in subjects)])
    return content.getvalue()


def runs_csv(compared: Comparison) -> str:
    """A line a run, in the order of the tables."""
    return _csv(columns.of_runs(compared), _in_order(compared))


def _in_order(compared: Comparison) -> list[Record]:
    rows = {record.id: cell.row._replace(settings="").order for cell in compared.cells for record in cell.records}
    return sorted(compared.records, key=lambda run: (*rows[run.id], run.spec.dim, run.spec.seed, run.id))


def comparison_csv(compared: Comparison) -> str:
    """A line a method and dimension; then the families as one."""
    members = [member for pool in Families(compared).pools for member in pool.members]
    return _csv(columns.of_cells(compared), [*compared.cells, *members])


def tuning_csv(records: Iterable[Record]) -> str:
    """A line a validation run and evaluated step."""

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        return spec.method, spec.backbone, spec.dim, not spec.normalize, spec.lr, spec.seed, record.id

    runs = sorted(records, key=order)
    by_method = (map(settings, group) for _, group in groupby(runs, key=lambda record: record.spec.method))
    names = set().union(*map(varied, by_method)) - {"method", "backbone", "dim", "normalize", "lr"}
    # Of a method that trains teachers as well: these have no trunk, which is nothing that was tried.
    names = {name for name in names if name.partition(".")[0] != "trunk"}
    tried = []
    for record in runs:
        points = {point.step: point.evaluation for point in record.curve} | {record.spec.steps: record.evaluation}
        own = settings(record)
        for step, scored in sorted(points.items()):
            tried.append(Tried(record, own, step, scored.cosine if record.spec.normalize else scored.l2))
    return _csv(columns.of_tuning(sorted(names)), tried)


def recall_table(compared: Comparison, families: Families) -> Table:
    """A line a method, a column a dimension: Recall@1 as mean ± sd; then each family as one."""
    names = [column for column in columns.of_names(compared, "row.network") if column.label]
    recall = recall_column("", compared)
    rows: dict[Row, list[Cell]] = {}
    for cell in sorted(compared.cells, key=lambda cell: cell.row.order):
        rows.setdefault(cell.row, []).append(cell)
    rows |= {pool.members[0].row: list(pool.members) for pool in families.pools}
    lines = []
    for row, cells in rows.items():
        own = [cell for cell in cells if cell.fixed_dim]
        by_dim = {cell.dim: recall.entry(cell) for cell in cells if cell not in own}
        absent = "not run at d = {}" if by_dim else f"it has a dimension of its own, {cells[0].dim}"
        values = [by_dim.get(dim) or dash(absent.format(dim)) for dim in compared.dims]
        records = tuple(record for cell in cells for record in cell.records)
        role = row.role if records else "families"
        lines.append(Line((*(name.entry(cells[0]) for name in names), *values, _own(own, recall)), role, None, records))
    maps = dash("needs feature maps, which features of frozen trunks are not")
    dashes = [maps] * (len(names) - 1 + len(compared.dims))
    lines += [Line((text(ROLES[role]), text(method), *dashes), role=role) for role, method in compared.left_out]
    # After the rest of their group.
    lines.sort(key=lambda line: [*ROLES, "families"].index(line.role))
    heads = [*headings(names), *(Heading(f"d = {dim}") for dim in compared.dims), Heading("at its own d")]
    return captioned(
        "recall",
        heads,
        lines,
        () if compared.taught else (NO_STUDENTS,),
        of=f" of {AGREEMENT}" if compared.agreement else "",
        references=_references(compared),
        nobody="" if compared.taught else f" {NO_STUDENTS}",
        unit=compared.unit,
    )


def detail_table(compared: Comparison, families: Families, dim: int) -> Table:
    """All metrics at one dimension, with teachers and frozen features of whatever dimension on top."""
    cells = [cell for cell in compared.cells if cell.row.role in OF_ANY_DIM or (cell.dim == dim and not cell.fixed_dim)]
    members = [member for pool in families.pools for member in pool.members if member.dim == dim]
    return _of_cells("detail", columns.of_cells(compared), [*cells, *members], compared, dim)


Item = tuple[tuple[Row, int], dict[int, Cell]]  # a row of several heads at a dimension, and its cells by the head


def heads_table(compared: Comparison) -> Table | None:
    """The methods that were trained with several heads, and the better one of each; None where there are none."""
    heads: dict[tuple[Row, int], dict[int, Cell]] = defaultdict(dict)
    for cell in compared.candidates:
        heads[cell.row._replace(hidden=None, settings=""), cell.dim].setdefault(cell.row.hidden or 0, cell)
    widths = sorted(set().union(*heads.values()))
    both = {key: own for key, own in heads.items() if len(own) > 1}
    if not both:
        return None

    def better(own: Mapping[int, Cell]) -> str:
        hidden, cell = max(own.items(), key=lambda item: item[1].mean)
        return f"{fixed(cell.mean, 2)} ({head_name(hidden)})"

    def at(item: Item, width: int) -> Summary | None:
        return item[1][width].recalled if width in item[1] else None

    def gain(item: Item) -> Summary | None:
        wide, narrow = item[1].get(widths[-1]), item[1].get(widths[0])
        return paired(wide.recall, narrow.recall) if wide and narrow else None

    shown: list[Column[Item]] = [
        Column("", "group", of=lambda item: ROLES[item[0][0].role]),
        Column("", "method", of=lambda item: item[0][0].label),
        Column("", "d", "", of=lambda item: item[0][1]),
        *(Column("", head_name(own), "%", 2, of=partial(at, width=own), spread="sd", note="not run") for own in widths),
        difference_column(f"{head_name(widths[-1])} − {head_name(widths[0])}, ± 95 %", gain, "not run"),
        Column("", "best of both", of=lambda item: better(item[1])),
    ]
    lines = sorted(both.items(), key=lambda item: (list(ROLES).index(item[0][0].role), item[0][0].method, item[0][1]))
    return laid_out("heads", shown, ((item, item[0][0].role, item[0][1]) for item in lines))


def generations_table(compared: Comparison) -> Table | None:
    """Networks of the teacher's size that teach each other in turn, and their ensembles; None where there are none."""
    generations = [cell for cell in compared.cells if cell.fixed_dim and cell.row.role not in OF_ANY_DIM]
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    cells = [*teachers, *generations]
    return _of_cells("generations", columns.of_cells(compared), cells, compared) if generations else None


def likeness_table(compared: Comparison) -> Table | None:
    """How an embedding lies in its space, and how alike its neighbourhoods are to the teacher's; None where nothing was measured."""
    declared = [*columns.of_names(compared), *columns.of_likeness()]
    measured = any(record.geometry for record in compared.records)
    return _of_cells("likeness", declared, compared.cells, compared) if measured else None


def _of_cells(
    kind: str, declared: Sequence[Column[Cell]], cells: Sequence[Cell], compared: Comparison, dim: int | None = None
) -> Table:
    """A line a cell; p-values where there are any."""
    tested = any(column.digits == "p" and column.of(cell) is not None for column in declared for cell in cells)
    shown = [column for column in declared if column.label and (tested or column.digits != "p")]
    lines = ((cell, cell.row.role if cell.records else "families", cell.dim, cell.records) for cell in cells)
    return laid_out(kind, shown, lines, dim=dim, baseline=compared.baseline)


def _own(cells: Sequence[Cell], recall: Column[Cell]) -> Value:
    """Recall@1 of what has a dimension of its own, with that dimension."""
    if not cells:
        return dash("it has the dimension of its column")
    values = [recall.entry(cell) for cell in cells]
    flags = "".join(sorted({flag for value in values for flag in value.flags}))
    shown = ", ".join(f"{value.text} ({cell.dim})" for value, cell in zip(values, cells, strict=True))
    return Value(shown, number=values[0].number, flags=flags)


def _references(compared: Comparison) -> str:
    names = {"features": "frozen features", "control": "controls", "posthoc": "post-hoc controls"}
    present = [name for role, name in names.items() if any(row.role == role for row in compared.rows)]
    single = ["students of one seed"] * any(len(cell.recall) < 2 for cell in compared.candidates)
    references = ["The teacher", "the untrained student", *present, *single]
    return ", ".join(references[:-1]) + f" and {references[-1]}"
