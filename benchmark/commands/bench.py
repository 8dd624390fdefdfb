"""`benchmark bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import Parameter

from ..bench import executors, loss, performance, report, retrieval, training
from ..provenance import environment
from ..report.render import rich
from .console import out, print_json, say_written


def bench(
    what: Literal["all", "training", "loss", "retrieval", "report", "executors"] = "all",
    /,
    *,
    json: bool = False,
    to: Annotated[Path | None, Parameter(name="--to")] = None,
) -> int:
    """Measure the suite's speed on this machine, compared with the plain way; all parts take an hour.

    Parameters
    ----------
    what
        training: a grid of students, compared with the plain loop;
        loss: forward and backward of RKD's angle loss;
        retrieval: the metrics of 60,502 embeddings;
        report: the start of commands;
        executors: a grid of heads by each executor
    json
        print JSON: rows and environment of each section
    to
        write performance.json and performance.md to this folder; parts that are not measured now keep their earlier rows
    """
    tables = {
        "training": training.training_rows,
        "loss": loss.loss_rows,
        "retrieval": retrieval.retrieval_rows,
        "report": report.report_rows,
        "executors": executors.executor_rows,
    }
    if to is not None:  # what is wrong with it is met before anything is measured
        performance.write_performance(to, {})
    where = performance.Environment(**environment(torch.device("cpu")))
    measured = {}
    for name in tables if what == "all" else (what,):
        rows = tables[name]()
        measured[name] = performance.Section(environment=where, rows=rows)
        if not json:
            title = f"{performance.TITLES[name]}: {where.threads} threads, {where.device}"
            out.print(rich(performance.table_of(rows), title))
        if to is not None:  # at once: the next one may be stopped
            written = performance.write_performance(to, measured)
    if json:
        print_json({"sections": performance.Sections.dump_python(measured)})
    elif to is not None:
        say_written(written)
    return 0
