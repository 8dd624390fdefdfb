"""Keep the last measurements as one JSON, and make a page of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
from pydantic import TypeAdapter, ValidationError

from ..data.stored import cannot_write
from ..errors import BenchmarkError, wrong_field
from ..files import read_regular, sealed, unsealed, write_atomically
from ..report.render import Heading, Line, Table, dash, markdown, text
from ..spec import Frozen

Row = Mapping[str, str | float]
FILE = "performance.json"
TITLES = {
    "training": "Training a grid of students",
    "loss": "RKD's angle loss",
    "retrieval": "Retrieval",
    "report": "Start",
    "executors": "A grid of heads by each executor",
}


class Environment(Frozen, extra="allow"):
    device: str
    threads: str
    torch: str
    code: str  # the commit, "+dirty" where there were changes


class Section(Frozen):
    """One part of `benchmark bench`, and where it was measured."""

    environment: Environment
    rows: list[dict[str, str | float]]


Sections = TypeAdapter(dict[str, Section])


def read_performance(path: Path) -> dict[str, Section]:
    """The sections of a file by name; none where it is not there.

    Raises:
        BenchmarkError: it holds something else.
    """
    try:
        return Sections.validate_python(unsealed(read_regular(path)).get("sections")) if path.exists() else {}
    except ValueError as error:
        why = wrong_field(error) if isinstance(error, ValidationError) else error
        raise BenchmarkError(f"{path} is no record of a benchmark ({why}); delete it") from None


def write_performance(folder: Path, measured: Mapping[str, Section]) -> list[Path]:
    """Put sections in the place of earlier ones of their names, and write the JSON and the page; both files.

    Raises:
        BenchmarkError: what is there is no such JSON.
        DataError: nothing can be written.
    """
    file, page_file = folder / FILE, (folder / FILE).with_suffix(".md")
    known = read_performance(file) | dict(measured)
    sections = {name: known[name] for name in TITLES if name in known}
    try:
        write_atomically(file, sealed({"sections": Sections.dump_python(sections)}, sort=False))
        write_atomically(page_file, performance_page(sections))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return [file, page_file]


def performance_page(sections: Mapping[str, Section]) -> str:
    """All rows of every section, as Markdown."""
    template = resources.files(__package__).joinpath("performance.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        sections=sections, titles=TITLES, markdown=lambda rows: markdown(table_of(rows))
    )


def table_of(rows: Sequence[Row]) -> Table:
    """A line a row, a column for each name that occurs."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = tuple(Heading(name, numeric=not any(isinstance(row.get(name), str) for row in rows)) for name in names)
    lines = tuple(Line(tuple(text(shown(row[name])) if name in row else dash() for name in names)) for row in rows)
    return Table("rows", "", "", columns, lines)


def shown(value: str | float) -> str:
    """Text as it is; of a number three digits that count."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
