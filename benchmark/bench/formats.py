"""Memory formats, precisions, threads and torch.compile: what a training step of each kind of network takes by each."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import torch

from ..machine import keep_memory
from ..networks.encoder import trunk
from ..training.loop import seeded
from .measure import Times, apart, repeated

LAYOUTS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}


class Networks(NamedTuple):
    backbones: tuple[str, ...] = ("resnet18", "resnet50", "efficientnet_lite0")
    batch: int = 64
    image: int = 112
    steps: int = 5
    compiled: str = "resnet18"


NETWORKS = Networks()


def step(
    sizes: Networks, backbone: str, layout: str, precision: str, threads: int = 0, compiled: bool = False
) -> tuple[Times, float]:
    """Forward and backward of a trunk in train mode; and the seconds from its start, in which a compiler works."""
    keep_memory()
    if threads:
        torch.set_num_threads(threads)
    with seeded(0):
        network = trunk(backbone, pretrained=False).train().to(memory_format=LAYOUTS[layout])
        x = torch.randn(sizes.batch, 3, sizes.image, sizes.image).contiguous(memory_format=LAYOUTS[layout])
    stages: Any = torch.compile(network.stages) if compiled else network.stages

    def once() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            pooled, _ = stages(x)
        pooled.float().sum().backward()

    started = time.perf_counter()
    times = repeated(once, sizes.steps)
    return times, time.perf_counter() - started


def table() -> list[dict[str, Any]]:
    """Seconds of a step, and how many times less than by the framework's defaults."""
    found = []
    for backbone in NETWORKS.backbones:
        ways = [(layout, precision) for layout in LAYOUTS for precision in ("fp32", "bf16")]
        times = {way: apart(step, NETWORKS, backbone, *way)[0] for way in ways}
        usual = times[ways[0]].typical
        found += [
            {
                "network": backbone,
                "way": ", ".join(way),
                "seconds": one.typical,
                "spread": one.spread,
                "times faster": usual / one.typical,
            }
            for way, one in times.items()
        ]
    return [*found, *_others(NETWORKS.compiled)]


def _others(backbone: str) -> list[dict[str, Any]]:
    """Threads, processes, and the compiler where this machine has one, of the fastest way of a residual network."""
    way = backbone, "channels last", "bf16"
    usual, _ = apart(step, NETWORKS, *way)
    single, _ = apart(step, NETWORKS, *way, 1)
    cores = torch.get_num_threads()
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        beside = [one.result()[0] for one in [pool.submit(step, NETWORKS, *way, 1) for _ in range(cores)]]
    seconds = [
        (f"{cores} threads", usual.typical, usual.spread),
        ("1 thread", single.typical, single.spread),
        (
            f"{cores} processes of 1 thread, a step of each",
            max(one.typical for one in beside) / cores,
            max(one.spread for one in beside),
        ),
    ]
    if shutil.which("c++") or shutil.which("g++"):
        compiled, whole = apart(step, NETWORKS, *way, 0, True)
        first = whole - sum(compiled.seconds)
        seconds.append(
            (f"torch.compile, {first:.0f} s until its first step is done", compiled.typical, compiled.spread)
        )
    return [
        {
            "network": backbone,
            "way": f"channels last, bf16, {what}",
            "seconds": one,
            "spread": spread,
            "times faster": usual.typical / one,
        }
        for what, one, spread in seconds
    ]
