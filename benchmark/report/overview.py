"""Across data sets and presets: each folder's answer, its best methods of each kind, and a figure of the differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from .cells import Cell, batches, fixed
from .comparison import Comparison
from .document import Document, several
from .families import Families
from .figures import families_figure
from .render import Column, Line, Table, Value, dash, difference, markdown, mean, text
from .stats import paired, summarise


class Entry(NamedTuple):
    """A folder, and where it is from the folder of all results."""

    made: Document
    compared: Comparison
    link: str


def overview_table(entries: Sequence[Entry]) -> Table:
    """A line a folder and dimension."""
    lines = [line for entry in entries for line in _lines(entry.made, entry.compared)]
    columns = (
        "data set",
        "preset",
        "d",
        "steps",
        "seeds",
        "teacher",
        "baseline",
        "best IKD",
        "best RKD",
        "RKD − IKD, ± 95 %",
    )
    return Table(
        "overview",
        "Across data sets and presets",
        "Recall@1 in percent; of vectors without labels, agreement with the teacher's neighbours. Best IKD, best RKD: the individual "
        "and the relational method of the highest mean, chosen by these very numbers. RKD − IKD: the mean of all relational methods "
        "minus that of all individual ones, in points, paired by seed.",
        tuple(Column(name, number > 1) for number, name in enumerate(columns)),
        tuple(lines),
    )


def _lines(made: Document, compared: Comparison) -> list[Line]:
    main = Families(compared).main
    alike = batches(main[0].cells[0]) if main else None
    steps = main[0].steps if main else compared.usual_steps
    lines = []
    for dim in compared.dims:
        cells = [
            cell
            for cell in compared.candidates
            if cell.dim == dim and (batches(cell) == alike if alike else cell.row.steps == steps)
        ]
        if not cells:
            continue
        off = None if main is None else paired(main[1].recall.get(dim, {}), main[0].recall.get(dim, {}))
        baseline = [cell for cell in cells if cell.row.method == compared.baseline]
        taught = next((cell for cell in cells if cell.records[0].spec.teacher is not None), cells[0])
        teacher = compared.teacher_of(taught)
        values = (
            text(f"{made.dataset} (agreement)" if compared.agreement else made.dataset),
            text(made.preset),
            Value(str(dim)),
            Value(str(steps)),
            Value(several(len(cell.recall) for cell in cells)),
            mean(teacher.summary("recall@1")) if teacher is not None else dash("no teacher"),
            mean(baseline[0].summary("recall@1")) if baseline else dash(f"no {compared.baseline} student"),
            _best(cells, "individual"),
            _best(cells, "relational"),
            difference(off, "one of the two families is missing"),
        )
        lines.append(Line(values, dim=dim))
    return lines


def _best(cells: Sequence[Cell], role: str) -> Value:
    ours = [cell for cell in cells if cell.row.role == role]
    # One lucky seed is no best, where another method has several.
    several = [cell for cell in ours if len(cell.recall) > 1]
    found = [(summarise(list(cell.recall.values())).mean, cell.row.label) for cell in several or ours]
    if not found:
        return dash(f"no {role} method")
    score, name = max(found)
    return text(f"{name} {fixed(score, 2)}")._replace(number=score)


def overview_markdown(entries: Sequence[Entry], figure: str | None) -> str:
    """`overview.md`."""
    table = overview_table(entries)
    parts = ["# Overview\n"]
    parts += [
        f"- [{made.dataset}, {made.preset}]({quote(link)}/comparison.md): {made.answer}" for made, _, link in entries
    ]
    parts += ["", f"## {table.title}\n", f"{table.caption}\n", markdown(table)]
    if figure is not None:
        parts += ["![Relational minus individual methods, by data set, preset and dimension](figures/families.svg)", ""]
    return "\n".join(parts)


def overview_figure(entries: Sequence[Entry]) -> str | None:
    """RKD - IKD of all folders in one forest plot; None where none has both families."""
    found = []
    for made, compared, _ in entries:
        main = Families(compared).main
        if main is None:
            continue
        individual, relational = main[0].recall, main[1].recall
        for dim in sorted(individual.keys() & relational.keys()):
            off = paired(relational[dim], individual[dim])
            if off is not None:
                seeds = sorted(individual[dim].keys() & relational[dim].keys())
                points = [relational[dim][seed] - individual[dim][seed] for seed in seeds]
                found.append((f"{made.dataset}, {made.preset}, d = {dim}", off, points))
    return families_figure(found) if found else None
