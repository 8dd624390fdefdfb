"""Time the start of a command and the report of a thousand runs: a user waits for them before anything is computed."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..methods import catalogue
from ..record import Evaluation, Geometry, Record
from ..spec import Spec
from ..store import Store
from ..timing import Times, repeated

REPEATS = 5
RECORDS = 1_000
COMMAND = "from benchmark.__main__ import main; sys.exit(main())"
# A process tells its own peak: what `wait4` says of it counts what its parent held before it.
TOLD = "import atexit, sys; atexit.register(lambda: sys.stderr.write(open('/proc/self/status').read())); "
DIMS = (16, 32, 64, 128)


def report_rows() -> list[dict[str, Any]]:
    """A row a command: seconds and peak memory of a process of its own, beside a bare Python and one that imports torch."""
    with TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "cars" / "heads")
        for record in records(RECORDS):
            store.save(record)
        commands = {
            "python": ["pass"],
            "python, import torch": ["import torch"],
            "benchmark --help": [COMMAND, "--help"],
            "benchmark list methods": [COMMAND, "list", "methods"],
            f"benchmark report, {RECORDS:,} records": [COMMAND, "report", "--results", scratch],
        }
        measured = {name: _measured(words) for name, words in commands.items()}
    return [
        {
            "command": name,
            "seconds": times.typical,
            "spread": times.spread,
            "times python": times.typical / measured["python"].typical,
            "memory [MB]": times.peak / 1e6,
        }
        for name, times in measured.items()
    ]


def records(n: int) -> list[Record]:
    """Runs of all methods that train, at several dimensions and seeds, with made-up metrics."""
    draw = np.random.default_rng(0)
    teacher = Spec(dataset="cars", method="multi-similarity", backbone="efficientnet_lite2", dim=512, steps=500)
    methods = [entry for entry in catalogue().values() if entry.trains and not entry.same_size]
    students = (
        Spec(
            dataset="cars", method=entry.name, params=entry.defaults, normalize=entry.normalize, views=8, dim=dim, seed=seed,
            backbone="efficientnet_lite0", teacher=teacher if entry.needs_teacher else None,
        )
        for seed, entry, dim in itertools.product(range(n), methods, DIMS)
    )  # fmt: skip
    specs = [teacher, *itertools.islice(students, n - 1)]
    return [_record(spec, float(draw.uniform(0.3, 0.6))) for spec in specs]


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
    """Times of a program with its arguments, in a new process each time; the most bytes that any of them held."""
    peaks = []

    def run() -> None:
        command = [sys.executable, "-c", TOLD + words[0], *words[1:]]
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        peaks.append(1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)[-1]))

    return repeated(run, REPEATS, REPEATS)._replace(peak=max(peaks))
