"""Measure what the networks of finished runs cost on this machine.

A time is the fastest of repetitions: what else runs on the machine only ever makes one slower. That it was busy shows in how far their
median is above the fastest, and in how long this process had to wait for the CPU: where two threads wait for each other, all
repetitions are slow alike.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..errors import BenchmarkError
from ..machine import set_threads
from ..networks.encoder import Headless, Network, Shipped, encoder
from ..networks.onnx import Session, runtime_version, write_onnx
from ..record import Record
from ..spec import Spec
from ..timing import repeated
from ..training.context import environment
from ..training.loop import autocast, seeded
from . import Costs, NetworkCost, RuntimeCost, SearchCost, network_key, paid

BATCH = 64
FEWEST, MOST, ENOUGH = 5, 50, 0.3  # repetitions of one measurement, and seconds of them
# Of a machine that is not busy: the largest spread of repetitions, and the least share of their time that they were on the CPU.
QUIET, SERVED = 0.25, 0.8
ATTEMPTS, PATIENCE = 5, 20.0  # series of repetitions, and seconds after which no further one begins, while it is busy


class Fastest(NamedTuple):
    """The fastest of repetitions, in seconds."""

    seconds: float
    spread: float  # of the last series: its median over the fastest of all, less 1
    busy: bool


def measure_costs(
    records: Iterable[Record],
    device: torch.device,
    known: Costs | None = None,
    say: Callable[[str], None] = lambda line: None,
    onnxruntime: bool = False,
) -> Costs:
    """Measure all networks and searches of some records.

    What `known` has of the same machine and versions is measured again only where the machine was busy. What cannot be built here is
    left out.

    Args:
        say: hears what is left out, and what was measured on a busy machine.
        onnxruntime: measure networks as ONNX files as well, and with one thread.

    Raises:
        BenchmarkError: that is asked for and not installed.
    """
    here = environment(device)
    if onnxruntime:
        here = here | {"onnxruntime": runtime_version()}
    jobs: dict[tuple[Any, ...], tuple[str, Callable[[], Any]]] = {}
    for record in records:
        for spec in (spec for spec in paid(record.spec) if not spec.reads_vectors):
            title = f"{spec.backbone}-{spec.dim} on images of {spec.image} px"
            jobs[network_key(spec)] = title, partial(network_cost, spec, device, onnxruntime, say)
        dim, gallery = record.spec.dim, record.evaluation.gallery
        jobs[gallery, dim] = f"search among {gallery:,} vectors of {dim}", partial(search_cost, dim, gallery)
    costs: dict[tuple[Any, ...], Any] = {}
    if known is not None and all(known.environment.get(name) == here[name] for name in ("device", "threads", "torch")):
        costs = {cost.key: cost for cost in known.networks} | {cost.key: cost for cost in known.searches}
    with seeded(0):
        for key, (title, measure) in jobs.items():
            if key in costs and not costs[key].busy:
                continue
            try:
                costs[key] = measure()
            except (BenchmarkError, RuntimeError, MemoryError, OverflowError, TypeError) as error:
                why = (str(error) or "no memory").splitlines()[0]
                say(f"{title}: not measured, since it cannot be built: {why}")
    if busy := sum(cost.busy for cost in costs.values()):
        of = f"{busy} of {len(costs)}"
        say(f"{of} measured while the machine was busy; they are marked, and the next run measures them again")
    networks, searches = (
        tuple(sorted((cost for cost in costs.values() if isinstance(cost, kind)), key=attrgetter("key")))
        for kind in (NetworkCost, SearchCost)
    )
    if known is not None and not onnxruntime and "onnxruntime" in known.environment:
        here = here | {"onnxruntime": known.environment["onnxruntime"]}
    return Costs(environment=here, batch=BATCH, networks=networks, searches=searches)


def network_cost(
    spec: Spec, device: torch.device, onnxruntime: bool = False, say: Callable[[str], None] = lambda line: None
) -> NetworkCost:
    """Measure trunk and head of a run on images of its size, of frozen features the trunk, with random weights, which cost the same
    arithmetic; as an ONNX file as well where that is asked for and can be written."""
    head = {"normalize": spec.normalize, "hidden": spec.hidden}
    scratch = encoder(spec.backbone, spec.dim, pretrained=False, image=spec.image, **head)
    images = torch.randint(0, 256, (BATCH, spec.image, spec.image, 3), dtype=torch.uint8).to(device)
    names = "backbone", "dim", "hidden", "head", "image", "precision"
    fields: dict[str, Any] = dict(zip(names, network_key(spec), strict=True))
    assert scratch.trunk is not None
    network: Network = scratch if fields["head"] else Headless(scratch.trunk)
    network.to(device).eval()

    def embed(rows: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(spec, device):
            output = network(rows).embedding
        return output.cpu()  # waits for the device

    with FlopCounterMode(display=False) as counter:
        embed(images[:1])
    fields |= _timed(embed, images)
    fields |= {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }
    if onnxruntime:
        try:
            fields["runtimes"] = runtime_costs(network.cpu(), images.cpu())
        except BenchmarkError as error:
            say(f"{spec.backbone}: not measured by onnxruntime: {error}")
    return NetworkCost(**fields)


def _timed(run: Callable[[Any], object], rows: Any) -> dict[str, Any]:
    """Time the first row, and all rows as a batch."""
    alone, batch = fastest(partial(run, rows[:1])), fastest(partial(run, rows))
    spread, busy = max(alone.spread, batch.spread), alone.busy or batch.busy
    return {"latency": alone.seconds, "throughput": len(rows) / batch.seconds, "spread": spread, "busy": busy}


def runtime_costs(network: Network, images: Tensor) -> tuple[RuntimeCost, ...]:
    """Measure a network on images uint8 [BATCH, size, size, 3] by torch with one thread, by onnxruntime with one and with all."""
    whole, threads = Shipped(network, images.shape[1], images.shape[1]).eval(), torch.get_num_threads()
    rows = images.numpy()

    def embed(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return whole(torch.from_numpy(rows)).numpy()

    with tempfile.TemporaryDirectory() as folder:
        write_onnx(whole, "images", images[:2], path := Path(folder, "model.onnx"))
        by_onnx = [
            RuntimeCost(runtime="onnxruntime", threads=count, **_timed(Session(path, count), rows))
            for count in sorted({1, threads})
        ]
    try:
        set_threads(1)
        return RuntimeCost(runtime="torch", threads=1, **_timed(embed, rows)), *by_onnx
    finally:
        set_threads(threads)


def search_cost(dim: int, gallery: int) -> SearchCost:
    """Search random unit vectors: exact search takes the same time for any."""
    rows = np.random.default_rng(0).standard_normal((gallery, dim), np.float32)
    index = faiss.IndexFlatL2(dim)
    index.add(rows)
    query = np.ascontiguousarray(rows[:BATCH])
    seconds, spread, busy = fastest(lambda: index.search(query, 10))
    return SearchCost(dim=dim, gallery=gallery, seconds=seconds / len(query), spread=spread, busy=busy)


def fastest(function: Callable[[], object]) -> Fastest:
    """Time a function by the fastest of its repetitions; of a few series of them while the machine is busy."""
    best, begun = math.inf, time.perf_counter()
    for _ in range(ATTEMPTS):
        times = repeated(function, FEWEST, MOST, ENOUGH)
        best = min(best, *times.seconds)
        spread = times.typical / best - 1
        result = Fastest(best, spread, spread > QUIET or times.served < SERVED)
        if not result.busy or time.perf_counter() - begun > PATIENCE:
            break
    return result
