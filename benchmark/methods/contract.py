"""The contract of a method, for those whose tests are not in this suite: made-up features go in, and what comes out is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from . import entry, load
from .base import Batch, Features, Method, Widths

CLASSES, PER_CLASS = 6, 4
STUDENT, TEACHER = Widths(8, 16, (4, 6, 8, 16)), Widths(12, 20, (5, 7, 9, 20))
STAGES = (0.0, 0.3, 0.6, 0.99)  # of a run: a recipe may have several
DRAWS = 200  # over which chance is averaged
LARGEST = 1e4  # gradient between duplicates


def breaches(name: str) -> list[str]:
    """Tell what a method that trains does not keep, on streams of images and of features, a line each."""
    kept_without_maps = "maps" not in entry(name).needs
    streams: dict[str, list[str]] = {}
    for maps in (True, False) if kept_without_maps else (True,):
        for line in _breaches(name, maps):
            streams.setdefault(line, []).append("images" if maps else "features")
    return [f"on {' and '.join(where)}: {line}" for line, where in streams.items()]


def _breaches(name: str, maps: bool) -> Iterator[str]:
    method, student_reached = _built(name, maps), False
    reached = dict.fromkeys(dict(method.named_parameters()), False)
    for progress in STAGES:
        batch = _batch(maps, progress)
        loss = _loss(method, batch)
        if loss.shape != () or not torch.isfinite(loss):
            shape = f"has the shape {list(loss.shape)}: reduce it, by .mean() or .sum()"
            yield f"the loss is no finite scalar but {loss.item() if loss.shape == () else shape}"
            return
        if loss.requires_grad:
            method.zero_grad()
            loss.backward()
        gradients = _gradients(batch)
        student_reached |= any(gradient.abs().sum() > 0 for gradient in gradients)
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            yield f"a gradient is not finite at progress {progress}"
        for key, parameter in method.named_parameters():
            reached[key] |= parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    if not student_reached:
        yield "no gradient reaches the student"
    if entry(name).needs_teacher and not _listens(name, maps):
        yield f"it is declared {entry(name).kind}, and another teacher does not change the loss"
    yield from (f"its parameter {key} is never trained" for key, was in reached.items() if not was)
    if _loss(method, _batch(maps)).item() != _loss(method, _batch(maps)).item():
        yield "two calls on one batch at one seed differ: it remembers in `forward`, or draws from a generator of its own"
    for what, rows in (("duplicate rows", [1, 5]), ("a collapsed student", list(range(CLASSES * PER_CLASS)))):
        batch = _batch(maps, 0.99)
        with torch.no_grad():
            for tensor in (batch.student.embedding, batch.student.pooled, *batch.student.maps):
                tensor[rows] = tensor[0].clone()
        loss = _loss(method, batch)
        if loss.requires_grad:
            loss.backward()
        values = [loss.detach(), *_gradients(batch)]
        if (
            not all(torch.isfinite(value).all() for value in values)
            or max(value.abs().max() for value in values) > LARGEST
        ):
            yield f"of {what} loss or gradients are not finite, or larger than {LARGEST:g}"
    yield from _order(name, method, maps)


def _listens(name: str, maps: bool) -> bool:
    """Tell whether a teacher of other outputs gives another loss, at some stage of a run."""
    losses = []
    for seed in (2, 5):
        method = _built(name, maps, seed)
        losses.append([_loss(method, _batch(maps, progress, seed)).item() for progress in STAGES])
    return losses[0] != losses[1]


def _order(name: str, method: Method, maps: bool) -> Iterator[str]:
    """Tell whether the order of rows matters, and what it reads that it does not declare."""
    is_random, batch = entry(name).is_random, _batch(maps, 0.99)
    order = torch.randperm(CLASSES * PER_CLASS, generator=torch.Generator().manual_seed(3))
    assert batch.teacher is not None
    student, teacher = (
        Features(each.embedding[order], each.pooled[order], tuple(level[order] for level in each.maps))
        for each in (batch.student, batch.teacher)
    )
    shuffled = Batch(student, teacher, batch.labels[order], batch.index[order], batch.progress)
    plain, other = (
        sum(_loss(method, each, seed).item() for seed in range(DRAWS if is_random else 1)) for each in (batch, shuffled)
    )
    if abs(plain - other) > (0.05 if is_random else 1e-4) * abs(plain) + 1e-6:
        yield "the order of rows changes the loss" + (
            "" if is_random else "; if it draws at random, say is_random = True"
        )
    unlabelled = replace(_batch(maps, 0.99), labels=torch.full_like(batch.labels, -1))
    if "labels" not in entry(name).needs and _loss(method, unlabelled).item() != _loss(method, batch).item():
        yield "it reads labels, and does not say so in `needs`"


def _built(name: str, maps: bool, teacher_seed: int = 2) -> Method:
    student, teacher = (widths if maps else widths._replace(maps=()) for widths in (STUDENT, TEACHER))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        method: Method = load(name)(student, teacher, CLASSES)
        batch = _batch(maps, teacher_seed=teacher_seed)
        assert batch.teacher is not None
        method.prepare(batch.teacher.embedding, batch.labels)
    return method


def _batch(maps: bool, progress: float = 0.0, teacher_seed: int = 2) -> Batch:
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    student, teacher = _features(STUDENT, 1, 16, maps), _features(TEACHER, teacher_seed, 32, maps)
    for tensor in (student.embedding, student.pooled, *student.maps):
        tensor.requires_grad_()
    return Batch(student, teacher, labels, torch.arange(len(labels)), progress)


def _features(widths: Widths, seed: int, size: int, maps: bool) -> Features:
    generator, n = torch.Generator().manual_seed(seed), CLASSES * PER_CLASS
    rows = [torch.randn(n, width, generator=generator) for width in (widths.embedding, widths.pooled)]
    sizes = [(channels, size >> level, size >> level) for level, channels in enumerate(widths.maps if maps else ())]
    return Features(
        F.normalize(rows[0]), rows[1], tuple(torch.randn(n, *shape, generator=generator) for shape in sizes)
    )


def _loss(method: Method, batch: Batch, seed: int = 0) -> Tensor:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return method.loss(batch)


def _gradients(batch: Batch) -> list[Tensor]:
    tensors = (batch.student.embedding, batch.student.pooled, *batch.student.maps)
    return [tensor.grad for tensor in tensors if tensor.grad is not None]
