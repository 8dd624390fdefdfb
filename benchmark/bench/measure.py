"""Seconds and peak memory of a function; in a process of its own where that matters."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from ..errors import BenchmarkError, UsageError
from ..machine import cores

T = TypeVar("T")
Prepare = Callable[..., Callable[[], object]]
REPEATS, LEAST = 5, 2
ENOUGH = 20.0  # seconds after which a function is not repeated more than `LEAST` times


class Times(NamedTuple):
    """Of something that was done again and again."""

    seconds: tuple[float, ...]  # each time, without the first
    peak: int = 0  # bytes above what the process held before the first; 0 where it was not looked for

    @property
    def typical(self) -> float:
        """The median: what is done often costs what it usually does, not what it does when it is lucky."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.typical


def repeated(function: Callable[[], object], repeats: int = REPEATS) -> Times:
    """In this process, after a first time that does not count."""
    function()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < repeats and (len(times) < LEAST or time.perf_counter() - started < ENOUGH):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return Times(tuple(times))


def cost(prepare: Prepare, args: tuple[object, ...], small: tuple[object, ...]) -> Times:
    """Of the function that `prepare(*args)` returns, in a new process with one torch thread a core.

    The first call is measured for memory and not for time. What `prepare(*small)` returns is called before it: whatever is loaded
    by a first use is no cost of the function.
    """
    return apart(_measure, prepare, args, small)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Other work on every core within the block: processes that compute nothing, and end with this one."""
    spin = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    spinners: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(cores()):
            spinners.append(subprocess.Popen([sys.executable, "-c", spin]))
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def apart(function: Callable[..., T], *args: object) -> T:
    """`function(*args)` in a new process, which knows neither this one's allocator settings nor its memory, and ends with this call.

    A pool of one would wait for its work when this process is interrupted, and an interrupt more made it wait for ever.

    Raises:
        BenchmarkError: the process died, as by the kernel for want of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args))
    process.start()
    sender.close()  # so that the worker's death ends the waiting
    try:
        found = receiver.recv()
    except EOFError:
        raise BenchmarkError("a measured process was killed; is there memory for it? bench takes up to 12 GB") from None
    finally:
        process.kill()
        process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _answer(sender: Connection, function: Callable[..., object], args: tuple[object, ...]) -> None:
    try:
        found = function(*args)
    except Exception as error:  # raised again where it was asked for
        found = error
    sender.send(found)


def _measure(prepare: Prepare, args: tuple[object, ...], small: tuple[object, ...]) -> Times:
    prepare(*small)()
    function = prepare(*args)
    before = watch_memory()  # preparing may have held more
    function()
    peak = peak_memory() - before
    return repeated(function)._replace(peak=peak)


def watch_memory() -> int:
    """Let the peak count from here on; what it is now.

    Raises:
        UsageError: this system cannot tell.
    """
    file = Path("/proc/self/clear_refs")
    if not file.exists():
        raise UsageError("peak memory is read from /proc, which this system has not")
    file.write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Most bytes that this process has held in memory. Not `getrusage`, which counts what its parent held before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
