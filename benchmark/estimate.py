"""How long runs will take, from a few real steps of their networks on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch

from .backbones import encoder as network
from .data import DataSet
from .errors import UsageError
from .spec import Spec
from .train import autocast

PROBE = 32  # images a measured step, at most


def seconds(specs: Sequence[Spec], dataset: DataSet, device: torch.device) -> float:
    """Estimated seconds to train and evaluate `specs` one group after the other; data preparation not included."""
    costs = {key: _cost(spec, device) for key, spec in _networks(specs).items()}
    total = 0.0
    shared: set[tuple[str, str]] = set()  # a teacher's forward passes are paid once a stream
    images = len(dataset.query.labels) + (len(dataset.gallery.labels) if dataset.gallery is not None else 0)
    for spec in specs:
        train, forward = costs[_network(spec)]
        total += spec.steps * spec.batch * train + images * forward
        if spec.teacher is not None:
            key = (spec.teacher.id, spec.stream.model_dump_json())
            if key not in shared:
                shared.add(key)
                total += spec.steps * spec.batch * costs[_network(_seen_by(spec))][1]
    return total


def _seen_by(spec: Spec) -> Spec:
    """The teacher at the student's image size."""
    assert spec.teacher is not None
    return spec.teacher.replace(image=spec.image, resize=spec.resize)


def _network(spec: Spec) -> tuple[object, ...]:
    return spec.backbone, spec.dim, spec.image, spec.precision, spec.batchnorm


def _networks(specs: Iterable[Spec]) -> dict[tuple[object, ...], Spec]:
    result = {}
    for spec in specs:
        result[_network(spec)] = spec
        if spec.teacher is not None:
            seen = _seen_by(spec)
            result.setdefault(_network(seen), seen)
    return result


def _cost(spec: Spec, device: torch.device) -> tuple[float, float]:
    """Seconds an image for (forward, backward and no update; forward alone): best of two after a first one."""
    n = min(spec.batch, PROBE)
    # Scratch weights cost the same arithmetic and need no download.
    encoder = network(spec.backbone, spec.dim, pretrained=False, frozen_batchnorm=spec.batchnorm == "frozen").to(device)
    images = torch.randint(0, 256, (n, spec.image, spec.image, 3), dtype=torch.uint8, device=device)

    def train() -> None:
        encoder.train()
        with autocast(spec, device):
            embedding = encoder(images).embedding
        embedding.sum().backward()

    @torch.no_grad()
    def forward() -> None:
        encoder.eval()
        with autocast(spec, device):
            encoder(images).embedding.sum().item()

    def best(step: object) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            step()  # type: ignore[operator]
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
        return min(times[1:]) / n

    try:
        return best(train), best(forward)
    except (
        AssertionError,
        RuntimeError,
        ValueError,
    ) as error:  # whatever a network says to images that it is not made for
        reason = str(error).split("\n")[0]
        raise UsageError(f"{spec.backbone} cannot be trained on images of {spec.image} px: {reason}") from error


def readable(duration: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if duration < 90:
        return f"{max(1, round(duration))} s"
    minutes = round(duration / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
