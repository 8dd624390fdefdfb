"""`report.html`: one file, no network; of one data set and preset, or of all of them together."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from ..store import Record
from . import columns
from .cells import DASH, ROLES, plain
from .columns import headings, line, readable
from .comparison import Comparison
from .document import Document
from .render import LEGEND, Heading, Line, Table, Value

CAPTIONS = {
    "dimension": "Recall@1 against the dimension of the embedding. Bars: 95 % interval over seeds; dots: seeds, of fewer than six. "
    "The best methods of each kind; the table has all.",
    "differences": "Paired differences of Recall@1 to the baseline. Lines: 95 % interval; dots: seeds, of fewer than six.",
    "cost": "Recall@1 against cost. The line joins what nothing of the same cost or less beats (Pareto front).",
    "steps": "Recall@1 against the number of training steps; each point is a run of that length with its own schedule.",
    "curves": "MAP@R on validation classes on the way, of each method's best validation run (at the dimension that most were at): at a "
    "rate not yet annealed.",
    "families": "Relational minus individual methods, each family as the mean of its methods. Lines: 95 % interval over seeds.",
}


class How(NamedTuple):
    """How a line was made."""

    command: str
    facts: str = ""


class Shown(NamedTuple):
    """A table as the page has it, and how each of its lines was made."""

    table: Table
    how: tuple[How | None, ...]
    dim: int | None = None  # of a table of one dimension

    @property
    def explained(self) -> bool:
        return any(self.how)


class FigureShown(NamedTuple):
    data: str  # base64
    alt: str
    caption: str


class Part(NamedTuple):
    """One data set and preset on the page."""

    name: str
    key: str
    document: Document
    tables: tuple[Shown, ...]
    figures: tuple[FigureShown, ...]


def part(compared: Comparison, document: Document, drawn: Mapping[str, str]) -> Part:
    """Collect for the page a folder's parts: its tables with the commands that reproduce them, all runs, its figures."""
    name = f"{document.dataset}, {document.preset}"
    runs = Path("results", document.dataset, document.preset, "runs")
    tables = [_shown(table, compared, runs) for table in document.tables]
    return Part(
        name,
        f"{_slug(document.dataset)}--{_slug(document.preset)}",
        document,
        (*tables, _runs(compared, runs)),
        tuple(_figure(key, figure, name) for key, figure in drawn.items()),
    )


def page(title: str, parts: Sequence[Part]) -> str:
    """The HTML of one part or more."""
    import jinja2
    from markupsafe import Markup, escape

    def file(name: str) -> str:
        return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")

    def code_spans(markdown: str) -> Markup:
        return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(markdown))))

    def classes(heading: Heading, value: Value) -> str:
        return " ".join(name for name, holds in (("number", heading.numeric), ("best", value.best)) if holds)

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["code"] = code_spans
    template = environment.from_string(file("page.html.jinja"))
    lines = [line for one in parts for shown in one.tables for line in shown.table.lines]
    roles = [(role, name) for role, name in (*ROLES.items(), ("families", "families as one"))]
    return template.render(
        title=title,
        parts=parts,
        css=Markup(file("page.css")),
        js=Markup(file("page.js")),
        roles=[(role, name) for role, name in roles if any(line.role == role for line in lines)],
        dims=sorted({line.dim for line in lines if line.dim is not None}),
        classes=classes,
        dash=DASH,
        legend=LEGEND,
        zip=zip,
    )


def _shown(table: Table, compared: Comparison, runs: Path) -> Shown:
    cells = {(cell.row, cell.dim): cell for cell in compared.cells}

    def how(line: Line) -> How | None:
        if line.row is None:
            return None
        shown = [cell for (row, dim), cell in cells.items() if row == line.row and line.dim in (dim, None)]
        return How("\n".join(command for cell in shown for command in commands(cell.records, runs)))

    dim = next((dim for dim in compared.dims if table.key == f"d-{dim}"), None)
    return Shown(table, tuple(map(how, table.lines)), dim)


def commands(records: Sequence[Record], runs: Path) -> list[str]:
    """Commands that run some records again: one for those that differ in their seeds alone."""
    alike: dict[str, list[Record]] = {}
    for record in records:
        spec = record.spec
        alike.setdefault(spec.id if spec.fixed_seed else spec.replace(seed=0).id, []).append(record)
    lines = []
    for same in alike.values():
        words = ["python", "-m", "benchmark", "run", "--like", str(runs / f"{same[0].spec.method}-{same[0].id}.json")]
        if len(same) > 1:
            words += ["--seeds", ",".join(str(record.spec.seed) for record in same)]
        lines.append(shlex.join(words))
    return lines


def _slug(name: str) -> str:
    """For ids: letters and digits of any script, and no two hyphens in a row."""
    return re.sub(r"[\W_]+", "-", name.lower())


def _runs(compared: Comparison, runs: Path) -> Shown:
    """A line a run, with all that its record says of how it came about."""

    def order(record: Record) -> tuple[object, ...]:
        spec = record.spec
        return list(ROLES).index(compared.roles[record.id]), spec.name, spec.dim, spec.steps, spec.seed, record.id

    def how(record: Record) -> How:
        spec = record.spec
        facts = {
            "spec": {name: plain(value) for name, value in spec.model_dump(mode="json").items() if name != "teacher"},
            "teacher": spec.teacher.id if spec.teacher else None,
            "weights": record.weights,
            "teacher's weights": record.teacher,
            "seconds": record.seconds,
            "environment": record.environment,
        }
        (command,) = commands([record], runs)
        return How(command, json.dumps(facts, indent=1, ensure_ascii=False))

    declared, records = readable(columns.of_runs(compared)), sorted(compared.records, key=order)
    lines = [line(declared, record, compared.roles[record.id], record.spec.dim) for record in records]
    table = Table(
        "runs",
        "Every run",
        "Metrics in percent, by the main distance. The spec, versions and device of a run, and the command that repeats it, are under how.",
        headings(declared),
        tuple(lines),
    )
    return Shown(table, tuple(map(how, records)))


def _figure(key: str, svg: str, name: str) -> FigureShown:
    return FigureShown(base64.b64encode(svg.encode()).decode(), f"{name}: {CAPTIONS[key]}", CAPTIONS[key])
