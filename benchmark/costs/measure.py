"""Measure what the networks of finished runs cost on this machine.

A time is the fastest of repetitions: what else runs on the machine only ever makes one slower. That it was busy shows in how far their
median is above the fastest, and in how long this process had to wait for the CPU: where two threads wait for each other, all
repetitions are slow alike.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..errors import BenchmarkError
from ..machine import set_threads
from ..networks.encoder import Encoder, Headless, Network, Shipped, encoder
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
MEMORY = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


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

    What `known` has of the same machine and versions is measured again only where the machine was busy. What does not fit into half
    of the memory that is free is left out.

    Args:
        say: hears what is left out, and what was measured on a busy machine.
        onnxruntime: measure networks as ONNX files as well, and with one thread.

    Raises:
        BenchmarkError: that is asked for and not installed.
    """
    here, cpu = environment(device), torch.device("cpu")
    if onnxruntime:
        here = here | {"onnxruntime": runtime_version()}
    jobs: dict[tuple[Any, ...], tuple[str, Callable[[], int], torch.device, Callable[[], Any]]] = {}
    for record in records:
        for spec in (spec for spec in paid(record.spec) if not spec.reads_vectors):
            title = f"{spec.backbone}-{spec.dim} on images of {spec.image} px"
            jobs[network_key(spec)] = (
                title,
                partial(needed, spec, BATCH),
                device,
                partial(network_cost, spec, device, onnxruntime, say),
            )
        dim, gallery = record.spec.dim, record.evaluation.gallery
        size = 2 * 4 * dim * gallery  # its rows, and the index's copy of them
        title = f"search among {gallery:,} vectors of {dim}"
        jobs[gallery, dim] = title, partial(int, size), cpu, partial(search_cost, dim, gallery)
    costs: dict[tuple[Any, ...], Any] = {}
    if known is not None and all(known.environment.get(name) == here[name] for name in ("device", "threads", "torch")):
        costs = {cost.key: cost for cost in known.networks} | {cost.key: cost for cost in known.searches}
    with seeded(0):
        for key, (title, size_of, where, measure) in jobs.items():
            if (key not in costs or costs[key].busy) and _fits(title, size_of, where, say):
                costs[key] = measure()
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


def available(device: torch.device) -> int:
    """Bytes that are free on a device; where the system does not say, as many as there can be."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = re.search(r"^MemAvailable:\s*(\d+) kB", MEMORY.read_text() if MEMORY.exists() else "", re.MULTILINE)
    limit = LIMIT.read_text().strip() if LIMIT.exists() else ""
    return min(1024 * int(info[1]) if info else 2**62, int(limit) if limit.isdecimal() else 2**62)


class _Largest(TorchDispatchMode):
    """Looks for the operation with the most bytes of inputs and outputs."""

    bytes = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.bytes = max(self.bytes, _bytes(tree_leaves((args, kwargs, result))))
        return result


def _bytes(values: Iterable[object]) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def needed(spec: Spec, batch: int) -> int:
    """Bytes of a run's network on a batch of images without gradients: its weights, and its largest layer's inputs and outputs.

    It is built on torch's device `meta`, where tensors have shapes and no content.
    """
    with torch.device("meta"), torch.no_grad(), _Largest() as largest:
        network = _scratch(spec)
        network.pooled(_images(spec, batch))  # a head's outputs are small beside its weights
    return largest.bytes + _bytes(network.state_dict().values())


def _scratch(spec: Spec) -> Encoder:
    """A network with random weights, which cost the same arithmetic."""
    head = {"normalize": spec.normalize, "hidden": spec.hidden}
    return encoder(spec.backbone, spec.dim, pretrained=False, image=spec.image, **head).eval()


def _images(spec: Spec, n: int) -> Tensor:
    return torch.randint(0, 256, (n, spec.image, spec.image, 3), dtype=torch.uint8)


def network_cost(
    spec: Spec, device: torch.device, onnxruntime: bool = False, say: Callable[[str], None] = lambda line: None
) -> NetworkCost:
    """Trunk and head of a run on images of its size, of frozen features the trunk; as an ONNX file as well where that is asked for and
    can be written."""
    scratch, images = _scratch(spec), _images(spec, BATCH).to(device)
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
    alone, batch = fastest(partial(embed, images[:1])), fastest(partial(embed, images))
    return NetworkCost(
        **fields,
        spread=max(alone.spread, batch.spread),
        busy=alone.busy or batch.busy,
        parameters=sum(p.numel() for p in network.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        latency=alone.seconds,
        throughput=BATCH / batch.seconds,
        runtimes=_runtimes(network, images, spec.backbone, say) if onnxruntime else (),
    )


def _runtimes(network: Network, images: Tensor, name: str, say: Callable[[str], None]) -> tuple[RuntimeCost, ...]:
    """Measure a network as `runtime_costs` does; where it cannot be written as ONNX, say why and measure nothing."""
    try:
        return runtime_costs(network.cpu(), images.cpu())
    except BenchmarkError as error:
        say(f"{name}: not measured by onnxruntime: {error}")
        return ()


def runtime_costs(network: Network, images: Tensor) -> tuple[RuntimeCost, ...]:
    """A network on images uint8 [BATCH, size, size, 3] by torch with one thread, by onnxruntime with one and with all."""
    whole, threads = Shipped(network, images.shape[1], images.shape[1]).eval(), torch.get_num_threads()

    def embed(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return whole(torch.from_numpy(rows)).numpy()

    def cost(runtime: Literal["torch", "onnxruntime"], run: Callable[[np.ndarray], object], count: int) -> RuntimeCost:
        alone, batch = fastest(partial(run, rows[:1])), fastest(partial(run, rows))
        spread, busy = max(alone.spread, batch.spread), alone.busy or batch.busy
        times = {"latency": alone.seconds, "throughput": len(rows) / batch.seconds, "spread": spread, "busy": busy}
        return RuntimeCost(runtime=runtime, threads=count, **times)

    rows = images.numpy()
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(whole, "images", images[:2], path := Path(folder, "model.onnx"))
        by_onnx = [cost("onnxruntime", Session(path, count), count) for count in sorted({1, threads})]
    try:
        set_threads(1)
        return cost("torch", embed, 1), *by_onnx
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
