"""The commands that train: words to specs, and what is printed. No logic, and no torch before it is needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from .console import RESULTS, app, device_of, out, say_written
from .data import cards
from .errors import UsageError
from .protocol.presets import names
from .protocol.request import Plan
from .spec import Spec, waves
from .store import Record, Store, read_record
from .training.driver import Driver

if TYPE_CHECKING:
    import torch

Words = str | None  # comma-separated
Files = Annotated[cards.Vectors | None, Parameter(name="*")]  # an option a field


@app.command
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
    missing = driver.announce(specs, dry=dry_run)
    if dry_run:
        out.print(_plan_table(waves(missing)))
        return 0
    failures = 0
    if missing:
        where = device_of(device)
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
    spec, folder = record.spec, path.absolute().parents[1].name
    if dataset is None and vectors is None:
        if spec.data:
            raise UsageError(f"{spec.label} is of own data: say where they are, by --dataset or --features")
        dataset = spec.dataset
    return record, dataset, preset or (folder if folder in names() else None), spec.subset


@app.command
def tune(
    *,
    dataset: str | None = None,
    vectors: Files = None,
    preset: str | None = None,
    methods: Words = None,
    dims: Words = None,
    seed: int = 0,
    steps: int | None = None,
    grid: tuple[str, ...] = (),
    trials: int | None = None,
    set: tuple[str, ...] = (),
    data: Path | None = None,
    mirror: Path | None = None,
    results: Path = RESULTS,
    device: str | None = None,
    checkpoint_every: float = 120.0,
    measure_only: bool = False,
    publish: bool = False,
    dry_run: bool = False,
) -> int:
    """Choose settings on held-out training classes: equally many tried for every method, in lockstep, scored by MAP@R.

    Trains on the first 80 % of the training classes (teacher included) and scores on the rest; test classes are not read.
    Writes tuning.csv and, beside it, tuned.toml: the choice, which run uses and which replaces the earlier one of the same methods.

    Parameters
    ----------
    dataset
        as for run
    preset
        as for run
    methods
        comma-separated names, or all, relational, individual, posthoc; names joined by + are one method, the sum of their losses
    dims
        comma-separated; the default is the preset's middle one
    seed
        the one seed of all runs, and of what is drawn
    steps
        training steps of the students, when fewer than the preset's must do; recorded with the choice
    grid
        KEY=VALUE,VALUE,...; repeatable: all combinations are tried; the default is four values of lr
    trials
        try the preset's setting and others, drawn from its [search] and from the methods' own ranges, this many in all;
        the default is 20 where the preset has a [search] and no --grid is given
    set
        as for run
    data
        as for run
    mirror
        as for run
    results
        as for run
    device
        as for run
    checkpoint_every
        as for run
    measure_only
        write tuning.csv, and leave the settings that runs use as they are
    publish
        write the choice into the package instead, to benchmark/presets/tuned/: for all who use it
    dry_run
        print the plan and stop
    """
    from .protocol.tuning import asked, choice_table, choose, tune_command, write_choice

    plan = Plan(dataset, preset, vectors=vectors, data=data, mirror=mirror, results=results, device=device, dry=dry_run)
    path = plan.tuned.published if publish else plan.tuned.own
    if path is None:
        raise UsageError(
            f"--publish: {plan.card.name} is no data set of the suite; its settings stay among the results"
        )
    middle = str(sorted(plan.dims)[(len(plan.dims) - 1) // 2])
    candidates, option = asked(grid, trials, seed, plan.preset)
    specs_of = functools.partial(
        plan.specs,
        methods=methods,
        dims=dims or middle,
        seeds=str(seed),
        steps=None if steps is None else str(steps),
        backbone=None,
        teacher=None,
        assignments=set,
    )
    planned = specs_of(variants=candidates.variants)
    teachers = {spec.teacher.id for spec in planned if spec.teacher is not None}
    students = [spec for spec in planned if spec.steps and spec.id not in teachers]
    if not students:
        raise UsageError(f"--methods {methods}: nothing of it is trained, so there is nothing to tune")
    store = Store(plan.folder, "tuning")
    driver = Driver(plan, store, out)
    taught = {spec.teacher.id for spec in students if spec.teacher is not None}
    missing = driver.announce([spec for spec in planned if spec.id in taught or spec in students], dry=dry_run)
    if dry_run:
        out.print(_plan_table(waves(missing)))
        return 0
    failures = driver.run(missing, device_of(device), checkpoint_every=checkpoint_every, yes=True) if missing else 0
    defaults = {spec.id for spec in specs_of(variants=lambda entry: [{}])}
    ids = {spec.id for spec in students}
    choice = choose([record for record in store if record.id in ids], candidates, students, defaults)
    out.print(choice_table(choice, candidates))
    words = {**plan.source, "--preset": plan.preset.name, "--methods": methods, "--dims": dims}
    command = tune_command({**words, "--seed": seed or None, "--steps": steps, **option, "--set": set})
    from .report import write_report

    if not measure_only:
        for line in write_choice(path, choice, command):
            out.print(line, markup=False, soft_wrap=True)
        say_written([path])
    say_written(write_report(plan.folder))  # which says whose settings are the tuned ones
    return 1 if failures else 0


def _plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Table:
    table = Table("wave", "group", "method", "network", "l2", "seed", "steps", "batch", "lr", "id")
    for wave, groups in enumerate(plan, 1):
        for group, specs in enumerate(groups, 1):
            for spec in specs:
                l2 = "yes" if spec.normalize else "no"
                table.add_row(
                    str(wave), str(group), spec.method, f"{spec.backbone}-{spec.dim}", l2, str(spec.seed), str(spec.steps),
                    str(spec.batch), f"{spec.lr:g}", spec.id,
                )  # fmt: skip
    return table


def _measure_costs(store: Store, device: torch.device) -> None:
    """What the networks cost here, of those that were not measured on this machine before."""
    from .bench.networks import measure_costs
    from .costs import read_costs, write_costs

    if records := list(store):
        write_costs(store.folder, measure_costs(records, device, read_costs(store.folder)))


def _finish(path: Path) -> None:
    """Write the report, and say what it says."""
    from .report import Folder, terminal_table, write

    if not any((path / "runs").glob("*.json")):
        return
    folder = Folder.read(path)
    written = write(folder)
    out.print(terminal_table(folder))
    out.print(folder.document.answer, style="bold", markup=False)
    say_written(written)
