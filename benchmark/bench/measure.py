"""Seconds and peak memory of a function, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from ..errors import UsageError

T = TypeVar("T")
Prepare = Callable[..., Callable[[], object]]
REPEATS = 5
ENOUGH = 20.0  # seconds after which a slow function is not repeated again


class Times(NamedTuple):
    """Of something that is done again and again, such as a step of a loop."""

    seconds: tuple[float, ...]  # each time, without the first
    peak: int  # bytes above what the process held before the first

    @property
    def typical(self) -> float:
        """The median: a loop pays what its usual step costs, not what its luckiest does."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.typical


def repeated(function: Callable[[], object], repeats: int = REPEATS) -> Times:
    """In this process, after a first time that counts for memory alone."""
    times = []
    before = watch_memory()
    for _ in range(repeats + 1):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return Times(tuple(times[1:]), peak_memory() - before)


class Cost(NamedTuple):
    seconds: float  # of the fastest repetition
    spread: float  # (median - fastest) / fastest
    peak: int  # bytes above what the process held before the first call


def cost(prepare: Prepare, args: tuple[object, ...], small: tuple[object, ...]) -> Cost:
    """Of the function that `prepare(*args)` returns, in a new process with one torch thread a core.

    The first call is measured for memory and not for time. What `prepare(*small)` returns is called before it: whatever is loaded
    by a first use is no cost of the function.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, prepare, args, small))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measured process ended with code {process.exitcode}") from None
    finally:
        process.join()


def apart(function: Callable[..., T], *args: object) -> T:
    """`function(*args)` in a new process, which knows neither this one's allocator settings nor its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def _measure(
    sender: multiprocessing.connection.Connection,
    prepare: Prepare,
    args: tuple[object, ...],
    small: tuple[object, ...],
) -> None:
    prepare(*small)()
    function = prepare(*args)
    before = watch_memory()  # preparing may have held more
    function()
    peak = peak_memory() - before
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < REPEATS and (not times or time.perf_counter() - started < ENOUGH):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    sender.send(Cost(min(times), (median(times) - min(times)) / min(times), peak))


def watch_memory() -> int:
    """Let the peak count from here on; what it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Most bytes that this process has held in memory. Not `getrusage`, which counts what its parent held before it."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise UsageError("peak memory is read from /proc, which this system has not")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
