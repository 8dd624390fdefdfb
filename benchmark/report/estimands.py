"""Differences between two groups of methods, each with a 95 % interval for what it names; tests simulate what they cover.

- these: the methods that were run, on these data; another draw would have other seeds and teachers.
- kinds: what the methods are a sample of, paper by paper; another draw would have other methods, seeds, teachers and test classes.
- best: of each group its best method, which nobody knows: its choice by the same numbers is inside the interval.

Arrays end in [method, unit]: a unit is what was drawn anew, a teacher with its students where there are several, else a seed. What
stands before is worked through at once, as simulations do. A half-width is nan where there is no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .stats import LEVEL, NOISE, Array, holm, moderated, student, two_sided

DRAWS = 10_000
PAPERS = 3  # of each group at least, for an interval of kinds


class Classes(NamedTuple):
    """Both groups by test class, as the mean over units."""

    first: Array  # [method, class]
    second: Array
    weights: Array  # of classes, by their queries; of sum 1


def gap_of_these(first: Array, second: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """The difference of the means over methods, and its half-width: Student's over units."""
    gaps = first.mean(-2) - second.mean(-2)
    units = gaps.shape[-1]
    if units < 2:
        return gaps.mean(-1), np.full(gaps.shape[:-1], np.nan)
    return gaps.mean(-1), student(units - 1, level) * gaps.std(-1, ddof=1) / units**0.5


def gap_of_kinds(
    first: Array, second: Array, papers: tuple[Sequence[str], Sequence[str]], classes: Classes | None = None,
    level: float = LEVEL,
) -> tuple[Array, Array]:  # fmt: skip
    """The same difference, and its half-width where methods are a sample, those of one paper drawn together.

    Its variance is the sum of those by papers in either group, by test classes and by units: clusters in several ways (Cameron, Gelbach
    and Miller, Journal of Business & Economic Statistics 29, 2011), each unbiased where clusters are alike. Degrees of freedom are
    Satterthwaite's, but units have their own, as three teachers tell too little of themselves. In simulations it covers 95 to 97 %; more
    where methods differ in nothing, as what their spread shows of units and classes counts twice. A paper in both groups counts as two.
    """
    mean = first.mean(-2).mean(-1) - second.mean(-2).mean(-1)
    units = first.shape[-1]
    sides = [_by_paper(values.mean(-1), names) for values, names in zip((first, second), papers, strict=True)]
    if units < 2 or any(len(weights) < PAPERS for _, weights in sides):
        return mean, np.full(mean.shape, np.nan)
    parts = [(_variance(values, weights), _freedom(weights)) for values, weights in sides]
    if classes is not None and len(classes.weights) > 1:
        gaps = classes.first.mean(-2) - classes.second.mean(-2)
        parts.append((_variance(gaps, classes.weights), _freedom(classes.weights)))
    total = np.asarray(sum(part for part, _ in parts))
    squares = np.asarray(sum(part**2 / df for part, df in parts))
    df = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
    _, by_units = gap_of_these(first, second, level)
    return mean, np.sqrt(student(df, level) ** 2 * total + by_units**2)


def _by_paper(values: Array, papers: Sequence[str]) -> tuple[Array, Array]:
    """The means over the methods of each paper, and the papers' weights in the mean over methods."""
    own = np.array([[paper == other for other in papers] for paper in dict.fromkeys(papers)], dtype=float)
    counts = own.sum(1)
    return values @ (own / counts[:, None]).T, counts / counts.sum()


def _scales(weights: Array) -> Array:
    """Factors of squared distances from a weighted mean whose sum has that mean's variance as its expectation."""
    return np.asarray(weights**2 / (1 - 2 * weights + (weights**2).sum()))


def _variance(values: Array, weights: Array) -> Array:
    """Estimate the variance of the weighted mean over the last axis."""
    centred = values - (values * weights).sum(-1, keepdims=True)
    return np.asarray((centred**2 * _scales(weights)).sum(-1))


def _freedom(weights: Array) -> float:
    """Satterthwaite's degrees of freedom of `_variance`; of equal weights, one less than there are."""
    scales = _scales(weights)
    mixed = np.outer(scales, weights)
    # Of the squared distances from the weighted mean, without a product of matrices, which is slow for hundreds of classes.
    form = np.diag(scales) - mixed - mixed.T + scales.sum() * np.outer(weights, weights)
    return float(np.trace(form) ** 2 / (form**2).sum())


def gap_of_best(first: Array, second: Array, level: float = LEVEL, draws: int = DRAWS) -> tuple[Array, Array]:
    """The difference of the two highest means over units, and its half-width for that of the methods which are in truth the best.

    Means are drawn again as from a t distribution with the covariance that units show, and each draw chooses anew. They are drawn
    around means in which a group's methods that a paired t test does not tell from its highest stand where that is: how much a choice
    among equals flatters is so inside. In simulations it covers 94 to 97 % where the best stand out or are spread as they are here;
    where many are tied nothing simple is exact, and this errs on the wide side (98 to 100 %). Of what was tried (percentiles,
    reflected, the pair of winners as if it had not been chosen) it is the narrowest that never covers less.
    """
    values = np.concatenate([first, second], axis=-2)
    means, units = values.mean(-1), values.shape[-1]
    sides = slice(0, first.shape[-2]), slice(first.shape[-2], None)

    def gap(scores: Array) -> Array:
        return np.asarray(scores[..., sides[0]].max(-1) - scores[..., sides[1]].max(-1))

    if units < 2:
        return gap(means), np.full(means.shape[:-1], np.nan)
    tied = means.copy()
    for side in sides:
        top = means[..., side].argmax(-1)[..., None, None]
        behind = np.take_along_axis(values[..., side, :], top, -2) - values[..., side, :]
        close = behind.mean(-1) <= student(units - 1) * behind.std(-1, ddof=1) / units**0.5
        tied[..., side] = np.where(close, means[..., side].max(-1, keepdims=True), means[..., side])
    generator = np.random.default_rng(2019)
    normal = generator.standard_normal((*means.shape[:-1], draws, units))
    scale = np.sqrt(generator.chisquare(units - 1, (*means.shape[:-1], draws, 1)) * units)
    noise = normal @ np.swapaxes(values - means[..., None], -1, -2) / scale
    off = np.abs(gap(tied[..., None, :] + noise) - gap(tied)[..., None])
    return gap(means), np.quantile(off, level, axis=-1)


def outranked(tables: Sequence[Array], level: float = LEVEL) -> list[Any]:
    """Tell of each table's rows whether some other row is better, by paired t tests of all pairs of all tables.

    Variances are moderated, table by table, and p-values corrected by Holm's method. So where all rows are equal, some row is called
    worse in about 5 % of cases at most, also where spreads differ and rows go together.

    Args:
        tables: each [row, unit], nan where a row lacks a unit.
    """
    if not tables:
        return []
    pairs = [np.triu_indices(len(table), 1) for table in tables]
    gaps = [table[left] - table[right] for table, (left, right) in zip(tables, pairs, strict=True)]
    groups = np.repeat(np.arange(len(gaps)), [len(group) for group in gaps])
    known = np.concatenate([(~np.isnan(group)).sum(-1) for group in gaps])
    mean = np.concatenate([np.nansum(group, -1) for group in gaps]) / np.maximum(known, 1)
    squares = [np.nansum((group - own[:, None]) ** 2, -1) for group, own in zip(gaps, _split(mean, gaps), strict=True)]
    variance = np.concatenate(squares) / np.maximum(known - 1, 1)
    tested = (known > 1) & (variance > NOISE**2)
    p = np.ones(len(mean))
    if tested.any():
        noise, df = moderated(variance[tested], known[tested] - 1.0, groups[tested])
        p[tested] = two_sided(mean[tested] * np.sqrt(known[tested] / noise), df)
    worse = []
    for table, (left, right), own, corrected in zip(
        tables, pairs, _split(mean, gaps), _split(np.asarray(holm(p.tolist())), gaps), strict=True
    ):
        lost = np.where(own > 0, right, left)[corrected < 1 - level]
        worse.append(np.isin(np.arange(len(table)), lost))
    return worse


def _split(values: Array, like: Sequence[Array]) -> list[Array]:
    """Cut values into parts as long as these."""
    return np.split(values, np.cumsum([len(part) for part in like])[:-1])
