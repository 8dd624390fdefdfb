"""What a user waits for before anything is computed: the start of a command, and the report of a thousand runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..methods import catalogue
from ..spec import Spec
from ..store import Evaluation, Geometry, Record, Store
from .measure import Times

REPEATS = 5
RECORDS = 1_000
COMMAND = "from benchmark.__main__ import main; sys.exit(main())"
# A process writes its own peak: what `wait4` says of it counts what its parent held before it.
WATCHED = """
import atexit, sys
target = sys.argv.pop(1)
def note():
    with open("/proc/self/status") as status, open(target, "w") as file:
        file.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
atexit.register(note)
"""
DIMS = (16, 32, 64, 128)


def table() -> list[dict[str, Any]]:
    """A row a command: seconds and peak memory of a process of its own, beside a bare Python and one that imports torch."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "cars" / "heads"
        for record in records(RECORDS):
            Store(folder).save(record)
        commands = {
            "python": ["pass"],
            "python, import torch": ["import torch"],
            "benchmark --help": [COMMAND, "--help"],
            "benchmark list methods": [COMMAND, "list", "methods"],
            f"benchmark report, {RECORDS:,} records": [COMMAND, "report", "--results", scratch],
        }
        found = {name: _measured(words) for name, words in commands.items()}
    start = found["python"].typical
    return [
        {
            "command": name,
            "seconds": one.typical,
            "spread": one.spread,
            "times python": one.typical / start,
            "memory [MB]": one.peak / 1e6,
        }
        for name, one in found.items()
    ]


def records(n: int) -> list[Record]:
    """Runs of all methods that train, at several dimensions and seeds, with made-up metrics."""
    draw = np.random.default_rng(0)
    teacher = Spec(dataset="cars", method="multi-similarity", backbone="efficientnet_lite2", dim=512, steps=500)
    methods = [entry for entry in catalogue().values() if entry.trains and not entry.same_size]
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


def _measured(words: list[str]) -> Times:
    """Of a program and its arguments, a new process each time; the most bytes that one held."""
    seconds, peak = [], 0
    with TemporaryDirectory() as scratch:
        note = Path(scratch) / "peak"
        for number in range(1 + REPEATS):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", WATCHED + words[0], str(note), *words[1:]], check=True, stdout=subprocess.DEVNULL
            )
            if number:  # the first reads the programs from disk
                seconds.append(time.perf_counter() - started)
            peak = max(peak, 1024 * int(note.read_text()))
    return Times(tuple(seconds), peak)
