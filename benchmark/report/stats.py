"""Mean, spread, intervals and tests over seeds. Sums are exact, so tables are equal on every machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
Array = np.ndarray[Any, np.dtype[np.float64]]
LEVEL = 0.95  # of all intervals
FEW_SEEDS = 6  # with fewer, no p-value is printed: a t test of so few pairs rests on the shape of a distribution that nobody saw

PRIOR = 1.5
NOISE = 1e-9  # of a difference of two floats that are equal


class Summary(NamedTuple):
    """Evidence of a few units about a number: of seeds, or of teachers. Of one there is no spread and no interval."""

    n: int
    mean: float
    sd: float | None  # of the sample: divided by n - 1
    half: float | None  # of the 95 % Student-t interval of the mean

    @property
    def zero(self) -> bool | None:
        """Whether the interval holds 0; None where there is none, or one of no width: equal values of a few seeds are the steps of
        a recall, or of runs that no seed changes, and say nothing of what others would give."""
        if self.half is None:
            return None
        return True if abs(self.mean) <= self.half else None if self.half < NOISE else False


def student(df: Any, level: float = LEVEL) -> Any:
    """Half the width of Student's interval, in standard errors; `df`: degrees of freedom, a number or an array."""
    # Here: scipy takes longer to import than a table to make, and scipy.stats four times that.
    from scipy.special import stdtrit

    return stdtrit(df, (1 + level) / 2)


def two_sided(t: Any, df: Any) -> Any:
    """p of Student's t, a number or an array."""
    from scipy.special import stdtr

    return 2 * stdtr(df, -abs(t))


def summarise(values: Iterable[float]) -> Summary:
    """Summarise at least one value."""
    values = list(values)
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Summary(n, mean, None, None)
    sd = statistics.stdev(values)
    return Summary(n, mean, sd, float(student(n - 1)) * sd / n**0.5)


def by_pairs(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """The differences `first` - `second` of the seeds that both have."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Summary | None:
    """The difference `first` - `second` over the seeds that both have; None where they share none.

    Pairs of one seed saw the same batches, so their difference varies less than either.
    """
    points = by_pairs(first, second)
    return summarise(points) if points else None


def p_value(difference: Summary) -> float | None:
    """Two-sided, of Student's t test that the mean is 0; None of fewer than `FEW_SEEDS`, or where all values are one.

    Student: The probable error of a mean, Biometrika 6, 1908.
    """
    if difference.n < FEW_SEEDS or difference.sd is None or difference.sd < NOISE:
        return None
    return float(two_sided(difference.mean / (difference.sd / difference.n**0.5), difference.n - 1))


def holm(values: Sequence[float]) -> list[float]:
    """p-values, each corrected for there being all of them: the chance of one false alarm among them stays below the level.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(values, dtype=float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(np.minimum(1, np.arange(len(p), 0, -1) * p[order]))
    return [float(value) for value in corrected]


def moderated(variances: Array, df: Array, groups: Sequence[int]) -> tuple[Array, Array]:
    """Draw variances towards the usual one of their group, the more, the less they differ beyond chance: many tests of few units share
    what they know of the noise.

    Smyth: Linear models and empirical Bayes methods for assessing differential expression, SAGMB 3, 2004 (section 6.2). The weight of
    the usual variance is at most `PRIOR` times that of the own one, since without a limit unequal noise raises too many alarms.

    Args:
        variances: [test], above 0.
        df: their degrees of freedom [test].
        groups: [test], numbers from 0.

    Returns:
        The variances, and their degrees of freedom.
    """
    # Here: scipy takes longer to import than a table to make.
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    counts = np.bincount(groups)
    usual = (np.bincount(groups, logs) / np.maximum(counts, 1))[groups]
    free = max(1, len(logs) - np.count_nonzero(counts))
    beyond_chance = ((logs - usual) ** 2).sum() / free - polygamma(1, df / 2).mean()
    estimate = 1e9  # no difference beyond chance
    if beyond_chance > polygamma(1, estimate / 2):
        estimate = 2 * brentq(lambda half: polygamma(1, half) - beyond_chance, 1e-9, estimate)
    common = np.exp(usual + digamma(estimate / 2) - np.log(estimate / 2))
    # A group of three pairs has two independent ones, and a single pair learns nothing from itself.
    prior = np.minimum(estimate, df * np.minimum(PRIOR, (counts[groups] - 1) / 2))
    return (prior * common + df * variances) / (prior + df), prior + df


def corrected_p(differences: Mapping[T, Summary]) -> dict[T, float]:
    """The p-values of those that have one, corrected for all of them."""
    known = {key: p for key, difference in differences.items() if (p := p_value(difference)) is not None}
    return dict(zip(known, holm(list(known.values())), strict=True))
