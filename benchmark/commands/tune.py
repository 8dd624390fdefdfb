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
from .console import left_to_train, out, say, say_written
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
    """Choose settings on held-out training classes: the same number of trials for every method, in lockstep, scored by MAP@R.

    Train teacher and students on most of the training classes and score on the rest: in folds if the preset's [tuning] has them, or
    once, on the last fifth. Test classes are not read. If [tuning] has by, each head or dimension has its own choice.
    Write tuning.csv, and the choice as tuned.toml. run uses the choice; it replaces earlier choices for the same methods. It is beside
    tuning.csv, or in the folder of the preset whose tuned settings this preset uses (tuned = NAME in its file).

    Parameters
    ----------
    dims
        comma-separated dimensions; the default is those of the preset's [tuning], or the preset's middle one
    seed
        the seed of all runs and of random draws
    steps
        training steps of the students, if fewer than the preset's; recorded with the choice
    grid
        KEY=VALUE,VALUE,...; repeatable; try all combinations; the default is four values of lr
    trials
        try this many settings: the preset's, and others drawn from its [search] and from the methods' own ranges;
        if the preset has a [search] and no --grid is given, the default is the number in its [tuning], or 20
    sampler
        random draws all trials beforehand; tpe draws four, then adds two at a time where the method's scores are best so far (optuna)
    measure_only
        write tuning.csv, but do not change the settings that runs use
    publish
        write the choice into the package, benchmark/protocol/presets/tuned/, for all users; an existing tuned.toml is updated too
    """
    words = None if steps is None else str(steps)
    given = gather(Request(**vars(shared), dims=dims, seeds=str(seed), steps=words), dry=dry_run)
    paths = _paths(given, publish)
    candidates, option = asked(grid, trials, seed, given.preset, sampler, given.preset.grid_of(given.card))
    while True:
        plan = resolve(given, candidates.variants)
        students = _students(plan, shared.methods)
        store = Store(plan.folder, "tuning")
        taught = {spec.teacher.id for spec in students if spec.teacher is not None}
        wanted = [spec for spec in plan.specs if spec.id in taught or spec in students]
        left, failures = left_to_train(plan, store, wanted, dry=dry_run), 0
        if left is not None:
            driver, missing, device = left
            failures = driver.run(missing, device, checkpoint_every=checkpoint_every, yes=True)
        if dry_run:
            if isinstance(candidates, GuidedTrials) and candidates.begun < candidates.trials:
                say(f"the first {candidates.begun} of {candidates.trials} trials: the others depend on scores")
            return 0
        records = [record for record in store if record.id in {spec.id for spec in students}]
        if not isinstance(candidates, GuidedTrials) or candidates.begun >= candidates.trials:
            break
        candidates = candidates.after(scored(records, candidates, students))
    defaults = {spec.id for spec in resolve(given, lambda entry: [{}]).specs}
    options = {"--plugin": tuple(Path(file).name for file in named_plugins()), **plan.data_options}
    options |= {"--preset": plan.preset.name, "--methods": shared.methods, "--dims": dims}
    command = tune_command({**options, "--seed": seed or None, "--steps": steps, **option, "--set": shared.set})
    # Two commands that choose at once would each write without the other's choice.
    with FileLock(store.folder / ".lock"):
        choice = choose(records, candidates, students, defaults, plan.preset.tuning.by)
        out.print(choice_table(choice, candidates))
        if not measure_only:
            say(*dict.fromkeys(line for path in paths for line in write_choice(path, choice, command)))
            say_written(paths)
        say_written(Folder.read(plan.folder).write())  # which says whose settings are the tuned ones
    return 1 if failures else 0


def _students(plan: Experiment, asked_for: str | None) -> list[Spec]:
    """The candidates of a plan. Raises a UsageError if there are none."""
    teachers = {spec.teacher.id for spec in plan.specs if spec.teacher is not None}
    students = [spec for spec in plan.specs if spec.steps and spec.id not in teachers]
    if not students:
        raise UsageError(f"--methods {asked_for}: nothing of it is trained, so there is nothing to tune")
    return students


def _paths(plan: Experiment, publish: bool) -> list[Path]:
    """Files to write the choice to. Settings among the results take precedence, so publishing a choice updates them too."""
    published, own, _ = plan.tuned
    if not publish:
        return [own]
    if published is None:
        raise UsageError(
            f"--publish: {plan.card.name} is no data set of the suite; its settings stay among the results"
        )
    return [published, own] if own.exists() else [published]
