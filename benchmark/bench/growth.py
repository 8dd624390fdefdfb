"""Time and memory against the number of students, the batch, the dimension and the gallery, with the exponent of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..retrieval.metrics import evaluate
from .measure import apart, cost
from .performance import exponent
from .retrieval import CLASS, rows
from .training import GRID, lockstep


class Sizes(NamedTuple):
    students: tuple[int, ...] = (1, 2, 4, 8, 16)
    batch: tuple[int, ...] = (64, 128, 256, 512, 1024)
    dim: tuple[int, ...] = (16, 64, 256, 512)
    gallery: tuple[int, ...] = (1_000, 10_000, 100_000, 200_000)


SIZES = Sizes()
PAIR = 2  # students where their number does not grow
STEPS = 3  # measured
WIDTH = 64  # of the searched embeddings
SMALL = 500  # rows of a first search, which is not measured


def search(n: int) -> Callable[[], object]:
    """All metrics of n embeddings, searched among themselves."""
    embeddings, labels = rows(n, WIDTH), np.arange(n) // CLASS
    return lambda: evaluate(embeddings, labels, at=[1, 10, 100])


def table() -> list[dict[str, Any]]:
    """A row a size: seconds of a training step of all students or of an evaluation, memory, and the exponents since the last size."""
    grid = GRID._replace(steps=STEPS)
    grown = {
        "students": [grid._replace(students=n) for n in SIZES.students],
        "batch": [grid._replace(students=PAIR, batch=n) for n in SIZES.batch],
        "dimension": [grid._replace(students=PAIR, dim=n) for n in SIZES.dim],
    }
    found = []
    for what, sizes in zip(grown, (SIZES.students, SIZES.batch, SIZES.dim), strict=True):
        times = [apart(lockstep, one)["all"] for one in grown[what]]
        found += series(what, sizes, [one.typical for one in times], [one.peak for one in times])
    searches = [cost(search, (n,), (SMALL,)) for n in SIZES.gallery]
    return [
        *found,
        *series("gallery", SIZES.gallery, [one.typical for one in searches], [one.peak for one in searches]),
    ]


def series(what: str, sizes: Sequence[int], seconds: Sequence[float], peaks: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of what grew, with the exponent since the size before."""

    def since(values: Sequence[float], at: int) -> float:
        return exponent(sizes[at - 1], values[at - 1], sizes[at], values[at])

    return [
        {
            "grows": what,
            "size": size,
            "seconds": seconds[at],
            "memory [MB]": peaks[at] / 1e6,
            **({"exponent of time": since(seconds, at)} if at else {}),
            **({"exponent of memory": since(peaks, at)} if at and min(peaks[at - 1 : at + 1]) > 0 else {}),
        }
        for at, size in enumerate(sizes)
    ]
