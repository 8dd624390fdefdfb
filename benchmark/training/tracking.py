"""How students train, told to trackers while they do."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BenchmarkError, UsageError, unknown
from ..record import Record
from ..spec import Spec

if TYPE_CHECKING:
    from .context import RunContext
    from .group import Outcome
    from .loop import Watch


# What takes some numbers of one student by name, after that many steps.
Note = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def tensorboard(folder: Path, spec: Spec, step: int) -> Iterator[Note]:
    """Event files in a folder; those of a run that goes on, from `step`, replace what they had of later steps."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard" / f"{spec.method}-{spec.id}"), purge_step=step) as writer:

        def note(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield note


@contextlib.contextmanager
def weights_and_biases(folder: Path, spec: Spec, step: int) -> Iterator[Note]:
    """A run of wandb, grouped by preset: in files beside the records, which `wandb sync` sends, unless WANDB_MODE says otherwise."""
    import wandb

    os.environ.setdefault("WANDB_MODE", "offline")
    run = wandb.init(
        project=spec.dataset, group=folder.name, name=spec.label, id=spec.id, dir=folder, resume="allow",
        config=spec.model_dump(mode="json"), reinit="create_new", settings=wandb.Settings(silent=True),
    )  # fmt: skip
    try:
        yield lambda step, values: run.log(dict(values), step=step)
    finally:
        run.finish()


@contextlib.contextmanager
def mlflow(folder: Path, spec: Spec, step: int) -> Iterator[Note]:
    """A run of MLflow, in an experiment by data set and preset: in `mlflow.db` beside the records, unless MLFLOW_TRACKING_URI is set."""
    from mlflow.tracking import MlflowClient

    name = f"{spec.dataset}/{folder.name}"
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db")
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    begun = client.search_runs([experiment], f"tags.id = '{spec.id}'")
    run = begun[0] if begun else client.create_run(experiment, run_name=spec.label, tags={"id": spec.id})
    for key, value in spec.model_dump(mode="json", exclude={"teacher", "members", "trunk"}).items():
        client.log_param(run.info.run_id, key, value)

    def note(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            # No name of theirs has an @.
            client.log_metric(run.info.run_id, name.replace("@", " at "), value, step=step)

    try:
        yield note
    finally:
        client.set_terminated(run.info.run_id)


# By name: the package that it wants, if any; and, from the folder of results, a run and the first step that is told, a context of a
# `Note`.
TRACKERS: dict[str, tuple[str, Callable[[Path, Spec, int], AbstractContextManager[Note]]]] = {
    "tensorboard": ("tensorboard", tensorboard),
    "wandb": ("wandb", weights_and_biases),
    "mlflow": ("mlflow", mlflow),
}


def check_tracker(name: str | None) -> None:
    """Raise a UsageError where there is no such tracker, or it is not installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    package, _ = TRACKERS[name]
    if package and importlib.util.find_spec(package) is None:
        extra = (
            "pip install 'embedding-distillation-benchmark[track]'" if name == "tensorboard" else f"pip install {name}"
        )
        raise UsageError(f"--track {name} wants {package}, which is not installed: {extra}")


class Tracked(contextlib.ExitStack):
    """The trackers of a group's students; none where none was asked for.

    Args:
        watch: what else is told the students' losses.
    """

    def __init__(self, group: Sequence[Spec], context: RunContext, watch: Watch) -> None:
        super().__init__()
        self._specs = {spec.id: spec for spec in group}
        self._context = context
        self._notes: dict[str, Note] = {}
        self._watch = watch
        self._since = 0, time.monotonic()
        self.watch = watch if context.track is None else self._told

    def _told(self, step: int, losses: Mapping[str, float]) -> None:
        from .student import is_kept, rate

        self._watch(step, losses)
        first = next(iter(self._specs.values()))
        if not is_kept(step, first.steps):
            return
        (before, then), self._since = self._since, (step, time.monotonic())
        pace = {"images a second": (step - before) * first.batch / (self._since[1] - then)} if before else {}
        for id, loss in losses.items():
            spec = self._specs[id]
            self._note(spec, step, {"loss": loss, "learning rate": spec.lr * rate(spec, step - 1), **pace})

    def end(self, outcome: Outcome) -> None:
        """Tell what came of a run."""
        if self._context.track is not None and isinstance(outcome, Record):
            self._note(outcome.spec, outcome.spec.steps, outcome.metrics)

    def _note(self, spec: Spec, step: int, values: Mapping[str, float]) -> None:
        name = self._context.track
        assert name is not None
        try:
            if spec.id not in self._notes:
                self._notes[spec.id] = self.enter_context(TRACKERS[name][1](self._context.store.folder, spec, step))
            self._notes[spec.id](step, values)
        except Exception as error:  # each has error types of its own, as where its server does not answer
            why = next(filter(None, str(error).splitlines()), type(error).__name__)
            raise BenchmarkError(
                f"--track {name} failed: {why}; without it the runs go on from where they are"
            ) from error
