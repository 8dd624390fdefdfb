"""Columns and what they are about, laid out: the CSV files, and the tables of a comparison for readers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from ..store import Record
from . import columns
from .cells import AGREEMENT, DASH, OF_ANY_DIM, ROLES, Cell, Row, fixed, settings, varied
from .columns import TEXT, Column, Tried, difference, headings, mean_sd, readable, recall_at_1
from .comparison import NO_STUDENTS, Comparison
from .families import FAMILIES, Families, Member, Pool, gap, of_families
from .render import Heading, Line, Table, Value, dash, text

T = TypeVar("T")


def _csv(*groups: tuple[Sequence[Column[Any]], Iterable[Any]]) -> str:
    """A line of each subject; the columns of further groups are named as those of the first."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    # So that a reader that only splits lines at commas finds the columns; of a stranger's record, any may be in a parameter's name.
    writer.writerow([re.sub(r'[",\s]+', " ", _header(column)) for column in groups[0][0] if column.key])
    for declared, subjects in groups:
        writer.writerows([column.exact(subject) for column in declared if column.key] for subject in subjects)
    return content.getvalue()


def _header(column: Column[Any]) -> str:
    return column.key if column.unit in (TEXT, "") else f"{column.key} [{column.unit}]"


def runs_csv(compared: Comparison) -> str:
    """A line a run, in the order of the tables."""
    rows = {record.id: cell.row._replace(settings="").order for cell in compared.cells for record in cell.records}
    records = sorted(compared.records, key=lambda run: (*rows[run.id], run.spec.dim, run.spec.seed, run.id))
    return _csv((columns.of_runs(compared), records))


def comparison_csv(compared: Comparison) -> str:
    """A line a method and dimension; then the families as one."""
    members = [Member(pool, dim) for pool in Families(compared).pools for dim in sorted(pool.recall)]
    return _csv((columns.of_cells(compared), compared.cells), (of_families(compared), members))


def tuning_csv(records: Iterable[Record]) -> str:
    """A line a validation run and evaluated step."""

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        return spec.method, spec.backbone, spec.dim, not spec.normalize, spec.lr, spec.seed, record.id

    runs = sorted(records, key=order)
    by_method = (map(settings, group) for _, group in groupby(runs, key=lambda record: record.spec.method))
    names = set().union(*map(varied, map(list, by_method))) - {"method", "backbone", "dim", "normalize", "lr"}
    tried = []
    for record in runs:
        points = {point.step: point.evaluation for point in record.curve} | {record.spec.steps: record.evaluation}
        for step, scored in sorted(points.items()):
            tried.append(Tried(record, step, scored.cosine if record.spec.normalize else scored.l2))
    return _csv((columns.of_tuning(sorted(names)), tried))


def recall_table(compared: Comparison, families: Families) -> Table:
    """A line a method, a column a dimension: Recall@1 as mean ± sd; then each family as one, and the difference of the two."""
    names = readable(columns.of_names(lambda cell: cell.row.network))
    first = {cell.row: cell for cell in reversed(compared.cells)}
    by_dim = [
        _marked(
            mean_sd(f"d = {dim}", recall_at_1),
            [compared.at(row, dim) or compared.why_missing(row, dim) for row in compared.rows],
            compared,
        )
        for dim in compared.dims
    ]
    lines = [
        Line((*(name.entry(first[row]) for name in names), *values, _own(row, compared)), role=row.role, row=row)
        for row, *values in zip(compared.rows, *by_dim, strict=True)
    ]
    dashes = [dash("needs feature maps, which features of frozen trunks are not")] * (
        len(names) - 1 + len(compared.dims)
    )
    lines += [
        Line((text(ROLES[role]), text(method), *dashes), role=role) for role, method in compared.left_out
    ]  # after the rest of their group
    lines.sort(key=lambda line: list(ROLES).index(line.role))

    def add(what: Iterable[object], column: Column[int], *pools: Pool) -> None:
        means = (_flagged(column.entry(dim), dim, compared, *pools) for dim in compared.dims)
        lines.append(Line((*map(text, what), *means, dash()), role="families"))

    for pool in families.pools:
        add((FAMILIES[pool.role], pool.label, pool.backbone, "", pool.steps), mean_sd("", pool.at), pool)
    for pair in families.pairs:
        what = ("RKD − IKD", "of the two means, ± 95 %", pair[0].backbone, "", pair[0].steps)
        add(what, difference("", partial(gap, pair)), *pair)
    of = f" of {AGREEMENT}" if compared.agreement else ""
    nobody = "" if compared.taught else f" {NO_STUDENTS}"
    return Table(
        "recall",
        "Recall@1",
        f"Percent{of}, mean ± standard deviation over seeds, by the main distance: cosine where embeddings are "
        f"l2-normalised, else raw L2. Bold: the best student of a column; ≈: its paired 95 % interval does not separate it from "
        f"that. {_references(compared)} are no candidates.{nobody}",
        (*headings(names), *(Heading(f"d = {dim}") for dim in compared.dims), Heading("own d")),
        tuple(lines),
        () if compared.taught else (NO_STUDENTS,),
    )


def detail_table(compared: Comparison, families: Families, dim: int) -> Table:
    """All metrics at one dimension, with teachers and frozen features of whatever dimension on top."""
    cells = [cell for cell in compared.cells if cell.row.role in OF_ANY_DIM or (cell.dim == dim and not cell.fixed_dim)]
    members = [Member(pool, dim) for pool in families.pools if dim in pool.recall]
    caption = f"Percent; {compared.baseline} is the baseline, and differences to it are in points, paired by seed."
    return _of_cells(f"d-{dim}", f"d = {dim}", caption, columns.of_cells(compared), cells, compared, members)


def generations_table(compared: Comparison) -> Table | None:
    """Networks of the teacher's size that teach each other in turn, and their ensembles; None where there are none."""
    generations = [cell for cell in compared.cells if cell.fixed_dim and cell.row.role not in OF_ANY_DIM]
    if not generations:
        return None
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    return _of_cells(
        "generations",
        "Generations",
        "Percent. Networks of the teacher's size, the first taught by the teacher, each further one by the one before it; and the "
        "ensemble of all of them, whose embeddings are joined and whose cost is all of theirs.",
        columns.of_cells(compared),
        [*teachers, *generations],
        compared,
    )


def likeness_table(compared: Comparison) -> Table | None:
    """How an embedding lies in its space, and how alike its neighbourhoods are to the teacher's; None where nothing was measured."""
    if not any(record.geometry for record in compared.records):
        return None
    return _of_cells(
        "likeness",
        "How alike",
        "Overlap: percent of an image's 10 nearest that are the teacher's. Rank correlation: Spearman's, of distances to the "
        "teacher's. Effective dimension: exp of the entropy of the singular values of what is searched (Roy and Vetterli 2007). "
        "Spectral decay: their KL divergence from uniform ones, in nats; lower was found to go with generalisation (Roth et al. 2020).",
        [*columns.of_names(), *columns.of_likeness()],
        compared.cells,
        compared,
    )


def _of_cells(
    key: str,
    title: str,
    caption: str,
    declared: Sequence[Column[Cell]],
    cells: Sequence[Cell],
    compared: Comparison,
    members: Sequence[Member] = (),
) -> Table:
    """A line a cell, then one a family; p-values where there are any."""
    tested = any(column.digits == "p" and column.of(cell) is not None for column in declared for cell in cells)

    def shown(group: Sequence[Column[T]]) -> list[Column[T]]:
        return [column for column in readable(group) if tested or column.digits != "p"]

    by_column = [_marked(column, cells, compared) for column in shown(declared)]
    lines = [
        Line(tuple(values), cell.row.role, cell.dim, cell.row) for cell, *values in zip(cells, *by_column, strict=True)
    ]
    of_members = shown(of_families(compared)) if members else []
    for member in members:
        values = [
            _flagged(column.entry(member), member.dim, compared, *[member.pool] * (column.marks == "recall"))
            for column in of_members
        ]
        lines.append(Line(tuple(values), "families", member.dim))
    return Table(key, title, caption, headings(shown(declared)), tuple(lines))


def _own(row: Row, compared: Comparison) -> Value:
    """Recall@1 of what has a dimension of its own, with that dimension."""
    cells = [cell for cell in compared.cells if cell.row == row and cell.fixed_dim]
    if not cells:
        return dash("it has the dimension of its column")
    recalls = [mean_sd("", recall_at_1).entry(cell) for cell in cells]
    flags = "".join(sorted({flag for cell in cells for flag in compared.flags(cell)}))
    shown = ", ".join(f"{recall.text} ({cell.dim})" for recall, cell in zip(recalls, cells, strict=True))
    return Value(shown, number=recalls[0].number, flags=flags)


def _flagged(value: Value, dim: int, compared: Comparison, *pools: Pool) -> Value:
    """With the marks of all that it is the mean of."""
    if value.text == DASH:
        return value
    marks = (compared.flags(cell) for pool in pools for cell in pool.cells if cell.dim == dim)
    return value._replace(flags="".join(sorted(set("".join(marks)))))


def _marked(column: Column[Cell], cells: Sequence[Cell | str], compared: Comparison) -> list[Value]:
    """The column's entries; where it has marks, the best of the trained ones of several seeds in bold: all that show the same best.

    Args:
        cells: or why there is none.
    """
    entries = [dash(cell) if isinstance(cell, str) else column.entry(cell) for cell in cells]
    if not column.marks:
        return entries
    scores = [
        float(fixed(value.number, 2)) if value.number is not None and cell in compared.ranked else None
        for cell, value in zip(cells, entries, strict=True)
    ]
    best = max((score for score in scores if score is not None), default=None)

    def marked(cell: Cell | str, value: Value, score: float | None) -> Value:
        is_best = score is not None and score == best
        if column.marks == "best" or isinstance(cell, str):
            return value._replace(best=is_best)
        return value._replace(best=is_best, near=not is_best and compared.near_best(cell), flags=compared.flags(cell))

    return list(map(marked, cells, entries, scores))


def _references(compared: Comparison) -> str:
    names = {"features": "frozen features", "posthoc": "post-hoc controls"}
    present = [name for role, name in names.items() if any(row.role == role for row in compared.rows)]
    single = ["students of one seed"] * (len(compared.ranked) < len(compared.candidates))
    references = ["The teacher", "the untrained student", *present, *single]
    return ", ".join(references[:-1]) + f" and {references[-1]}"
