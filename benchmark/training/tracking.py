"""How students train, told to trackers while they do: one small interface, and a class for each kind of tracker."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import BenchmarkError, UsageError, unknown
from ..record import Record
from ..spec import Spec

if TYPE_CHECKING:
    from .context import RunContext
    from .group import Outcome
    from .loop import Watch


class Tracker(Protocol):
    """Is told of one student."""

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Take some numbers by name, after that many steps."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a folder; those of a run that goes on replace what they had of later steps.

    Args:
        step: the first that is told.
    """

    def __init__(self, folder: Path, spec: Spec, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard" / f"{spec.method}-{spec.id}"), purge_step=step)

    def note(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of wandb, grouped by preset: in files beside the records, which `wandb sync` sends, unless WANDB_MODE says otherwise.

    Args:
        step: the first that is told.
    """

    def __init__(self, folder: Path, spec: Spec, step: int) -> None:
        import wandb

        os.environ.setdefault("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=spec.dataset, group=folder.name, name=spec.label, id=spec.id, dir=folder, resume="allow",
            config=spec.model_dump(mode="json"), reinit="create_new", settings=wandb.Settings(silent=True),
        )  # fmt: skip

    def note(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in an experiment by data set and preset: in `mlflow.db` beside the records, unless MLFLOW_TRACKING_URI is set.

    Args:
        step: the first that is told.
    """

    def __init__(self, folder: Path, spec: Spec, step: int) -> None:
        from mlflow.tracking import MlflowClient

        name = f"{spec.dataset}/{folder.name}"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        begun = self._client.search_runs([experiment], f"tags.id = '{spec.id}'")
        run = begun[0] if begun else self._client.create_run(experiment, run_name=spec.label, tags={"id": spec.id})
        self._id = run.info.run_id
        for key, value in spec.model_dump(mode="json", exclude={"teacher", "members", "trunk"}).items():
            self._client.log_param(self._id, key, value)

    def note(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            # No name of theirs has an @.
            self._client.log_metric(self._id, name.replace("@", " at "), value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._id)


# By name: the package that it wants, if any; and what makes one from the folder of results, a run and the first step that it is told.
TRACKERS: dict[str, tuple[str, Callable[[Path, Spec, int], Tracker]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
    "mlflow": ("mlflow", MLflow),
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
        self._trackers: dict[str, Tracker] = {}
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
            if spec.id not in self._trackers:
                tracker = TRACKERS[name][1](self._context.store.folder, spec, step)
                self.callback(tracker.close)
                self._trackers[spec.id] = tracker
            self._trackers[spec.id].note(step, values)
        except Exception as error:  # each has error types of its own, as where its server does not answer
            why = next(filter(None, str(error).splitlines()), type(error).__name__)
            raise BenchmarkError(
                f"--track {name} failed: {why}; without it the runs go on from where they are"
            ) from error
