"""`benchmark bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import Parameter
from rich.table import Table

from ..bench import loss, performance, report, retrieval, training
from ..bench.performance import Environment, shown
from ..provenance import environment
from .console import out, print_json, say_written


def bench(
    what: Literal["all", "training", "loss", "retrieval", "report"] = "all",
    /,
    *,
    json: bool = False,
    to: Annotated[Path | None, Parameter(name="--to")] = None,
) -> int:
    """Measure what things cost on this machine, beside the plain way, in one run; all of it takes half an hour.

    Parameters
    ----------
    what
        training: a grid of students beside the plain loop;
        loss: forward and backward of RKD's angle loss;
        retrieval: metrics of 60,502 embeddings;
        report: the start of commands, and the report of 1,000 runs
    json
        print JSON: rows and environment by section
    to
        a folder for performance.json and performance.md; of what is not measured now, earlier rows stay there
    """
    tables = {
        "training": training.table,
        "loss": loss.rows,
        "retrieval": retrieval.table,
        "report": report.table,
    }
    if to is not None:  # what is wrong with it is met before anything is measured
        performance.read(to / performance.FILE)
        performance.check_folder(to)
    where = performance.Environment(**environment(torch.device("cpu")))
    found = {}
    for name in tables if what == "all" else (what,):
        rows = tables[name]()
        found[name] = performance.Section(environment=where, rows=rows)
        if not json:
            out.print(_measured(performance.TITLES[name], rows, where))
        if to is not None:  # at once: the next one may be stopped
            written = performance.write(to, found)
    if json:
        print_json(performance.Performance(sections=found).model_dump(mode="json"))
    elif to is not None:
        say_written(written)
    return 0


def _measured(title: str, rows: list[dict[str, Any]], where: Environment) -> Table:

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, title=f"{title}: {where.threads} threads, {where.device}")
    for row in rows:
        table.add_row(*(shown(row[name]) if name in row else "" for name in columns))
    return table
