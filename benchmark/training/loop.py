"""The only training loop: a group of students in lockstep, for teachers too (a group without a teacher)."""

from __future__ import annotations

import collections
import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BenchmarkError
from ..methods.base import Features
from ..networks.encoder import Network
from ..spec import Spec
from .student import Student, autocast, seeded

MOST_SAVING = 50  # checkpoints take at most a fiftieth of the time


@dataclass(frozen=True)
class Drawn:
    """The batch of a step."""

    read: Callable[[Spec], np.ndarray]  # what the network of a spec reads: uint8 [n, h, w, 3] or float16 [n, pooled]
    labels: np.ndarray  # int64 [n]
    index: np.ndarray  # int64 [n]: rows of the training set


Watch = Callable[[int, Mapping[str, float]], None]


class Interrupted(BenchmarkError):
    """Stopped by the user between two updates; checkpoints are written."""

    exit_code = 130


def fit(
    students: Sequence[Student],
    teachers: Mapping[str, Network],
    draw: Callable[[int], Drawn],
    checkpoint: Callable[[Spec], Path],
    *,
    device: torch.device,
    every: float,
    milestones: Mapping[int, Callable[[Student], Any]] | None = None,
    watch: Watch = lambda step, losses: None,
) -> dict[str, Exception]:
    """Train students of one stream to their end, step by step together.

    A step draws one batch, runs each teacher once, and then each student in turn does forward, backward and update: one student's
    activations at a time. Students may stand at different steps (a checkpoint of some, none of others): those ahead wait.

    Args:
        teachers: by spec id, frozen and in eval mode.
        checkpoint: the file of a run, which is read when present and written every `every` seconds and on interruption.
        milestones: step -> what to note in the student's curve when it has done that many steps.
        watch: called after each step with the students' losses by id.

    Returns:
        The students that failed, by id; the others go on without them.

    Raises:
        Interrupted: SIGINT or SIGTERM; all students' states are on disk.
    """
    failed: dict[str, Exception] = {}
    for student in students:
        if (path := checkpoint(student.spec)).exists():
            try:
                student.resume(path, device)
            except Exception as error:
                failed[student.spec.id] = error
    steps = students[0].spec.steps
    needs = {
        teacher: frozenset().union(
            *(s.method.reads for s in students if s.spec.teacher and s.spec.teacher.id == teacher)
        )
        for teacher in teachers
    }

    def save() -> None:
        for student in students:
            if student.spec.id not in failed:
                student.save(checkpoint(student.spec))

    with stoppable() as stop, seeded(0):
        saved = time.monotonic()
        for step in range(min(student.step for student in students), steps):
            turn = [student for student in students if student.step == step and student.spec.id not in failed]
            if not turn:
                continue
            drawn = draw(step)
            read = _read_once(drawn, device)
            labels, index = (torch.from_numpy(array).to(device) for array in (drawn.labels, drawn.index))
            seen: dict[str, Features] = {}
            shared: dict[str, dict[str, Any]] = collections.defaultdict(dict)
            for student in turn:
                if stop.is_set():
                    save()
                    raise Interrupted(
                        f"stopped at step {step} of {steps}; run the same command again to go on from there"
                    )
                teacher = student.spec.teacher
                if teacher is not None and teacher.id not in seen:
                    with torch.no_grad(), autocast(teacher, device):
                        seen[teacher.id] = teachers[teacher.id](read(teacher), needs[teacher.id])
                try:
                    student.train_step(
                        read(student.spec),
                        seen[teacher.id] if teacher else None,
                        labels,
                        index,
                        shared[teacher.id if teacher else ""],
                    )
                    if milestones and student.step in milestones:
                        student.curve.append((student.step, milestones[student.step](student)))
                except Exception as error:  # whatever one student meets, the others go on
                    traceback.clear_frames(error.__traceback__)  # which hold its activations
                    failed[student.spec.id] = error
            watch(step + 1, {student.spec.id: student.loss for student in turn})
            if time.monotonic() - saved >= every:
                started = time.monotonic()
                save()
                saved = time.monotonic()
                every = max(every, MOST_SAVING * (saved - started)) if every else every
        save()  # what comes next, evaluation, may be interrupted too
        if stop.is_set():
            raise Interrupted("stopped after the last step; run the same command again to evaluate")
    return failed


def _read_once(drawn: Drawn, device: torch.device) -> Callable[[Spec], Tensor]:
    """`drawn.read` as tensors on the device; what several networks read is moved there once."""
    moved: dict[int, Tensor] = {}

    def read(spec: Spec) -> Tensor:
        array = drawn.read(spec)
        if id(array) not in moved:
            tensor = torch.from_numpy(array).to(device)
            moved[id(array)] = tensor.float() if tensor.is_floating_point() else tensor
        return moved[id(array)]

    return read


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a request, so that no update is cut in half; a second one acts at once."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: object) -> None:
        stop.set()
        put_back()

    with contextlib.suppress(ValueError):  # not in the main thread: the caller's handlers stay
        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        put_back()
