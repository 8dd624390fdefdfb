"""What a user waits for before anything is computed: the start of a command, and the report of a thousand runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..methods import catalogue
from ..spec import Spec
from ..store import Evaluation, Geometry, Record, Store

REPEATS = 5
RECORDS = 1_000
DIMS = (16, 32, 64, 128)


def table() -> list[dict[str, Any]]:
    """A row a command: seconds and peak memory of a process of its own, beside a bare Python and one that imports torch."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "cars" / "heads"
        for record in records(RECORDS):
            Store(folder).save(record)
        commands = {
            "python": ["-c", "pass"],
            "python, import torch": ["-c", "import torch"],
            "benchmark --help": ["-m", "benchmark", "--help"],
            "benchmark list methods": ["-m", "benchmark", "list", "methods"],
            f"benchmark report, {RECORDS:,} records": ["-m", "benchmark", "report", "--results", scratch],
        }
        found = {name: _measured(words) for name, words in commands.items()}
    start = found["python"][0]
    return [
        {
            "command": name,
            "seconds": seconds,
            "spread": spread,
            "times python": seconds / start,
            "memory [MB]": peak / 1e6,
        }
        for name, (seconds, spread, peak) in found.items()
    ]


def records(n: int) -> list[Record]:
    """Runs of all methods that train, at several dimensions and seeds, with made-up metrics."""
    draw = np.random.default_rng(0)
    teacher = Spec(dataset="cars", method="multi-similarity", backbone="efficientnet_lite2", dim=512, steps=500)
    methods = [entry for entry in catalogue().values() if entry.trained and not entry.same_size]
    seeds = -(-n // (len(methods) * len(DIMS)))
    specs = [
        Spec(
            dataset="cars",
            method=entry.name,
            params=entry.defaults,
            teacher=teacher if entry.needs_teacher else None,
            backbone="efficientnet_lite0",
            dim=dim,
            seed=seed,
            normalize=entry.normalize,
            views=8,
        )
        for seed in range(seeds)
        for entry in methods
        for dim in DIMS
    ]
    return [_record(spec, float(draw.uniform(0.3, 0.6))) for spec in [teacher, *specs][:n]]


def _record(spec: Spec, recall: float) -> Record:
    metrics = {"recall@1": recall, "recall@2": recall + 0.1, "map@r": recall / 3, "r_precision": recall / 2}
    return Record(
        id=spec.id,
        spec=spec,
        evaluation=Evaluation(l2=metrics, cosine=metrics, queries=8131, dropped=0, gallery=8131),
        geometry=Geometry(
            effective_dimension=spec.dim * recall, spectral_decay=recall, overlap=recall / 3, rank_correlation=recall
        ),
        loss=1.0,
        parameters=3_400_000,
        seconds={"train": 20.0, "evaluate": 0.5},
        data="made up",
        weights="",
        teacher=None,
        environment={"code": "0000000000", "device": "none"},
    )


def _measured(words: list[str]) -> tuple[float, float, int]:
    """Seconds of the fastest process, how far the median is above it, and the most bytes that one held."""
    seconds, peak = [], 0
    for _ in range(REPEATS):
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with code {process.returncode}")
        peak = max(peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return min(seconds), (median(seconds) - min(seconds)) / min(seconds), peak
