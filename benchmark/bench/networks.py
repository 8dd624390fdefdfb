"""What the networks of finished runs cost on this machine: `costs.json`.

A time is the fastest of repetitions: what else runs on the machine only ever makes one slower. That it was busy shows in how far their
median is above the fastest, and in how long this process had to wait for the CPU: where two threads wait for each other, all
repetitions are slow alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ..costs import Costs, NetworkCost, SearchCost, has_head, key, network_key, paid
from ..errors import BenchmarkError, UsageError
from ..networks.encoder import encoder
from ..networks.names import check_name
from ..provenance import environment
from ..spec import TEACHER_VECTORS, VECTORS, Spec
from ..store import Record
from ..training.student import autocast, seeded
from .memory import available, needed

BATCH = 64
ENOUGH = 0.3  # seconds of repetitions of one measurement
FEWEST, MOST = 5, 50  # repetitions
# Of a machine that is not busy: the largest spread of repetitions, and the least share of their time that they were on the CPU.
QUIET, SERVED = 0.25, 0.8
ATTEMPTS, PATIENCE = 5, 20.0  # series of repetitions, and seconds after which no further one begins, while it is busy


class Fastest(NamedTuple):
    """Of repetitions."""

    seconds: float
    spread: float  # of the last series: its median over the fastest of all, less 1
    busy: bool


def measure_costs(
    records: Iterable[Record],
    device: torch.device,
    known: Costs | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Costs:
    """Of all networks and searches of some records.

    What `known` has of the same machine and versions is measured again only where the machine was busy. What does not fit into half
    of the memory that is free is left out.

    Args:
        say: hears what is left out, and what was measured on a busy machine.
    """
    here = environment(device)
    if known is not None and _machine(known.environment) != _machine(here):
        known = None
    networks = {} if known is None else {network_key(one): one for one in known.networks}
    searches = {} if known is None else {(one.dim, one.gallery): one for one in known.searches}
    specs: dict[tuple[object, ...], Spec] = {}
    galleries = set()
    for record in records:
        for spec in paid(record.spec):
            if spec.backbone not in (VECTORS, TEACHER_VECTORS) and _known(spec.backbone):
                specs.setdefault(key(spec), spec)
        galleries.add((record.spec.dim, record.evaluation.gallery))
    with seeded(0):
        for name, spec in specs.items():
            before = networks.get(name)
            if (before is None or before.busy) and _fits(
                f"{spec.backbone}-{spec.dim} on images of {spec.image} px", partial(needed, spec, BATCH), device, say
            ):
                networks[name] = network_cost(spec, device)
        for dim, gallery in sorted(galleries):
            search = searches.get((dim, gallery))
            # Its rows, and the index's copy of them.
            size = partial(int, 2 * 4 * dim * gallery)
            title = f"search among {gallery:,} vectors of {dim}"
            if (search is None or search.busy) and _fits(title, size, torch.device("cpu"), say):
                searches[dim, gallery] = search_cost(dim, gallery)
    every = (*networks.values(), *searches.values())
    if busy := sum(one.busy for one in every):
        say(
            f"{busy} of {len(every)} measured while the machine was busy; they are marked, and the next run measures them again"
        )
    return Costs(
        environment=here,
        batch=BATCH,
        networks=tuple(
            sorted(
                networks.values(),
                key=lambda one: (one.backbone, one.dim, one.hidden, one.head, one.image, one.precision),
            )
        ),
        searches=tuple(sorted(searches.values(), key=lambda one: (one.gallery, one.dim))),
    )


def _fits(title: str, size: Callable[[], int], device: torch.device, say: Callable[[str], None]) -> bool:
    """Whether something takes no more than half of the free memory; says why not."""
    try:
        wanted, free = size(), available(device)
    except (BenchmarkError, RuntimeError, OverflowError, TypeError) as error:
        say(f"{title}: not measured, since it cannot be built: {str(error).splitlines()[0]}")
        return False
    if wanted > free // 2:
        say(
            f"{title}: not measured, since it takes {wanted / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free"
        )
    return wanted <= free // 2


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
    alone, batch = fastest(embed(images(1))), fastest(embed(images(BATCH)))
    return NetworkCost(
        spread=max(alone.spread, batch.spread),
        busy=alone.busy or batch.busy,
        backbone=spec.backbone,
        dim=spec.dim,
        hidden=spec.hidden,
        head=head,
        image=spec.image,
        precision=spec.precision,
        parameters=sum(p.numel() for p in counted.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        latency=alone.seconds,
        throughput=BATCH / batch.seconds,
    )


def search_cost(dim: int, gallery: int) -> SearchCost:
    """Random unit vectors: exact search takes the same time for any."""
    rows = np.random.default_rng(0).standard_normal((gallery, dim), np.float32)
    index = faiss.IndexFlatL2(dim)
    index.add(rows)
    query = np.ascontiguousarray(rows[:BATCH])
    found = fastest(lambda: index.search(query, 10))
    return SearchCost(
        dim=dim, gallery=gallery, seconds=found.seconds / len(query), spread=found.spread, busy=found.busy
    )


def fastest(function: Callable[[], object]) -> Fastest:
    """Of repetitions, after one that is not counted; of a few series of them where the machine is busy."""
    function()
    best, begun = math.inf, time.perf_counter()
    for _ in range(ATTEMPTS):
        times: list[float] = []
        worked = time.thread_time()
        while len(times) < FEWEST or (sum(times) < ENOUGH and len(times) < MOST):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
        best = min(best, *times)
        spread, share = median(times) / best - 1, (time.thread_time() - worked) / sum(times)
        found = Fastest(best, spread, spread > QUIET or share < SERVED)
        if not found.busy or time.perf_counter() - begun > PATIENCE:
            break
    return found


def _machine(environment: dict[str, str]) -> dict[str, str]:
    """What times depend on."""
    return {name: environment.get(name, "") for name in ("device", "threads", "torch")}
