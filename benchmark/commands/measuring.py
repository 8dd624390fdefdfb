"""Measure finished runs again, and the suite itself: `benchmark measure`, `costs` and `bench`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import Parameter

from ..bench import loss, performance, report, retrieval, training
from ..costs import write_costs
from ..costs.measure import measure_costs
from ..data.cards import NOTHING_SAID
from ..errors import UsageError
from ..networks.own import read_places
from ..protocol.experiment import gather
from ..protocol.request import Data, Device, PresetName, Request, Subset
from ..provenance import environment
from ..report.render import rich
from ..report.write import Folder
from ..training.context import RunContext
from ..training.group import Failure
from ..training.measure import remeasure
from ..training.progress import Reporter
from .console import RESULTS, device_of, folders_of, out, print_json, say, say_written
from .options import Dataset, Own, Results, TeacherFeatures, TeacherNames, given_again


def measure(
    *,
    dataset: Dataset,
    own: Own = NOTHING_SAID,
    preset: PresetName = None,
    subset: Subset = "",
    data: Data = None,
    results: Annotated[Path, Parameter(help="the folder with the records and weights")] = RESULTS,
    device: Device = None,
    teacher_features: TeacherFeatures = None,
    teacher_names: TeacherNames = None,
) -> int:
    """Measure finished runs again from their weights, and add missing metrics to their records; a changed metric is an error."""
    vectors = given_again(teacher_features, teacher_names)
    where = Request(dataset, own, vectors=vectors, data=data, results=results, device=device)
    plan = gather(replace(where, preset=preset, subset=subset))
    store = plan.store
    records = list(store)
    if not records:
        place = f"--results names the folder that holds {plan.name}/{plan.preset.name}/runs"
        raise UsageError(f"no results in {store.folder}: runs/ holds no record; {place}")
    if plan.images().teacher is None:
        for record in records:  # a line, not one a record
            if record.spec.builds_on_vectors:
                plan.images().taught_by(record.spec)
    failures = 0
    with Reporter(out) as reporter:
        context = RunContext(plan.images(), plan.data_dir, store, device_of(device), reporter.preparing)
        for outcome in remeasure(records, context):
            if isinstance(outcome, Failure):
                failures += 1
                say(f"failed: {outcome.message}")
    say(f"{len(records) - failures} of {len(records)} runs measured again, with the metrics of their records")
    say_written(Folder.read(store.folder).write())
    return 1 if failures else 0


def costs(
    *,
    results: Results = RESULTS,
    device: Device = None,
    onnxruntime: Annotated[
        bool, Parameter(negative=(), help="also measure each network as an ONNX file, and with one thread")
    ] = False,
) -> int:
    """Measure what the networks of finished runs cost on this machine, and write costs.json beside the records.

    The command measures, for each network, parameters, multiply-adds, the latency
    of one image, and images per second in batches of 64; for each gallery, exact
    search of one query. Weights are random, which costs the same. A time is the
    fastest of repetitions; times on a busy machine are marked.
    """
    where = device_of(device)
    for folder in folders_of(results):
        if folder.runs:
            read_places()
            measured = measure_costs(folder.runs, where, say=say, onnxruntime=onnxruntime)
            say(
                f"{folder.path}: latency, throughput and size of {len(measured.networks)} networks, and exact search in "
                f"{len(measured.searches)} galleries, on {measured.environment['device']}"
            )
            say_written([write_costs(folder.path, measured)])
    for folder in folders_of(results):
        say_written(folder.write())
    return 0


def bench(
    what: Literal["all", "training", "loss", "retrieval", "report"] = "all",
    /,
    *,
    json: bool = False,
    to: Annotated[Path | None, Parameter(name="--to")] = None,
) -> int:
    """Measure the suite's speed on this machine, compared with the plain way; all parts take half an hour.

    Parameters
    ----------
    what
        training: a grid of students, compared with the plain loop;
        loss: forward and backward of RKD's angle loss;
        retrieval: the metrics of 60,502 embeddings;
        report: the start of commands
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
