"""Seconds and peak memory of a function, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

Prepare = Callable[..., Callable[[], object]]
REPEATS = 5
ENOUGH = 20.0  # seconds after which a slow function is not repeated again


class Cost(NamedTuple):
    seconds: float  # of the fastest repetition
    spread: float  # (median - fastest) / fastest
    peak: int  # bytes above what the process held before the first call


def cost(prepare: Prepare, *args: object) -> Cost:
    """Of the function that `prepare(*args)` returns, in a new process with one torch thread a core.

    The first call is measured for memory and not for time.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, prepare, args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measured process ended with code {process.exitcode}") from None
    finally:
        process.join()


def _measure(sender: multiprocessing.connection.Connection, prepare: Prepare, args: tuple[object, ...]) -> None:
    function = prepare(*args)
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
    """Most bytes that this process has held in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
