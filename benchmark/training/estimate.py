"""How long runs will take, from a few real steps on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from .. import methods
from ..data.splits import DataSet
from ..errors import UsageError
from ..machine import cores as available_cores
from ..methods.base import Features
from ..networks.encoder import Encoder, encoder
from ..spec import Spec
from .loop import Student, autocast, optimizer, seeded

PROBE = 32  # images a measured step, at most
HEAD_STEPS = 4  # measured steps of a head


def seconds(specs: Sequence[Spec], dataset: DataSet, device: torch.device) -> float:
    """Estimated seconds to train and evaluate `specs`; decoded images and features are taken to be there.

    Of whole networks their passes are measured, of heads on features the whole step.
    """
    with seeded(0):
        heads = [spec for spec in specs if spec.views]
        return _networks([spec for spec in specs if not spec.views], dataset, device) + _heads(
            heads, len(dataset.train), device
        )


def feature_seconds(specs: Sequence[Spec], dataset: DataSet, device: torch.device) -> float:
    """Estimated seconds to compute the features that `specs` read, if none of them are there."""
    images = len(dataset.train), sum(map(len, dataset.splits))
    passes = {}
    for spec in specs:
        for reader in (spec, spec.teacher) if spec.views else ():
            if reader is not None:
                owner = (reader.trunk if reader.views else reader) or reader
                trunk = owner.backbone, owner.pretrained, owner.precision, spec.views, spec.image
                passes[trunk] = owner.replace(image=spec.image, resize=spec.resize), spec.views
    with seeded(0):
        return sum(
            (images[0] * views * (views > 1) + images[1]) * _pass(owner, device)[1] for owner, views in passes.values()
        )


def _networks(specs: Sequence[Spec], dataset: DataSet, device: torch.device) -> float:
    costs: dict[tuple[object, ...], tuple[float, float]] = {}

    def cost(spec: Spec) -> tuple[float, float]:
        key = spec.backbone, spec.dim, spec.image, spec.precision, spec.batchnorm
        if key not in costs:
            costs[key] = _pass(spec, device)
        return costs[key]

    total = 0.0
    shared: set[tuple[str, str]] = set()  # a teacher's forward passes are paid once a stream
    images = sum(map(len, dataset.splits[1:]))
    for spec in specs:
        train, forward = cost(spec)
        passes = len(spec.members) if methods.entry(spec.method).is_posthoc else 1
        total += spec.steps * spec.batch * train + images * forward * passes
        if spec.teacher is not None:
            key = (spec.teacher.id, spec.stream.model_dump_json())
            if key not in shared:
                shared.add(key)
                seen = spec.teacher.replace(image=spec.image, resize=spec.resize)
                total += spec.steps * spec.batch * cost(seen)[1]
    return total


def _pass(spec: Spec, device: torch.device) -> tuple[float, float]:
    """Seconds an image for (forward, backward and no update; forward alone)."""
    train, forward = _passes(spec, device)
    return _image_seconds(spec, train, device), _image_seconds(spec, forward, device)


def _passes(spec: Spec, device: torch.device) -> tuple[Callable[[], None], Callable[[], None]]:
    """Forward and backward, and forward alone, of at most `PROBE` images."""
    n = min(spec.batch, PROBE)
    # Scratch weights cost the same arithmetic and need no download.
    network = encoder(spec.backbone, spec.dim, pretrained=False, frozen_batchnorm=spec.batchnorm == "frozen").to(device)
    images = torch.randint(0, 256, (n, spec.image, spec.image, 3), dtype=torch.uint8, device=device)

    def train() -> None:
        network.train()
        network.zero_grad(set_to_none=True)
        with autocast(spec, device):
            embedding = network(images).embedding
        embedding.sum().backward()

    @torch.no_grad()
    def forward() -> None:
        network.eval()
        with autocast(spec, device):
            network(images).embedding.sum().item()

    return train, forward


def _image_seconds(spec: Spec, step: Callable[[], None], device: torch.device) -> float:
    """Of a pass, an image: best of two after a first one."""
    try:
        return _best(step, 2, device) / min(spec.batch, PROBE)
    except (
        AssertionError,
        RuntimeError,
        ValueError,
    ) as error:  # whatever a network says to images that it is not made for
        reason = str(error).split("\n")[0]
        raise UsageError(f"{spec.backbone} cannot be trained on images of {spec.image} px: {reason}") from error


def training_seconds(spec: Spec, device: torch.device) -> float:
    """Of a forward and backward pass, an image.

    Raises:
        UsageError: the network cannot read images of that size.
    """
    with seeded(0):
        train, _ = _passes(spec, device)
        return _image_seconds(spec, train, device)


def scratch_pass(spec: Spec, device: torch.device) -> Callable[[], None]:
    """A forward and backward pass that costs as one of `spec` does, by a network that is thrown away."""
    with seeded(0):
        train, _ = _passes(spec, device)
    return seeded(0)(train)


def check_size(spec: Spec, device: torch.device) -> None:
    """Raise a UsageError where a network cannot read images of the size that a spec asks for."""
    with seeded(0):
        _, forward = _passes(spec, device)
        _image_seconds(spec, forward, device)


def _heads(specs: Sequence[Spec], images: int, device: torch.device) -> float:
    """Of heads on features, which are spread over the cores: a step is measured on all of them at once, since they share a memory."""
    cores = available_cores() if device.type == "cpu" else 1
    costs: dict[tuple[object, ...], float] = {}
    with _threads(1 if device.type == "cpu" else torch.get_num_threads()), ThreadPoolExecutor(cores) as pool:
        for spec in specs:
            key = spec.method, spec.dim, spec.hidden, spec.backbone, spec.batch
            if spec.steps and key not in costs:
                costs[key] = max(pool.map(lambda one: _head_step(one, images, device), [spec] * cores))
    return sum(
        spec.steps * costs[spec.method, spec.dim, spec.hidden, spec.backbone, spec.batch] for spec in specs if spec.steps
    ) / cores  # fmt: skip


def _head_step(spec: Spec, images: int, device: torch.device) -> float:
    """Seconds of one step of one head, the teacher's side left out: all students of a step share it."""
    width, classes = 1280, 100  # of a usual trunk and data set; what they really are changes little
    network = Encoder(None, width, spec.dim, normalize=spec.normalize, hidden=spec.hidden).to(device)
    teacher = spec.teacher
    theirs = None
    if teacher is not None:
        theirs = Encoder(None, width, teacher.dim, normalize=teacher.normalize).to(device)
    method = methods.load(spec.method)(
        network.widths, None if theirs is None else theirs.widths, classes, **spec.params
    ).to(device)
    if theirs is not None and method.prepares:  # what it remembers of the training images is part of the cost
        shown = torch.randn(images, theirs.widths.embedding, device=device)
        method.prepare(shown, torch.randint(classes, (images,), device=device))
    student = Student(spec.replace(steps=max(spec.steps, 100)), network, method, optimizer(spec, network, method))
    inputs = torch.randn(spec.batch, width, device=device)
    labels = torch.arange(spec.batch, device=device) // spec.per_class % classes
    seen: Features | None = None
    if theirs is not None:
        with torch.no_grad():
            seen = theirs(torch.randn_like(inputs))
    shared: dict[str, object] = {}
    return _best(lambda: student.train_step(inputs, seen, labels, labels, shared), HEAD_STEPS, device)


def _best(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Seconds of the fastest of some repetitions, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def readable(duration: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if duration < 90:
        return f"{max(1, round(duration))} s"
    minutes = round(duration / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
