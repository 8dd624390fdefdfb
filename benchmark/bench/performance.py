"""What was measured last, as one JSON, and the page that is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import BaseModel, ConfigDict, ValidationError

from ..data.stored import cannot_write
from ..errors import BenchmarkError, wrong_field
from ..files import read_regular, sealed, unsealed, write_atomically
from ..report.render import Heading, Line, Table, dash, markdown, text

Row = Mapping[str, str | float]
FILE = "performance.json"


class Environment(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    device: str
    threads: str
    torch: str
    code: str  # the commit, "+dirty" where there were changes


class Section(BaseModel):
    """One part of `benchmark bench`, and where it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Environment
    rows: list[dict[str, str | float]]


class Performance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sections: dict[str, Section]


TITLES = {
    "training": "Training a grid of students",
    "loss": "RKD's angle loss",
    "retrieval": "Retrieval",
    "report": "Start and report",
}


def read(path: Path) -> Performance:
    """Raises a BenchmarkError where it is none."""
    try:
        return Performance.model_validate(unsealed(read_regular(path)) if path.exists() else {"sections": {}})
    except ValueError as error:
        why = wrong_field(error) if isinstance(error, ValidationError) else error
        raise BenchmarkError(f"{path} is no record of a benchmark ({why}); delete it") from None


def check_folder(folder: Path) -> None:
    """Raises a DataError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def write(folder: Path, found: Mapping[str, Section]) -> list[Path]:
    """Put sections in the place of earlier ones of their names, and write the JSON and the page."""
    file = folder / FILE
    known = read(file).sections | dict(found)
    performance = Performance(sections={name: known[name] for name in TITLES if name in known})
    contents = {
        file: sealed(performance.model_dump(mode="json"), sort=False),
        file.with_suffix(".md"): page(performance),
    }
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode())
    return list(contents)


def page(performance: Performance) -> str:
    """Markdown: every section's rows."""
    parts = [
        "# Performance",
        "Made by `python -m benchmark bench --to results` from measurements on one machine, all ways of a section in one run. Seconds are"
        " medians of two to five repetitions (five, where these take less than 20 s), after one that does not count; `spread` is"
        " (slowest - fastest) / median.",
    ]
    for name, section in performance.sections.items():
        where = section.environment
        parts += [
            f"## {TITLES[name]}",
            f"`python -m benchmark bench {name}`; {where.device}, {where.threads} threads, torch {where.torch}, code {where.code}.",
            as_markdown(section.rows).rstrip(),
        ]
    return "\n\n".join(parts) + "\n"


def as_markdown(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = tuple(Heading(name, numeric=not any(isinstance(row.get(name), str) for row in rows)) for name in names)
    lines = tuple(Line(tuple(text(shown(row[name])) if name in row else dash() for name in names)) for row in rows)
    return markdown(Table("rows", "", "", columns, lines))


def shown(value: str | float) -> str:
    """Text as it is; of a number three digits that count."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
