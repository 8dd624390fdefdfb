"""`benchmark tune`."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from ..errors import UsageError
from ..methods.plugins import named_plugins
from ..protocol.choice import choice_table, choose, scored, write_choice
from ..protocol.experiment import Experiment, gather, resolve
from ..protocol.request import Request, Shared
from ..protocol.tuning import GuidedTrials, Sampler, asked, tune_command
from ..report.write import Folder
from ..spec import Spec
from ..store import Store
from ..training.driver import Driver
from .console import out, say_written, where_to_run
from .options import AskedOfTune, CheckpointEvery, DryRun


def tune(
    *,
    shared: AskedOfTune = Shared(),  # noqa: B008  (it is frozen)
    dims: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    grid: tuple[str, ...] = (),
    trials: int | None = None,
    sampler: Sampler = "random",
    checkpoint_every: CheckpointEvery = 120.0,
    measure_only: bool = False,
    publish: bool = False,
    dry_run: DryRun = False,
) -> int:
    """Choose settings on held-out training classes: equally many tried for every method, in lockstep, scored by MAP@R.

    Trains on most of the training classes (teacher included) and scores on the rest, by the preset's [tuning] in folds, else once, on the
    last fifth; test classes are not read. Where [tuning] says by what, each head or dimension has a choice of its own.
    Writes tuning.csv and tuned.toml: the choice, which run uses and which replaces the earlier one of the same methods. It lies
    beside tuning.csv, or in the folder of the preset whose tuned settings this one takes (tuned = NAME in its file).

    Parameters
    ----------
    dims
        comma-separated; the default is what the preset's [tuning] says, or its middle one
    seed
        the one seed of all runs, and of what is drawn
    steps
        training steps of the students, when fewer than the preset's must do; recorded with the choice
    grid
        KEY=VALUE,VALUE,...; repeatable: all combinations are tried; the default is four values of lr
    trials
        try the preset's setting and others, drawn from its [search] and from the methods' own ranges, this many in all;
        where the preset has a [search] and no --grid is given, the default is its [tuning]'s, or 20
    sampler
        random draws all trials beforehand; tpe draws four, then puts two at a time where the method's scores so far are best (optuna)
    measure_only
        write tuning.csv, and leave the settings that runs use as they are
    publish
        write the choice into the package, to benchmark/protocol/presets/tuned/, for all who use it; tuned.toml is renewed where it exists
    """
    words = None if steps is None else str(steps)
    given = gather(Request(**vars(shared), dims=dims, seeds=str(seed), steps=words), dry=dry_run)
    paths = _paths(given, publish)
    candidates, option = asked(grid, trials, seed, given.preset, sampler, given.preset.grid_of(given.card))
    while True:
        plan = resolve(given, candidates.variants)
        students = _students(plan, shared.methods)
        store = Store(plan.folder, "tuning")
        failures = _train(plan, students, store, shared.device, checkpoint_every, dry=dry_run)
        if dry_run:
            if isinstance(candidates, GuidedTrials) and candidates.begun < candidates.trials:
                out.print(f"the first {candidates.begun} of {candidates.trials} trials: the others depend on scores")
            return 0
        records = [record for record in store if record.id in {spec.id for spec in students}]
        following = (
            candidates.after(scored(records, candidates, students)) if isinstance(candidates, GuidedTrials) else None
        )
        if following is None:
            break
        candidates = following
    defaults = {spec.id for spec in resolve(given, lambda entry: [{}]).specs}
    plugins = tuple(Path(file).name for file in named_plugins())
    options = {
        "--plugin": plugins,
        **plan.data_options,
        "--preset": plan.preset.name,
        "--methods": shared.methods,
        "--dims": dims,
    }
    command = tune_command({**options, "--seed": seed or None, "--steps": steps, **option, "--set": shared.set})
    # Two commands that choose at once would each write without the other's choice.
    with FileLock(store.folder / ".lock"):
        choice = choose(records, candidates, students, defaults, plan.preset.tuning.by)
        out.print(choice_table(choice, candidates))
        if not measure_only:
            for line in dict.fromkeys(line for path in paths for line in write_choice(path, choice, command)):
                out.print(line, markup=False, soft_wrap=True)
            say_written(paths)
        say_written(Folder.read(plan.folder).write())  # which says whose settings are the tuned ones
    return 1 if failures else 0


def _students(plan: Experiment, asked_for: str | None) -> list[Spec]:
    """The candidates of a plan. Raises a UsageError where there is none."""
    teachers = {spec.teacher.id for spec in plan.specs if spec.teacher is not None}
    students = [spec for spec in plan.specs if spec.steps and spec.id not in teachers]
    if not students:
        raise UsageError(f"--methods {asked_for}: nothing of it is trained, so there is nothing to tune")
    return students


def _train(
    plan: Experiment, students: list[Spec], store: Store, device: str | None, checkpoint_every: float, *, dry: bool
) -> int:
    """Train the candidates that are not done, and their teachers; how many runs failed."""
    driver = Driver(plan, store, out)
    taught = {spec.teacher.id for spec in students if spec.teacher is not None}
    missing = driver.announce([spec for spec in plan.specs if spec.id in taught or spec in students], dry=dry)
    where = where_to_run(driver, missing, device, dry=dry)
    if dry or where is None:
        return 0
    return driver.run(missing, where, checkpoint_every=checkpoint_every, yes=True)


def _paths(plan: Experiment, publish: bool) -> list[Path]:
    """Where the choice is written. Settings among the results have the last word: what they say is renewed when one is published."""
    published, own, _ = plan.tuned
    if not publish:
        return [own]
    if published is None:
        raise UsageError(
            f"--publish: {plan.card.name} is no data set of the suite; its settings stay among the results"
        )
    return [published, own] if own.exists() else [published]
