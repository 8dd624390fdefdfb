"""Settings of the process that make training fast and repeatable."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from joblib import cpu_count as cores

from .errors import UsageError

SHARE = 0.8  # of the cores: with less of them other work is in the way
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h of glibc


def prepare_process(name: str | None) -> torch.device:
    """The device of that name (the GPU where there is one, without a name), after making the process's settings.

    Torch has no more threads than the process may use cores, or as many as the user says by OMP_NUM_THREADS.

    Raises:
        UsageError: there is no such device.
    """
    keep_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        set_threads(min(cores(), torch.get_num_threads()))
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: cpu, cuda, cuda:0, ...") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"--device {name} is not usable here; use --device cpu, or cuda where torch sees a GPU")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # fp32 means it: by default convolutions would round to ten bits
    return device


def set_threads(count: int) -> None:
    """Have torch use so many threads; only where it is another number, as setting what there is already changes settings of MKL."""
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def share(seconds: float = 0.2) -> float:
    """Share of its cores that this process gets, in (0, 1], by that long of work on each of them at once.

    Load averages are of the whole machine, whatever a container has of it; a thread's own time also tells of quotas that are used up.
    """
    data = bytes(2**20)

    def work(_: int) -> float:
        started, mine = time.perf_counter(), time.thread_time()
        while (passed := time.perf_counter() - started) < seconds:
            hashlib.sha256(data)  # for which Python lets go of its lock
        return (time.thread_time() - mine) / passed

    with ThreadPoolExecutor(cores()) as pool:
        return min(1.0, statistics.mean(pool.map(work, range(cores()))))


class Threads:
    """How many threads torch has for a group on the CPU: all, unless other work holds the cores and fewer are clearly faster.

    Weights depend on the number in their last bits. So on a quiet machine it is always the same; on a busy one it is chosen before any
    weights are made, and kept by a student's checkpoint. Where the user has set OMP_NUM_THREADS nothing is chosen.

    Args:
        say: where a choice of fewer threads is told in one line.
        clock: in seconds.
    """

    FASTER = 1.3  # times that another number must be faster
    ROUNDS = 3  # in which a pass is timed by each number, after one that does not count
    ENOUGH = 20.0  # seconds after which one round will do

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self.say = say
        self.clock = clock
        self.all = torch.get_num_threads()

    def begin(self, prepare: Callable[[], Callable[[], object]], kept: int | None = None) -> None:
        """Choose for a group of which nothing is made yet.

        Args:
            prepare: makes a pass that is thrown away, and costs as a step does.
            kept: the number of a checkpoint, or of a record that is run again: it is taken, be there so many cores or not.
        """
        if kept is not None:
            if kept != self.all:
                self.say(f"{_threads(kept)} for this group, as it had before; this machine has {_threads(self.all)}")
            set_threads(kept)
        elif "OMP_NUM_THREADS" not in os.environ and self.all > 1 and share() < SHARE:
            self._choose(prepare())

    def end(self) -> None:
        """All threads again, for what is no training."""
        set_threads(self.all)

    def _choose(self, step: Callable[[], object]) -> None:
        """Time a pass by all threads, half of them and one, and take what is clearly faster than all."""
        times: dict[int, list[float]] = {count: [] for count in (self.all, max(1, self.all // 2), 1)}
        begun = self.clock()
        for done in range(1 + self.ROUNDS):  # in turns, so that all meet the same other work
            if done > 1 and self.clock() - begun > self.ENOUGH:
                break
            for count, seconds in times.items():
                set_threads(count)
                started = self.clock()
                step()
                seconds.append(self.clock() - started)
        typical = {count: statistics.median(seconds[1:]) for count, seconds in times.items()}
        best = min(typical, key=lambda count: typical[count])
        faster = typical[self.all] / typical[best]
        set_threads(best if faster >= self.FASTER else self.all)
        if faster >= self.FASTER:
            slower = f"a pass by {_threads(self.all)} takes {faster:.1f} times as long"
            self.say(f"other work holds the cores: {_threads(best)}, as {slower}")


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def keep_memory() -> None:
    """Have glibc keep freed memory: giving big activations back to the kernel each step costs a third of the time in page faults.

    One arena for all threads: others than the main one give theirs back (angles of a batch of 512: 50,000 faults a step, or 500).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_ARENA_MAX, 1)
