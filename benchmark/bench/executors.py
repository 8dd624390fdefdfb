"""A grid of heads on frozen features by each executor, beside the least that the cores could take: commands started by hand, one a core."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joblib import cpu_count as cores

from ..errors import BenchmarkError
from ..timing import Times

METHODS = ("triplet", "hinton", "fitnet", "regression", "rkd-d", "rkd-a", "rkd-da", "darkrank", "cc", "pkt")
GRID = "run --yes --dataset glyphs --preset heads --seeds 0 --set hidden=0"  # at four dimensions
STEPS = 1500
ROUNDS = 3
WAYS = {
    "local, one process": "--executor local",
    "processes": "--executor processes",
    "ray": "--executor ray --address local",
}
HAND = "by hand, a command a core"


def executor_rows() -> list[dict[str, Any]]:
    """Seconds of the commands that train the grid, from start to end: by each way in turns, with teacher and features at hand."""
    everything = ",".join(METHODS)
    ways = {name: [f"{words} --methods {everything}"] for name, words in WAYS.items()}
    ways[HAND] = [f"--executor local --methods {','.join(METHODS[core :: cores()])}" for core in range(cores())]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready"
        # What a method of each kind needs is computed by this, and no student of the grid.
        _seconds([f"--methods {everything} --dims 8 --steps 1"], ready, ready)
        for _ in range(ROUNDS):
            for name, commands in ways.items():
                seconds[name].append(_seconds([f"{words} --steps {STEPS}" for words in commands], ready, Path(scratch)))
    times = {name: Times(tuple(each)) for name, each in seconds.items()}
    return [
        {
            "way": name,
            "seconds": each.typical,
            "spread": each.spread,
            "times faster than one process": times["local, one process"].typical / each.typical,
            "times by hand": each.typical / times[HAND].typical,
        }
        for name, each in times.items()
    ]


def _seconds(commands: Sequence[str], ready: Path, scratch: Path) -> float:
    """Start commands together, each with results of its own, and wait for all.

    Args:
        ready: data, features and teacher that are there.

    Raises:
        BenchmarkError: a command fails.
    """
    results = [scratch / f"results{number}" for number in range(len(commands))]
    if ready != scratch:
        for folder in results:
            shutil.copytree(ready / "results0", folder)
    # One thread a process, as executors have it that share the cores out.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if len(commands) > 1 else None
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmark", *f"{GRID} {words}".split(), "--data", ready, "--results", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for words, folder in zip(commands, results, strict=True)
    ]
    said = [process.communicate()[1] for process in running]
    taken = time.perf_counter() - started
    for process, errors in zip(running, said, strict=True):
        if process.returncode:
            raise BenchmarkError(f"a measured command failed: {errors.strip().splitlines()[-1]}")
    if ready != scratch:
        for folder in results:
            shutil.rmtree(folder)
    return taken
