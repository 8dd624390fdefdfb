"""On a Slurm cluster whose nodes share the folders of data and results, by submitit: one job array a wave, a job a part.

A job that meets its time limit, or is preempted, goes into the queue again and on from its checkpoint; that is submitit's affair.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import submitit
import torch
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError, UncompletedJobError

from ...errors import BenchmarkError, UsageError
from ...protocol.request import Shared
from ..group import Failure, Outcome
from ..loop import Interrupted, stoppable
from ..streams import compute_features
from ..worker import Parcel, packed, perform
from . import Executor, Group, Task

POLL = 0.5  # seconds
ENDING = 120.0  # seconds that jobs have to write their checkpoints
DAY = 24 * 60  # minutes that a job may take where the user says nothing
SHORT = {"cpus": "cpus_per_task", "gpus": "gpus_per_node", "name": "job_name"}
CLUSTERS = ("slurm", "local", "debug")


class _Checked(submitit.SlurmExecutor):
    """Looks at parameters where there is no Slurm."""

    @classmethod
    def affinity(cls) -> int:
        return 1


def _parameters(request: Shared, device: torch.device) -> tuple[str, dict[str, Any]]:
    """The kind of cluster, and the parameters of its jobs. Raises a UsageError where one is unknown or has no such value."""
    given: dict[str, Any] = {"time": DAY, "job_name": "benchmark", "cpus_per_task": 1}
    if device.type == "cuda":
        given["gpus_per_node"] = 1
    for word in request.slurm:
        key, sign, value = word.partition("=")
        if not (key and sign and value):
            raise UsageError(f"--slurm {word}: write KEY=VALUE, such as partition=gpu")
        given[SHORT.get(key, key)] = int(value) if value.isdecimal() else value
    cluster = given.pop("cluster", CLUSTERS[0])
    if cluster not in CLUSTERS:
        raise UsageError(f"--slurm cluster={cluster}: write {', '.join(CLUSTERS)}")
    try:
        _Checked("jobs").update_parameters(**given)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--slurm: {str(error).splitlines()[0]}") from None
    return cluster, given


def _workers(request: Shared, device: torch.device, groups: Sequence[Group]) -> int:
    """So many as the queue takes at a time; without a word on that, a group each."""
    return int(_parameters(request, device)[1].get("array_parallelism", len(groups)))


@dataclass(frozen=True)
class _Job:
    """A part in a job; what it says goes to a file, a line each."""

    parcel: Parcel
    part: Group
    said: Path

    def __call__(self) -> list[Outcome]:
        with self.said.open("a") as file:

            def say(kind: str, content: tuple[object, ...]) -> None:
                print(json.dumps([kind, content]), file=file, flush=True)

            return perform(self.parcel, self.part, say)

    def checkpoint(self) -> DelayedSubmission:
        """The same again: each run goes on from what it has written."""
        return DelayedSubmission(self)


class _Array:
    """The jobs of a wave."""

    def __init__(self, task: Task, parcel: Parcel, parts: Sequence[Group], folder: Path) -> None:
        self._progress = task.context.progress
        self.running: dict[submitit.Job[list[Outcome]], Group] = {}
        self._heard: list[tuple[TextIO, Any]] = []
        cluster, parameters = _parameters(task.request, task.context.device)
        jobs = [_Job(parcel, part, folder / f"{number}.said") for number, part in enumerate(parts)]
        for job in jobs:
            job.said.touch()
            self._heard.append((job.said.open(), task.watch(job.part)))
        try:
            executor = submitit.AutoExecutor(folder, cluster)
            executor.update_parameters(timeout_min=DAY, **{f"slurm_{key}": value for key, value in parameters.items()})
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
        except (RuntimeError, FailedJobError, FailedSubmissionError) as error:
            raise BenchmarkError(
                f"--executor slurm: nothing could be submitted: {str(error).splitlines()[0]}"
            ) from None
        self.running = dict(zip(submitted, parts, strict=True))

    def hear(self) -> None:
        for file, watch in self._heard:
            while True:
                place = file.tell()
                if not (line := file.readline()).endswith("\n"):
                    file.seek(place)  # the rest is on its way
                    break
                kind, content = json.loads(line)
                (watch if kind == "watch" else self._progress)(*content)

    def outcomes(self, job: submitit.Job[list[Outcome]]) -> Iterator[Outcome]:
        part = self.running.pop(job)
        try:
            yield from job.result()
        except (FailedJobError, UncompletedJobError) as error:
            said = (job.stderr() or "").strip().splitlines()[-1:]
            message = f"its job ended without a result: {' '.join(said) or job.state}"
            yield from (Failure(spec, message, str(error)) for spec in part)

    def end(self) -> None:
        """Have all jobs write their checkpoints and end."""
        for job in self.running:
            job.cancel(check=False)
        deadline = time.monotonic() + ENDING
        while time.monotonic() < deadline and not all(job.done(force_check=True) for job in self.running):
            time.sleep(POLL)

    def close(self) -> None:
        for file, _ in self._heard:
            file.close()


def _run(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """Submit all parts, and wait for them. Features are computed before, by this process."""
    compute_features(groups, task.context)
    with contextlib.ExitStack() as stack:
        stop, parcel = stack.enter_context(stoppable()), stack.enter_context(packed(task))
        scratch = tempfile.TemporaryDirectory(dir=parcel.mark.parent, prefix="jobs-")
        array = _Array(task, parcel, groups, Path(stack.enter_context(scratch)))
        stack.callback(array.close)
        try:
            while array.running:
                done = [job for job in array.running if job.done()]
                array.hear()
                if stop.is_set():
                    raise Interrupted("stopped; run the same command again to go on from there")
                for job in done:
                    yield from array.outcomes(job)
                if not done:
                    time.sleep(POLL)
        except BaseException:
            array.end()
            raise


EXECUTOR = Executor(_run, _workers)
