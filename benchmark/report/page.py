"""`report.html`: one file, no network; of one data set and preset, or of all of them together."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..record import Record
from . import columns
from .cells import ROLES, displayed
from .columns import laid_out
from .comparison import Comparison
from .document import Document
from .figures import CAPTIONS
from .render import Line, Table, templates

RUNS = "runs"  # the table of every run
LIKENESS = "likeness"
MINOR = ("group", "labels", "network", "l2", "steps")  # columns that a telephone shows when it is asked to


class Part(NamedTuple):
    """One data set and preset on the page."""

    document: Document
    tables: tuple[Table, ...]  # the document's, and one of every run
    figures: Mapping[str, str]  # SVG by name
    page: str = ""  # where its own page is, with every run and the figures, if this is the page of several

    @property
    def name(self) -> str:
        return f"{self.document.dataset}, {self.document.preset}"

    @property
    def key(self) -> str:
        """For ids: letters and digits of any script, and no two hyphens in a row but between the names."""
        names = (self.document.dataset, self.document.preset)
        return "--".join(re.sub(r"[\W_]+", "-", name.lower()) for name in names)

    def brief(self, page: str) -> Part:
        """The same for the page of several: details of a dimension and of each run, and the figures, are on its own `page`."""
        kept = (table for table in self.tables if table.dim is None and table.key not in (LIKENESS, RUNS))
        return Part(self.document, tuple(kept), {}, page)

    def command(self, line: Line) -> str:
        """The commands that run a line's records again, a line each."""
        return "\n".join(commands(line.records, Path("results", self.document.dataset, self.document.preset, "runs")))


def page(title: str, parts: Sequence[Part]) -> str:
    """The HTML of one part or more."""
    lines = [line for part in parts for table in part.tables for line in table.lines]
    roles = {line.role for line in lines}
    return (
        templates(html=True)
        .get_template("page.html.jinja")
        .render(
            title=title,
            parts=parts,
            roles=[item for item in (*ROLES.items(), ("families", "families as one")) if item[0] in roles],
            dims=sorted({line.dim for line in lines if line.dim is not None}),
            captions=CAPTIONS,
            minor=MINOR,
            facts=facts,
            base64=lambda text: base64.b64encode(text.encode()).decode(),
        )
    )


def facts(record: Record) -> str:
    """All that a record says of how it came about, as JSON."""
    spec = record.spec
    said = {
        "spec": {name: displayed(value) for name, value in spec.model_dump(mode="json").items() if name != "teacher"},
        "teacher": spec.teacher.id if spec.teacher else None,
        "weights": record.weights,
        "teacher's weights": record.teacher,
        "seconds": record.seconds,
        "environment": record.environment,
    }
    return json.dumps(said, indent=1, ensure_ascii=False)


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


def runs_table(compared: Comparison) -> Table:
    """A line a run."""

    def order(record: Record) -> tuple[object, ...]:
        spec = record.spec
        return list(ROLES).index(compared.roles[record.id]), spec.name, spec.dim, spec.steps, spec.seed, record.id

    declared = [column for column in columns.of_runs(compared) if column.label]
    records = sorted(compared.records, key=order)
    return laid_out(RUNS, declared, ((run, compared.roles[run.id], run.spec.dim, (run,)) for run in records))
