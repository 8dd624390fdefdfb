"""Time what is done again and again.

Not by torch.utils.benchmark: its timer sets the number of threads, which changes settings of MKL, and with them the last bits of
weights that are trained afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple


class Times(NamedTuple):
    """How long repetitions of a function took.

    Args:
        seconds: of each, without the first.
        served: the share of that time that this thread was on the CPU.
        peak: bytes above what the process held before the first; 0 where it was not looked for.
    """

    seconds: tuple[float, ...]
    served: float = 1.0
    peak: int = 0

    @property
    def typical(self) -> float:
        """The median: what is done often costs what it usually does, not what it does when it is lucky."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.typical


def repeated(function: Callable[[], object], least: int = 2, most: int = 5, enough: float = 20.0) -> Times:
    """Time a function in this process, after a first call that does not count: `most` times, or fewer where these take `enough` seconds."""
    function()
    seconds: list[float] = []
    served = time.thread_time()
    while len(seconds) < least or (len(seconds) < most and sum(seconds) < enough):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return Times(tuple(seconds), (time.thread_time() - served) / sum(seconds))
