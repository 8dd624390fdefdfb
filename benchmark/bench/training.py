"""A grid of students: the plain loop, one run after the other, beside ours in lockstep."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.batches import Batches
from ..machine import keep_memory
from ..methods import entry, load
from ..networks.encoder import Encoder, encoder
from ..networks.trunks import trunk
from ..spec import Spec
from ..timing import Times, repeated
from ..training.loop import Drawn, fit
from ..training.student import Student, optimizer, seeded
from .loss import plain_angle_loss, plain_distance_loss
from .measure import apart, peak_memory, watch_memory

CPU = torch.device("cpu")
STUDENTS = 8  # which differ in their learning rate alone
SHARED: dict[str, Any] = {
    "dataset": "cars",
    "pretrained": False,
    "precision": "bf16",  # of lockstep; the plain loop has float32
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


def plain_loop(spec: Spec, teacher: Spec) -> Times:
    """Time a step of the loop that people write, for one student: NCHW, float32, the published formulas."""
    before = watch_memory()
    teacher_trunk, student_trunk = (trunk(each.backbone, pretrained=False) for each in (teacher, spec))
    teacher_trunk.eval()
    teacher_head, student_head = nn.Linear(teacher_trunk.pooled, teacher.dim), nn.Linear(student_trunk.pooled, spec.dim)
    adam = torch.optim.Adam([*student_trunk.parameters(), *student_head.parameters()], lr=spec.lr)
    draw, numbers = batches_of(spec), itertools.count()
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (student_trunk.mean, student_trunk.std))

    def step() -> None:
        images, _, _ = draw(next(numbers))
        x = ((torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std).contiguous()
        with torch.no_grad():
            target = F.normalize(teacher_head(teacher_trunk.stages(x)[0]))
        embedding = student_head(student_trunk.stages(x)[0])
        loss = plain_distance_loss(embedding, target) + 2 * plain_angle_loss(embedding, target)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return repeated(step, most=spec.steps - 1)._replace(peak=peak_memory() - before)


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


def lockstep_loop(spec: Spec, teacher: Spec, n: int) -> Times:
    """Time a step of the suite's loop for n students, data included."""
    keep_memory()
    before = watch_memory()
    teaching, students = students_of(spec, teacher, n)
    data = batches_of(spec)
    ends: list[float] = []
    peaks: list[int] = []

    def draw(step: int) -> Drawn:
        images, labels, index = data(step)
        return Drawn(lambda own: images, labels, index)

    def watch(step: int, losses: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())
        peaks.append(peak_memory() - before)  # here: a checkpoint is written behind the last step

    with TemporaryDirectory() as checkpoints:
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
    return Times(tuple(np.diff(ends).tolist()), peak=peaks[-1])


def training_rows() -> list[dict[str, Any]]:
    """Seconds and memory of a step of the whole grid by each way, and how much faster ours is."""
    n, usual = STUDENTS, apart(plain_loop, STUDENT, TEACHER)
    lockstep = apart(lockstep_loop, STUDENT, TEACHER, n)
    rows = [
        (f"plain loop, {n} students one after the other: {n} times one", n * usual.typical, usual),
        (f"lockstep, {n} students", lockstep.typical, lockstep),
    ]
    return [
        {
            "what": what,
            "seconds": seconds,
            "spread": times.spread,
            "plain / this": n * usual.typical / seconds,
            "memory [MB]": times.peak / 1e6,
        }
        for what, seconds, times in rows
    ]
