"""A grid of students: the plain loop, one run after the other, beside ours in lockstep, and what each part of a step costs."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from ..data.batches import Batches
from ..machine import keep_memory
from ..methods import entry, load
from ..methods.base import Batch
from ..networks.encoder import Encoder, encoder
from ..networks.trunks import trunk
from ..spec import Spec
from ..timing import Times, repeated
from ..training.loop import Drawn, fit
from ..training.progress import Reporter
from ..training.student import Student, autocast, optimizer, seeded
from .loss import plain_angle_loss, plain_distance_loss
from .measure import apart, peak_memory, watch_memory

CPU = torch.device("cpu")


STUDENTS = 8  # which differ in their learning rate alone
SHARED: dict[str, Any] = {
    "dataset": "cars",
    "pretrained": False,
    "precision": "bf16",  # of lockstep and the bare passes; the plain loop has float32
    "image": 112,
    "resize": 128,
    "batch": 64,
}
TEACHER = Spec(method="triplet", backbone="resnet50", dim=512, steps=1, **SHARED)
STUDENT = Spec(
    method="rkd-da",
    params=entry("rkd-da").defaults,
    normalize=entry("rkd-da").normalize,
    teacher=TEACHER,
    backbone="resnet18",
    dim=64,
    steps=6,  # of which the first is not measured
    **SHARED,
)


def batches_of(spec: Spec) -> Batches:
    """Batches of random images in memory, four a class."""
    count = max(1024, 2 * spec.batch)
    images = np.random.default_rng(0).integers(0, 256, (count, spec.resize, spec.resize, 3), np.uint8)
    return Batches(images, np.arange(count) // 4, spec.stream)


class Timed:
    """A function that notes how long each call takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds: list[float] = []

    def __call__(self, *args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = self.function(*args, **named)
        self.seconds.append(time.perf_counter() - started)
        return result

    def times(self, peak: int = 0) -> Times:
        return Times(tuple(self.seconds[1:]), peak=peak)


def plain_loop(spec: Spec, teacher: Spec) -> dict[str, Times]:
    """The loop that people write, for one student: NCHW, float32, the published formulas. Its teacher, and all of a step."""
    before = watch_memory()
    teacher_trunk, student_trunk = (trunk(each.backbone, pretrained=False) for each in (teacher, spec))
    teacher_trunk.eval()
    teacher_head, student_head = nn.Linear(teacher_trunk.pooled, teacher.dim), nn.Linear(student_trunk.pooled, spec.dim)
    adam = torch.optim.Adam([*student_trunk.parameters(), *student_head.parameters()], lr=spec.lr)
    draw = batches_of(spec)
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (student_trunk.mean, student_trunk.std))

    @Timed
    @torch.no_grad()
    def teach(x: Tensor) -> Tensor:
        return F.normalize(teacher_head(teacher_trunk.stages(x)[0]))

    @Timed
    def step(number: int) -> None:
        images, _, _ = draw(number)
        x = ((torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std).contiguous()
        target = teach(x)
        embedding = student_head(student_trunk.stages(x)[0])
        loss = plain_distance_loss(embedding, target) + 2 * plain_angle_loss(embedding, target)
        adam.zero_grad()
        loss.backward()
        adam.step()

    for number in range(spec.steps):
        step(number)
    return {"teacher": teach.times(), "all": step.times(peak_memory() - before)}


def students_of(spec: Spec, teacher: Spec, n: int) -> tuple[Encoder, list[Student]]:
    """A teacher and n students at step 0."""
    students = []
    with seeded(0):
        teaching = encoder(teacher.backbone, teacher.dim, pretrained=False).eval()
        for number in range(n):
            own = spec.replace(lr=spec.lr * (1 + number / 100))
            network = encoder(spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize)
            method = load(spec.method)(network.widths, teaching.widths, 2, **spec.params)
            students.append(Student(own, network, method, optimizer(own, network, method)))
    return teaching, students


def lockstep_loop(spec: Spec, teacher: Spec, n: int) -> dict[str, Times]:
    """The loop of the suite for n students, data included: its parts, and all of a step."""
    keep_memory()
    before = watch_memory()
    teaching, students = students_of(spec, teacher, n)
    data, taught = Timed(batches_of(spec)), Timed(teaching.forward)
    updates = [Timed(student.optimizer.step) for student in students]
    teaching.forward = taught  # type: ignore[method-assign]
    for student, update in zip(students, updates, strict=True):
        student.optimizer.step = update  # type: ignore[method-assign]

    def draw(step: int) -> Drawn:
        images, labels, index = data(step)
        return Drawn(lambda own: images, labels, index)

    ends: list[float] = []
    peaks: list[int] = []

    with TemporaryDirectory() as checkpoints, Reporter(Console(file=io.StringIO())) as reporter:
        logged = Timed(reporter.group([student.spec for student in students]))

        def watch(step: int, losses: Mapping[str, float]) -> None:
            logged(step, losses)
            ends.append(time.perf_counter())
            peaks.append(peak_memory() - before)  # here: a checkpoint is written behind the last step

        failed = fit(
            students,
            {teacher.id: teaching},
            draw,
            lambda own: Path(checkpoints) / own.id,
            device=CPU,
            every=math.inf,
            watch=watch,
        )
    for error in failed.values():
        raise error
    together = zip(*(update.seconds[1:] for update in updates), strict=True)
    return {
        "data": data.times(),
        "teacher": taught.times(),
        "optimisers": Times(tuple(map(sum, together))),
        "logging": logged.times(),
        "all": Times(tuple(np.diff(ends).tolist()), peak=peaks[-1]),
    }


def bare_passes(spec: Spec, teacher: Spec) -> dict[str, Times]:
    """The limit: a teacher's and a student's passes on a ready tensor; and the loss by itself, its teacher's side at hand."""
    keep_memory()
    teaching, (student,) = students_of(spec, teacher, 1)
    images, labels, index = (torch.from_numpy(array) for array in batches_of(spec)(0))
    shared: dict[str, Any] = {}

    @torch.no_grad()
    def teach() -> Any:
        with autocast(spec, CPU):
            return teaching(images)

    def embed() -> Any:
        with autocast(spec, CPU):
            return student.encoder(images)

    def step() -> None:
        student.encoder.zero_grad(set_to_none=True)
        embed().embedding.sum().backward()

    seen = teach()
    with torch.no_grad():
        ready = embed()

    def loss() -> None:
        embedding = ready.embedding.clone().requires_grad_()
        student.method(Batch(ready._replace(embedding=embedding), seen, labels, index, 0.0, shared)).backward()

    parts: dict[str, Callable[[], object]] = {"teacher": teach, "student": step, "loss": loss}
    return {name: repeated(part, most=spec.steps - 1) for name, part in parts.items()}


def training_rows() -> list[dict[str, Any]]:
    """Seconds of a step of the whole grid, by each way and by part; what the plain loop takes in units of it, and it in bare passes."""
    usual, limit = (apart(way, STUDENT, TEACHER) for way in (plain_loop, bare_passes))
    lockstepped, n = apart(lockstep_loop, STUDENT, TEACHER, STUDENTS), STUDENTS
    one_by_one = n * usual["all"].typical
    passes = limit["teacher"].typical + n * limit["student"].typical
    rows = [
        (f"plain loop, {n} students one after the other: {n} times one", one_by_one, usual["all"]),
        (f"lockstep, {n} students", lockstepped["all"].typical, lockstepped["all"]),
        ("bare passes of the same networks", passes, limit["student"]),
        ("of the plain loop: teacher", n * usual["teacher"].typical, usual["teacher"]),
        *((f"of lockstep: {part}", lockstepped[part].typical, lockstepped[part]) for part in ("data", "teacher")),
        ("of lockstep: losses, by themselves", n * limit["loss"].typical, limit["loss"]),
        *((f"of lockstep: {part}", lockstepped[part].typical, lockstepped[part]) for part in ("optimisers", "logging")),
    ]
    return [
        {
            "what": what,
            "seconds": seconds,
            "spread": times.spread,
            "plain / this": one_by_one / seconds,
            "this / bare": seconds / passes,
            **({"memory [MB]": times.peak / 1e6} if times.peak else {}),
        }
        for what, seconds, times in rows
    ]
