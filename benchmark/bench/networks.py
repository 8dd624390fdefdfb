"""What the networks of finished runs cost on this machine: `costs.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

import faiss
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ..costs import Costs, NetworkCost, SearchCost, has_head, key, network_key, paid
from ..errors import UsageError
from ..networks.encoder import encoder
from ..networks.names import check_name
from ..spec import TEACHER_VECTORS, VECTORS, Spec
from ..store import Record
from ..training.context import environment
from ..training.loop import autocast, seeded

BATCH = 64
ENOUGH = 0.3  # seconds of repetitions of one measurement
FEWEST, MOST = 3, 30  # repetitions


def measure_costs(records: Iterable[Record], device: torch.device, known: Costs | None = None) -> Costs:
    """Of all networks and searches of some records. What `known` has of the same machine and versions is not measured again."""
    here = environment(device)
    if known is not None and _machine(known.environment) != _machine(here):
        known = None
    networks = {} if known is None else {network_key(one): one for one in known.networks}
    searches: dict[tuple[int, int], SearchCost | None] = {}
    if known is not None:
        searches |= {(one.dim, one.gallery): one for one in known.searches}
    wanted: dict[tuple[object, ...], Spec] = {}
    for record in records:
        for spec in paid(record.spec):
            if spec.backbone not in (VECTORS, TEACHER_VECTORS) and _known(spec.backbone):
                wanted.setdefault(key(spec), spec)
        searches.setdefault((record.spec.dim, record.evaluation.gallery), None)
    with seeded(0):
        for one, spec in wanted.items():
            if one not in networks:
                networks[one] = network_cost(spec, device)
        found = [cost or search_cost(*one) for one, cost in searches.items()]
    return Costs(
        environment=here,
        batch=BATCH,
        networks=tuple(
            sorted(
                networks.values(),
                key=lambda one: (one.backbone, one.dim, one.hidden, one.head, one.image, one.precision),
            )
        ),
        searches=tuple(sorted(found, key=lambda one: (one.gallery, one.dim))),
    )


def _known(backbone: str) -> bool:
    """Whether this version can build it: records may be older."""
    try:
        check_name(backbone)
    except UsageError:
        return False
    return True


def network_cost(spec: Spec, device: torch.device) -> NetworkCost:
    """Trunk and head of a run on images of its size; scratch weights cost the same arithmetic."""
    network = encoder(spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize, hidden=spec.hidden)
    network = network.to(device).eval()
    head = has_head(spec)

    def images(n: int) -> torch.Tensor:
        return torch.randint(0, 256, (n, spec.image, spec.image, 3), dtype=torch.uint8, device=device)

    def embed(rows: torch.Tensor) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), autocast(spec, device):
                found = network(rows).embedding if head else network.pooled(rows)[0]
            return found.cpu()  # waits for the device

        return run

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(images(1)) if head else network.pooled(images(1))
    counted = network if head or network.trunk is None else network.trunk
    return NetworkCost(
        backbone=spec.backbone,
        dim=spec.dim,
        hidden=spec.hidden,
        head=head,
        image=spec.image,
        precision=spec.precision,
        parameters=sum(p.numel() for p in counted.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        latency=seconds(embed(images(1))),
        throughput=BATCH / seconds(embed(images(BATCH))),
    )


def search_cost(dim: int, gallery: int) -> SearchCost:
    """Random unit vectors: exact search takes the same time for any."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(gallery, dim)).astype(np.float32)
    index = faiss.IndexFlatL2(dim)
    index.add(rows)
    query = np.ascontiguousarray(rows[:BATCH])
    return SearchCost(dim=dim, gallery=gallery, seconds=seconds(lambda: index.search(query, 10)) / len(query))


def seconds(function: Callable[[], object]) -> float:
    """Median of repetitions, after one that is not counted."""
    function()
    times: list[float] = []
    while len(times) < FEWEST or (sum(times) < ENOUGH and len(times) < MOST):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return median(times)


def _machine(environment: dict[str, str]) -> dict[str, str]:
    """What times depend on."""
    return {name: environment.get(name, "") for name in ("device", "threads", "torch")}
