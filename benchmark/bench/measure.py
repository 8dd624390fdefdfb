"""Seconds and peak memory of a function, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..errors import UsageError

Prepare = Callable[..., Callable[[], object]]
REPEATS = 5
ENOUGH = 20.0  # seconds after which a slow function is not repeated again


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


def _measure(
    sender: multiprocessing.connection.Connection,
    prepare: Prepare,
    args: tuple[object, ...],
    small: tuple[object, ...],
) -> None:
    prepare(*small)()
    function = prepare(*args)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on: preparing may have held more
    before = _peak()
    function()
    peak = _peak() - before
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < REPEATS and (not times or time.perf_counter() - started < ENOUGH):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    sender.send(Cost(min(times), (median(times) - min(times)) / min(times), peak))


def _peak() -> int:
    """Most bytes that this process has held in memory. Not `getrusage`, which counts what its parent held before it."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise UsageError("peak memory is read from /proc, which this system has not")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
