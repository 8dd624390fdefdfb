"""The estimands of a verdict by simulation: what their intervals cover, and how often what is equal is told apart."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.report.estimands import Classes, gap_of_best, gap_of_kinds, gap_of_these, outranked
from benchmark.report.stats import paired

SIMULATIONS = 2_000
PAPERS = list("aaabbcdefghi"), list("aabcdefgh")  # 12 and 9 methods of 9 and 8 papers
CLASSES = 98
# Standard deviations in points: of papers, methods, kind x unit, method x unit, kind x class, paper x class, method x class.
CARS = (1.0, 0.5, 0.1, 0.2, 3.0, 3.0, 3.0)
OTHERS = {
    "methods of a paper are alike": (1.2, 0.0, 0.1, 0.2, 3.0, 4.0, 0.0),
    "papers differ in nothing": (0.0, 1.0, 0.1, 0.2, 3.0, 0.0, 3.0),
    "all methods are equal": (0.0, 0.0, 0.1, 0.2, 3.0, 2.0, 2.0),
    "units differ most": (0.2, 0.2, 0.5, 0.2, 1.0, 1.0, 1.0),
}


def drawn(units, sds, seed, dims=()):
    """Both groups as [draw, dimension, method, unit], and by class; no kind is better than the other, whatever was drawn."""
    draw = np.random.default_rng(seed)
    weights = draw.integers(30, 60, CLASSES).astype(float)
    weights /= weights.sum()
    paper, method, by_unit, own_unit, by_class, paper_class, own_class = sds
    sides = []
    for papers in PAPERS:
        of = np.array([sorted(set(papers)).index(name) for name in papers])
        shape = SIMULATIONS, *dims
        n = len(papers), len(set(papers))
        level = draw.normal(0, paper, (*shape, n[1]))[..., of] + draw.normal(0, method, (*shape, n[0]))
        seeds = draw.normal(0, by_unit, (*shape, 1, units)) + draw.normal(0, own_unit, (*shape, n[0], units))
        classes = draw.normal(0, paper_class, (*shape, n[1], CLASSES))[..., of, :]
        classes += draw.normal(0, by_class, (*shape, 1, CLASSES)) + draw.normal(0, own_class, (*shape, n[0], CLASSES))
        each = level[..., None] + seeds + (classes * weights).sum(-1, keepdims=True)
        sides.append((each, level[..., None] + seeds.mean(-1, keepdims=True) + classes))
    (first, first_classes), (second, second_classes) = sides
    return first, second, Classes(first_classes, second_classes, weights)


def covered(interval, truth=0.0):
    mean, half = interval
    return (np.abs(mean - truth) <= half).mean()


@pytest.mark.parametrize("units", [5, 10])
def test_these_methods_are_covered(units):
    """On these data: the methods' levels and the classes are as they were drawn, seeds and teachers are others."""
    first, second, _ = drawn(units, (0, 0, 0.1, 0.2, 0, 0, 0), 1)
    levels = np.random.default_rng(2).normal(0, 1.2, 21)
    moved = first + levels[:12, None], second + levels[12:, None]
    assert 0.93 <= covered(gap_of_these(*moved), levels[:12].mean() - levels[12:].mean()) <= 0.97


def test_these_methods_are_the_paired_interval():
    first, second, _ = drawn(5, CARS, 3)
    mean, half = gap_of_these(first[0], second[0])
    by_hand = paired(*(dict(enumerate(side[0].mean(0))) for side in (first, second)))
    assert (mean, half) == (pytest.approx(by_hand.mean), pytest.approx(by_hand.half))


@pytest.mark.parametrize(("name", "units"), [("cars", 3), ("cars", 5), ("cars", 10), *((name, 5) for name in OTHERS)])
def test_the_kind_is_covered(name, units):
    """Over methods, papers, seeds and test classes; without classes in it, what is said is of these classes alone."""
    first, second, classes = drawn(units, {"cars": CARS, **OTHERS}[name], 4)
    assert 0.93 <= covered(gap_of_kinds(first, second, PAPERS, classes)) <= 0.97
    if name == "cars":
        assert covered(gap_of_these(first, second)) < 0.4  # so that it is no claim about kinds


def test_the_kind_on_these_classes_is_covered_without_them():
    first, second, _ = drawn(10, (*CARS[:4], 0, 0, 0), 5)
    assert 0.93 <= covered(gap_of_kinds(first, second, PAPERS)) <= 0.97


def test_where_all_methods_are_equal_a_wrong_verdict_is_rare():
    """A verdict is wrong where the kinds are resolved as the mean over four dimensions, or depend on it; with MAP@R beside it."""
    verdicts = np.zeros(SIMULATIONS, dtype=bool)
    first, second, classes = drawn(5, (0, 0, 0.1, 0.2, 3.0, 2.0, 2.0), 9, dims=(4,))
    mean = Classes(classes.first.mean(1), classes.second.mean(1), classes.weights)
    center, half = gap_of_kinds(first.mean(1), second.mean(1), PAPERS, mean)
    verdicts |= np.abs(center) > half
    center, half = gap_of_kinds(first, second, PAPERS, classes, level=1 - 0.05 / 4)
    signs = np.where(np.abs(center) > half, np.sign(center), 0)
    depends = (signs.max(1) > 0) & (signs.min(1) < 0)
    assert depends.mean() <= 0.005
    assert (verdicts | depends).mean() <= 0.05


BEST = {
    "spread as on Cars": (np.random.default_rng(5).normal(0, 1.2, 21), 0.97),
    "a step from each to the next": (np.r_[np.linspace(-2, 1, 12), np.linspace(-2, 1, 9)], 0.97),
    "two close ones": (np.r_[0, -0.1, np.full(10, -2), 0, -0.1, np.full(7, -2)], 0.99),
    "all equal": (np.zeros(21), 1),
    "a clear one against equals": (np.r_[1, np.full(11, -2), np.zeros(9)], 1),
    "equals against a clear one": (np.r_[np.zeros(12), 1, np.full(8, -2)], 1),
}


@pytest.mark.parametrize("units", [5, 10])
@pytest.mark.parametrize("name", BEST)
def test_the_best_of_each_kind_is_covered(name, units):
    """At least 93 % whoever is the best, and at most 97 where the best is no tie."""
    truth, most = BEST[name]
    draw = np.random.default_rng(6)
    hits = []
    for _ in range(SIMULATIONS // 200):
        values = truth[:, None] + draw.normal(0, 0.1, (200, 1, units)) + draw.normal(0, 0.25, (200, 21, units))
        interval = gap_of_best(values[:, :12], values[:, 12:], draws=500)
        hits.append(covered(interval, truth[:12].max() - truth[12:].max()))
    assert 0.93 <= np.mean(hits) <= most


@pytest.mark.parametrize("units", [3, 5, 10])
@pytest.mark.parametrize("spread", ["equal", "one is wild", "alike"])
def test_equal_methods_are_told_apart_in_few_tables(units, spread):
    """21 methods at four dimensions: how often any of them is called worse than another."""
    draw = np.random.default_rng(7)
    scale = np.ones(21)
    scale[0] = 4 if spread == "one is wild" else 1
    false = 0
    for _ in range(SIMULATIONS):
        values = draw.normal(size=(4, 21, units)) * scale[:, None]
        if spread == "alike":  # forms of one method go together
            values[:, :7] = 0.2 * values[:, :7] + draw.normal(size=(4, 1, units))
        false += any(worse.any() for worse in outranked(list(values)))
    assert false / SIMULATIONS <= 0.05 + 0.005  # and chance


def test_what_differs_is_told_apart():
    draw = np.random.default_rng(8)
    values = draw.normal(0, 0.25, (21, 10)) - np.arange(21)[:, None] * 0.5
    (worse,) = outranked([values])
    assert not worse[0] and worse[5:].all()


def test_of_one_unit_nothing_is_told_apart():
    (worse,) = outranked([np.arange(21.0)[:, None]])
    assert not worse.any()
    first, second = np.ones((3, 1)), np.zeros((2, 1))
    papers = ["a", "b", "c"], ["d", "e"]
    for mean, half in (gap_of_these(first, second), gap_of_kinds(first, second, papers), gap_of_best(first, second)):
        assert mean == 1 and np.isnan(half)
    first, second = np.ones((3, 5)), np.zeros((2, 5))
    assert np.isnan(gap_of_kinds(first, second, (["a", "a", "b"], ["d", "e"]))[1])
