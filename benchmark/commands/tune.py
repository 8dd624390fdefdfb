"""`benchmark tune`."""

from __future__ import annotations

import functools
from pathlib import Path

from filelock import FileLock

from ..errors import UsageError
from ..protocol.request import Plan
from ..protocol.tuning import asked, choice_table, choose, tune_command, write_choice
from ..report.write import Folder
from ..spec import waves
from ..store import Store
from ..training.driver import Driver
from .console import RESULTS, Files, Words, device_of, out, plan_table, say_written


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
    Writes tuning.csv and tuned.toml: the choice, which run uses and which replaces the earlier one of the same methods. It lies
    beside tuning.csv, or in the folder of the preset whose tuned settings this one takes (tuned = NAME in its file).

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
        write the choice into the package, to benchmark/protocol/presets/tuned/, for all who use it; tuned.toml is renewed where it exists
    dry_run
        print the plan and stop
    """
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
    where = device_of(device) if missing or device else None
    if dry_run:
        if where is not None:
            driver.rehearse(missing, where)
        out.print(plan_table(waves(missing)))
        return 0
    failures = 0
    if missing and where is not None:
        failures = driver.run(missing, where, checkpoint_every=checkpoint_every, yes=True)
    defaults = {spec.id for spec in specs_of(variants=lambda entry: [{}])}
    ids = {spec.id for spec in students}
    words = {**plan.source, "--preset": plan.preset.name, "--methods": methods, "--dims": dims}
    command = tune_command({**words, "--seed": seed or None, "--steps": steps, **option, "--set": set})
    # Two commands that choose at once would each write without the other's choice.
    with FileLock(store.folder / ".lock"):
        choice = choose([record for record in store if record.id in ids], candidates, students, defaults)
        out.print(choice_table(choice, candidates))
        if not measure_only:
            # Settings among the results have the last word: what they say of these methods is renewed as well.
            paths = [path, plan.tuned.own] if publish and plan.tuned.own.exists() else [path]
            for line in dict.fromkeys(line for path in paths for line in write_choice(path, choice, command)):
                out.print(line, markup=False, soft_wrap=True)
            say_written(paths)
        say_written(Folder.read(plan.folder).write())  # which says whose settings are the tuned ones
    return 1 if failures else 0
