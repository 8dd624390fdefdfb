"""The statistics of reports: against scipy, by hand, and by simulation of what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import digamma, polygamma

from benchmark.report.stats import FEW_SEEDS, PRIOR, Summary, holm, moderated, p_value, paired, summarise

numbers = st.floats(-100, 100).map(lambda value: round(value, 3))
SIMULATIONS = 2_000


@given(st.lists(numbers, min_size=2, max_size=12))
def test_interval_is_scipys(values):
    found = summarise(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if found.sd > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert found.half == pytest.approx((high - low) / 2, rel=1e-9)


@given(st.lists(st.tuples(numbers, numbers), min_size=FEW_SEEDS, max_size=12))
def test_p_value_is_scipys(pairs):
    ours, theirs = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    off = [a - b for a, b in pairs]
    difference = paired(ours, theirs)
    if np.std(off) > 1e-6:
        assert p_value(difference) == pytest.approx(
            stats.ttest_rel(*zip(*pairs, strict=True)).pvalue, rel=1e-6, abs=1e-12
        )


def test_no_p_value_of_few_seeds_nor_of_equal_differences():
    assert p_value(summarise([1.0] * (FEW_SEEDS - 2) + [2.0])) is None
    assert p_value(summarise([1.0] * FEW_SEEDS)) is None
    assert p_value(summarise([1.0] * FEW_SEEDS + [2.0])) is not None


def test_interval_and_p_value_agree():
    """The interval holds 0 exactly where the uncorrected p is at least 5 %."""
    draw = np.random.default_rng(1)
    for _ in range(200):
        found = summarise(list(draw.normal(0.7, 1.0, size=8)))
        assert found.zero == (p_value(found) >= 0.05)


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06 and no less than the one before, 0.5 x 1."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(values):
    """By brute force: a hypothesis falls where every intersection that holds it does, each tested by Bonferroni."""
    corrected = holm(values)
    for index in range(len(values)):
        others = [other for other in range(len(values)) if other != index]
        worst = max(
            min(1.0, (size + 1) * min(values[i] for i in (index, *chosen)))
            for size in range(len(values))
            for chosen in itertools.combinations(others, size)
        )
        assert corrected[index] == pytest.approx(worst)


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_cover_the_truth(seeds):
    """Paired differences of two methods whose seeds share their batches, as runs do."""
    draw = np.random.default_rng(2026)
    covered = 0
    for _ in range(SIMULATIONS):
        batches = draw.normal(0, 1.0, size=seeds)
        ours, theirs = (dict(enumerate(mean + batches + draw.normal(0, 0.5, size=seeds))) for mean in (51.3, 50.0))
        found = paired(ours, theirs)
        covered += abs(found.mean - 1.3) <= found.half
    assert 0.93 <= covered / SIMULATIONS <= 0.97


def test_holm_keeps_the_family_wise_error():
    """Eight methods that are no better than the baseline: how often one is called so, or worse."""
    draw = np.random.default_rng(2026)
    false = uncorrected = 0
    for _ in range(SIMULATIONS):
        baseline = dict(enumerate(draw.normal(50, 0.5, size=10)))
        p = [p_value(paired(dict(enumerate(draw.normal(50, 0.5, size=10))), baseline)) for _ in range(8)]
        false += min(holm(p)) < 0.05
        uncorrected += min(p) < 0.05
    assert false / SIMULATIONS < 0.05
    assert uncorrected / SIMULATIONS > 0.15  # so there was something to correct


def test_zero():
    assert Summary(3, 1.0, 1.0, 0.9).zero is False
    assert Summary(3, -1.0, 1.0, 1.0).zero is True
    assert Summary(1, 1.0, None, None).zero is None
    assert math.isclose(summarise([0.1, 0.2, 0.3]).mean, 0.2)


def test_variances_of_equal_noise_become_one_and_of_unequal_noise_stay_apart() -> None:
    draw, df = np.random.default_rng(0), np.full(400, 4.0)
    chance = draw.chisquare(4, 400) / 4
    groups = np.repeat([0, 1], 200)
    scale = np.where(groups, 100.0, 1.0)
    drawn, free = moderated(chance * scale, df, groups)
    # All differ by chance alone: each takes as much of the usual one as it may, the mean of its own group.
    assert np.allclose(free, (1 + PRIOR) * 4)
    assert np.allclose(drawn - chance * scale / (1 + PRIOR), scale * PRIOR / (1 + PRIOR), rtol=0.15)
    wild = np.exp(draw.normal(0, 2.5, 400))
    kept, few = moderated(chance * wild, df, groups)
    assert np.all(few < 5) and np.corrcoef(np.log(kept), np.log(wild))[0, 1] > 0.9


def test_moderated_variances_meet_the_formula() -> None:
    """Smyth (2004), section 6.2, worked out by a search for the prior's degrees of freedom."""
    variances, df = np.array([0.5, 1.0, 4.0, 30.0]), np.array([4.0, 4.0, 3.0, 4.0])
    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    want = np.var(logs, ddof=1) - np.mean(polygamma(1, df / 2))
    prior = min(np.linspace(0.1, 4.4, 430_001), key=lambda value: abs(polygamma(1, value / 2) - want))
    usual = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    drawn, free = moderated(variances, df, np.zeros(4, int))
    assert np.allclose(drawn, (prior * usual + df * variances) / (prior + df), rtol=1e-4)
    assert np.allclose(free, prior + df, rtol=1e-4)


def test_a_variance_that_is_alone_in_its_group_stays() -> None:
    drawn, free = moderated(np.array([2.0, 3.0]), np.array([4.0, 4.0]), np.array([0, 1]))
    assert drawn.tolist() == [2, 3] and free.tolist() == [4, 4]
