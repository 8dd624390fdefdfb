"""A grid of students: the plain loop, one run after the other, beside ours in lockstep, and what each part of a step costs."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from ..data.batches import Batches
from ..machine import keep_memory
from ..methods import entry, load
from ..methods.base import Batch
from ..networks.encoder import Encoder, encoder, trunk
from ..spec import Spec
from ..training.loop import Drawn, fit
from ..training.progress import Reporter
from ..training.student import Student, autocast, optimizer, seeded
from .loss import plain as plain_angle_loss
from .measure import Times, apart, peak_memory, repeated, watch_memory

CPU = torch.device("cpu")


class Grid(NamedTuple):
    """What is trained: students of one stream by RKD-DA, on random pixels."""

    students: int = 8
    batch: int = 64
    dim: int = 64
    backbone: str = "resnet18"
    teacher: str = "resnet50"
    teacher_dim: int = 512
    image: int = 112  # pixels a side
    decoded: int = 128  # pixels a side of what crops are cut from
    precision: str = "bf16"  # of lockstep and the bare passes; the plain loop has float32
    steps: int = 5  # measured, after a first one

    def specs(self) -> list[Spec]:
        """Students, which differ in their learning rate alone."""
        method = entry("rkd-da")
        shared: dict[str, Any] = {
            "dataset": "cars",
            "pretrained": False,
            "precision": self.precision,
            "image": self.image,
            "resize": self.decoded,
            "batch": self.batch,
            "optimizer": "adam",
        }
        teacher = Spec(method="triplet", backbone=self.teacher, dim=self.teacher_dim, steps=1, **shared)
        student = Spec(
            method=method.name,
            params=method.defaults,
            teacher=teacher,
            backbone=self.backbone,
            dim=self.dim,
            normalize=method.normalize,
            steps=self.steps + 1,
            **shared,
        )
        return [student.replace(lr=1e-4 * (1 + number / 100)) for number in range(self.students)]

    def batches(self) -> Batches:
        """Of decoded images in memory, four a class."""
        count = max(1024, 2 * self.batch)
        images = np.random.default_rng(0).integers(0, 256, (count, self.decoded, self.decoded, 3), np.uint8)
        return Batches(images, np.arange(count) // 4, self.specs()[0].stream)


GRID = Grid()


class Head(nn.Linear):
    """A linear layer on pooled features, and the l2 norm."""

    def __init__(self, pooled: int, dim: int, *, normalize: bool) -> None:
        super().__init__(pooled, dim)
        self.normalize = normalize

    def forward(self, pooled: Tensor) -> Tensor:
        embedding = super().forward(pooled)
        return F.normalize(embedding) if self.normalize else embedding


def plain_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 7 as it is usually written: distances from a product of matrices, with an epsilon under the root."""

    def found(x: Tensor) -> Tensor:
        squares = x.square().sum(1)
        d = (squares[:, None] + squares[None, :] - 2 * x @ x.T).clamp(min=1e-12).sqrt()
        d = d * (1 - torch.eye(len(x), dtype=x.dtype))
        return d / d[d > 0].mean()

    with torch.no_grad():
        target = found(teacher)
    return F.smooth_l1_loss(found(student), target)


def plain(grid: Grid) -> dict[str, Times]:
    """The loop that people write, for one student: NCHW, float32, the published formulas. Its teacher, and all of a step."""
    before = watch_memory()
    teacher_trunk, student_trunk = trunk(grid.teacher, pretrained=False), trunk(grid.backbone, pretrained=False)
    teacher_head = Head(teacher_trunk.pooled, grid.teacher_dim, normalize=True)
    student_head = Head(student_trunk.pooled, grid.dim, normalize=False)
    teacher_trunk.eval()
    adam = torch.optim.Adam([*student_trunk.parameters(), *student_head.parameters()], lr=1e-4)
    draw = grid.batches()
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (student_trunk.mean, student_trunk.std))

    def teach(x: Tensor) -> Tensor:
        with torch.no_grad():
            return teacher_head(teacher_trunk.stages(x)[0])

    timed_teach = Timed(teach)

    def step(number: int) -> None:
        images, _, _ = draw(number)
        x = ((torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std).contiguous()
        theirs = timed_teach(x)
        mine = student_head(student_trunk.stages(x)[0])
        loss = plain_distance_loss(mine, theirs) + 2 * plain_angle_loss(mine, theirs)
        adam.zero_grad()
        loss.backward()
        adam.step()

    timed_step = Timed(step)
    for number in range(grid.steps + 1):
        timed_step(number)
    peak = peak_memory() - before
    return {"teacher": timed_teach.times(peak), "all": timed_step.times(peak)}


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
        return Times(tuple(self.seconds[1:]), peak)


def networks(grid: Grid) -> tuple[Encoder, list[Student]]:
    """A teacher and students at step 0."""
    with seeded(0):
        teacher = encoder(grid.teacher, grid.teacher_dim, pretrained=False).eval()
        students = []
        for spec in grid.specs():
            network = encoder(spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize)
            method = load(spec.method)(network.widths, teacher.widths, 2, **spec.params)
            students.append(Student(spec, network, method, optimizer(spec, network, method)))
    return teacher, students


def lockstep(grid: Grid) -> dict[str, Times]:
    """The loop of the suite, data included: its parts, and all of a step."""
    keep_memory()
    before = watch_memory()
    teacher, students = networks(grid)
    data, taught = Timed(grid.batches()), Timed(teacher.forward)
    updates = [Timed(student.optimizer.step) for student in students]
    teacher.forward = taught  # type: ignore[method-assign]
    for student, update in zip(students, updates, strict=True):
        student.optimizer.step = update  # type: ignore[method-assign]

    def draw(step: int) -> Drawn:
        images, labels, index = data(step)
        return Drawn(lambda spec: images, labels, index)

    ends: list[float] = []
    peak = 0

    with TemporaryDirectory() as checkpoints, Reporter(Console(file=io.StringIO())) as reporter:
        logged = Timed(reporter.group([student.spec for student in students]))

        def watch(step: int, losses: Mapping[str, float]) -> None:
            nonlocal peak
            logged(step, losses)
            ends.append(time.perf_counter())
            peak = peak_memory() - before  # a checkpoint is written behind the last step

        failed = fit(
            students,
            {spec.teacher.id: teacher for spec in grid.specs() if spec.teacher is not None},
            draw,
            lambda spec: Path(checkpoints) / spec.id,
            device=CPU,
            every=math.inf,
            watch=watch,
        )
    for error in failed.values():
        raise error
    together = tuple(sum(update.seconds[step] for update in updates) for step in range(1, grid.steps + 1))
    return {
        "data": data.times(),
        "teacher": taught.times(),
        "optimisers": Times(together),
        "logging": logged.times(),
        "all": Times(tuple(np.diff(ends).tolist()), peak),
    }


def bare(grid: Grid) -> dict[str, Times]:
    """The limit: a teacher's and a student's passes on a ready tensor; and the loss by itself, its teacher's side at hand."""
    keep_memory()
    teacher, (student, *_) = networks(grid)
    images, labels, index = (torch.from_numpy(array) for array in grid.batches()(0))
    shared: dict[str, Any] = {}

    @torch.no_grad()
    def teach() -> Any:
        with autocast(student.spec, CPU):
            return teacher(images)

    def embed() -> Any:
        with autocast(student.spec, CPU):
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

    return {
        "teacher": repeated(teach, grid.steps),
        "student": repeated(step, grid.steps),
        "loss": repeated(loss, grid.steps),
    }


def table() -> list[dict[str, Any]]:
    """Seconds of a step of the whole grid, by each way and by part; what the plain loop takes in units of it, and it in bare passes."""
    theirs, ours, limit = (apart(way, GRID) for way in (plain, lockstep, bare))
    n = GRID.students
    one_by_one = n * theirs["all"].typical
    passes = limit["teacher"].typical + n * limit["student"].typical
    found: list[tuple[str, float, Times, bool]] = [
        (f"plain loop, {n} students one after the other: {n} times one", one_by_one, theirs["all"], True),
        (f"lockstep, {n} students", ours["all"].typical, ours["all"], True),
        ("bare passes of the same networks", passes, limit["student"], False),
        ("of the plain loop: teacher", n * theirs["teacher"].typical, theirs["teacher"], False),
        ("of lockstep: data", ours["data"].typical, ours["data"], False),
        ("of lockstep: teacher", ours["teacher"].typical, ours["teacher"], False),
        ("of lockstep: losses, by themselves", n * limit["loss"].typical, limit["loss"], False),
        ("of lockstep: optimisers", ours["optimisers"].typical, ours["optimisers"], False),
        ("of lockstep: logging", ours["logging"].typical, ours["logging"], False),
    ]
    return [
        {
            "what": what,
            "seconds": seconds,
            "spread": times.spread,
            "plain / this": one_by_one / seconds,
            "this / bare": seconds / passes,
            **({"memory [MB]": times.peak / 1e6} if with_memory else {}),
        }
        for what, seconds, times, with_memory in found
    ]
