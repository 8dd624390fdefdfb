"""Seconds and peak memory of a function in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from joblib import cpu_count as cores

from ..errors import BenchmarkError, UsageError
from ..timing import Times, repeated

T = TypeVar("T")
Prepare = Callable[..., Callable[[], object]]


def cost(prepare: Prepare, args: tuple[object, ...], small: tuple[object, ...]) -> Times:
    """Time the function that `prepare(*args)` returns, in a new process with one torch thread a core.

    The first call is measured for memory and not for time. What `prepare(*small)` returns is called before it: whatever is loaded
    by a first use is no cost of the function.
    """
    return apart(_measure, prepare, args, small)


def _measure(prepare: Prepare, args: tuple[object, ...], small: tuple[object, ...]) -> Times:
    prepare(*small)()
    function = prepare(*args)
    before = watch_memory()  # preparing may have held more
    function()
    peak = peak_memory() - before
    return repeated(function)._replace(peak=peak)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Other work on every core within the block: processes that compute nothing, and end with this one."""
    spin = [sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(cores()):
            spinner = subprocess.Popen(spin)
            stack.callback(spinner.wait)
            stack.callback(spinner.kill)
        yield


def apart(function: Callable[..., T], *args: object) -> T:
    """Call `function(*args)` in a new process, which knows neither this one's allocator settings nor its memory, and ends with this call.

    Raises:
        BenchmarkError: the process died, as by the kernel for want of memory.
    """
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    try:
        return pool.submit(function, *args).result()
    except BrokenProcessPool:
        raise BenchmarkError("a measured process was killed; is there memory for it? bench takes up to 12 GB") from None
    finally:  # an interrupted pool would wait for its work
        for process in multiprocessing.active_children():
            process.kill()
        pool.shutdown()


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
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
