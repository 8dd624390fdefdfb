"""Mean, spread and interval over seeds. Sums are exact, so tables are equal on every machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """What a few seeds say about a number. Of one seed there is no spread and no interval."""

    n: int
    mean: float
    sd: float | None  # of the sample: divided by n - 1
    half: float | None  # of the 95 % Student-t interval of the mean


def summarise(values: Sequence[float]) -> Summary:
    """Of at least one value."""
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Summary(n, mean, None, None)
    sd = statistics.stdev(values)
    return Summary(n, mean, sd, _quantile(n - 1) * sd / n**0.5)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Summary | None:
    """The difference `ours` - `theirs` over the seeds that both have; None where they share none.

    Pairs of one seed saw the same batches, so their difference varies less than either.
    """
    common = sorted(ours.keys() & theirs.keys())
    return summarise([ours[seed] - theirs[seed] for seed in common]) if common else None


def _quantile(degrees: int) -> float:
    from scipy.special import (
        stdtrit,
    )  # here: scipy takes longer to import than a table to make; scipy.stats four times that

    return float(stdtrit(degrees, 0.975))
