"""Rows that are absurdly larger than the others: what an infinity becomes when something has made a number of it.

A row's size is the largest distance of one of its numbers from the centre of all rows. Both the centre and what is
typical are medians, so that fewer than half of the rows, however large, leave them as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .errors import some

# Up to here the squares of rows that are scaled to a typical size of 1 fit into float32: 2^80, times any width. Data
# that mean something do not come near: float32 cannot even add numbers that differ by 2^25.
LIMIT = 2.0**40
# Of rows that are trained on: beside one of 2^24, in a sum of float32, a typical row is below the last digit. Search, which takes
# pair by pair, bears more.
TRAINED = 2.0**24
_SAMPLE = 1024  # rows that the centre is the median of
_NUMBERS = 2**18  # that are held in float64 at once: 2 MB, which stay in the cache of a core
_SHOWN = 5  # rows in a message

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


def centre_of(rows: np.ndarray) -> Doubles:
    """Median of each coordinate [d] of rows [n, d], of a sample of them; numbers that float32 holds."""
    return np.median(rows[sampled(len(rows))].astype(np.float64), axis=0).astype(np.float32).astype(np.float64)


def sampled(n: int) -> Ints:
    """Up to 1,024 of n places, ascending: drawn, always in the same way, as damage may be at even distances."""
    return np.arange(n) if n <= _SAMPLE else np.sort(np.random.default_rng(0).choice(n, _SAMPLE, replace=False))


def sizes(rows: np.ndarray, centre: Doubles) -> Doubles:
    """Largest distance [n] of a number of each row [n, d] from that of the centre [d]."""
    result = np.empty(len(rows))
    for part in parts(rows):
        distances = np.subtract(rows[part], centre, dtype=np.float64)
        np.abs(distances, out=distances).max(axis=1, out=result[part])
    return result


def parts(rows: np.ndarray) -> list[slice]:
    """Rows [n, d] cut into pieces that are small in float64."""
    step = max(1, _NUMBERS // rows.shape[1])
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def typical(sizes: Doubles) -> float:
    """The median of sizes [n], without those that are 0, of rows that are the centre themselves; 1 where all are."""
    used = sizes[sizes > 0]
    return float(np.median(used)) if len(used) else 1.0


def beyond(sizes: Doubles, limit: float = LIMIT) -> Ints:
    """Indices of the sizes [n] that are more than so many times the typical one: none where half of them or more are huge."""
    return np.flatnonzero(sizes > limit * typical(sizes))


def absurd_rows(rows: np.ndarray) -> Ints:
    """Indices of those rows [n, d] of finite numbers that are absurdly larger than the others."""
    return beyond(sizes(rows, centre_of(rows)))


def told(rows: Ints, of: int, what: str, limit: float = LIMIT) -> str:
    """One line for people on absurd rows, at least one, of so many that are called `what`."""
    verb, noun = ("is", "row") if len(rows) == 1 else ("are", "rows")
    times = f"more than 10^{int(math.log10(limit))} times larger than the others"
    return f"{len(rows)} of {of} {what} {verb} {times}: {noun} {some(map(str, rows.tolist()), most=_SHOWN)}"
