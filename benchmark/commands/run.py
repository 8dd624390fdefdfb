"""`benchmark run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..protocol.presets import names
from ..protocol.request import Plan
from ..spec import waves
from ..store import Record, Store, read_record
from ..training.driver import Driver
from .console import RESULTS, Files, Words, device_of, out, plan_table, say_written

if TYPE_CHECKING:
    import torch


def run(
    *,
    dataset: str | None = None,
    vectors: Files = None,
    preset: str | None = None,
    like: Path | None = None,
    methods: Words = None,
    dims: Words = None,
    seeds: Words = None,
    steps: Words = None,
    backbone: str | None = None,
    teacher: str | None = None,
    generations: int = 0,
    set: tuple[str, ...] = (),
    subset: str = "",
    data: Path | None = None,
    mirror: Path | None = None,
    results: Path = RESULTS,
    device: str | None = None,
    checkpoint_every: float = 120.0,
    dry_run: bool = False,
    yes: bool = False,
) -> int:
    """Train the teacher, distil it by every method, measure retrieval, write the comparison.

    Finished runs are not repeated; a stopped one goes on where it was.

    Parameters
    ----------
    dataset
        a card (benchmark list datasets), a card's .toml, or a folder of images; or else --features
    preset
        a protocol (benchmark list presets); the default depends on data set and machine, and is printed
    like
        the JSON file of a run's record, to be run again as it is; only --seeds can be others
    methods
        comma-separated names, or all, relational, individual, posthoc; names joined by + are one method, the sum of their losses
    dims
        comma-separated embedding dimensions of the students
    seeds
        comma-separated seeds of the students
    steps
        training steps of the students; of several, comma-separated, each is a run of its own (of the teacher: --set teacher.steps=...)
    backbone
        network of the students
    teacher
        network of the teacher, NAME or NAME@DIM, such as resnet50@512
    generations
        students of the teacher's size, each of which teaches the next one; this many, and their ensemble
    set
        KEY=VALUE, repeatable: a field of the spec or a hyper-parameter, for all students, or as teacher.KEY or METHOD.KEY
    subset
        CLASSESxIMAGES of each split, such as 8x6
    data
        the folder that holds CUB_200_2011/, stanford_cars/, ...
    mirror
        a folder to take archives from instead of the network
    results
        where records and tables go
    device
        cpu or cuda; the default is cuda where there is one
    checkpoint_every
        seconds between checkpoints, from which a stopped run goes on
    dry_run
        print the plan and stop
    yes
        do not ask before a run that is too long for this machine
    """
    record = None
    if like is not None:
        given = (methods, dims, steps, backbone, teacher, generations or None, set or None, subset or None)
        record, dataset, preset, subset = _of_record(like, given, dataset, preset, vectors)
    plan = Plan(
        dataset,
        preset,
        vectors=vectors,
        data=data,
        mirror=mirror,
        results=results,
        device=device,
        subset=subset,
        dry=dry_run,
    )
    if record is not None:
        specs = plan.like(record, seeds)
    else:
        specs = plan.specs(
            methods=methods,
            dims=dims,
            seeds=seeds,
            steps=steps,
            backbone=backbone,
            teacher=teacher,
            assignments=set,
            generations=generations,
        )
    driver = Driver(plan, plan.store, out)
    missing = driver.announce(specs, dry=dry_run, weights=record is not None)
    where = device_of(device) if missing or device else None  # a device that is none is told, whatever is left to do
    if dry_run:
        if where is not None:
            driver.rehearse(missing, where)
        out.print(plan_table(waves(missing)))
        return 0
    failures = 0
    if missing and where is not None:
        failures = driver.run(missing, where, checkpoint_every=checkpoint_every, yes=yes)
        _measure_costs(plan.store, where)
    _finish(plan.folder)
    return 1 if failures else 0


def _of_record(
    path: Path, given: Sequence[object], dataset: str | None, preset: str | None, vectors: Files
) -> tuple[Record, str | None, str | None, str]:
    """A record, and what it says of data set, preset and subset."""
    if any(word is not None for word in given):
        raise UsageError("--like is a whole run: only --seeds, and what says where things are, can be given beside it")
    if not path.is_file():
        raise UsageError(f"--like {path}: there is no such file")
    record = read_record(path)
    if record.spec.evaluation != "test":
        raise UsageError(f"--like {path}: it was scored on validation classes, by tune; only results can be run again")
    spec, folder = record.spec, path.absolute().parents[1].name
    if dataset is None and vectors is None:
        if spec.data:
            raise UsageError(f"{spec.label} is of own data: say where they are, by --dataset or --features")
        dataset = spec.dataset
    return record, dataset, preset or (folder if folder in names() else None), spec.subset


def _measure_costs(store: Store, device: torch.device) -> None:
    """Measure the networks that were not measured on this machine before."""
    from ..costs import read_costs, write_costs
    from ..costs.measure import measure_costs

    if records := list(store):
        write_costs(store.folder, measure_costs(records, device, read_costs(store.folder)))


def _finish(path: Path) -> None:
    """Write the report, and say what it says."""
    from ..report.write import Folder, terminal_table

    if not any((path / "runs").glob("*.json")):
        return
    folder = Folder.read(path)
    written = folder.write()
    out.print(terminal_table(folder))
    out.print(folder.document.answer, style="bold", markup=False)
    say_written(written)
