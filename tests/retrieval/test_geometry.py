"""Embeddings at named places, and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from benchmark.retrieval.geometry import (
    NEAREST,
    Space,
    effective_dimension,
    geometry,
    overlap,
    rank_correlation,
    spectral_decay,
)


def space(rows: np.ndarray, metric: str = "l2") -> Space:
    rows = rows.astype(np.float32)
    return Space(rows, rows, metric, same=True)  # type: ignore[arg-type]


def points(n: int = 60, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_effective_dimension_counts_equal_directions() -> None:
    assert effective_dimension(np.array([1.0, 0, 0])) == pytest.approx(1)
    assert effective_dimension(np.array([0.5, 0.5, 0])) == pytest.approx(2)
    assert effective_dimension(np.full(7, 1 / 7)) == pytest.approx(7)


def test_spectral_decay_is_the_kl_divergence_from_uniform() -> None:
    assert spectral_decay(np.full(5, 0.2)) == pytest.approx(0)
    given = np.array([0.5, 0.3, 0.2])
    assert spectral_decay(given) == pytest.approx(sum(1 / 3 * np.log(1 / 3 / p) for p in given))


def test_spectrum_is_that_of_svd() -> None:
    rows = points()
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    assert space(rows).spectrum() == pytest.approx(values / values.sum(), rel=1e-5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.svd(unit, compute_uv=False)
    assert space(rows, "cosine").spectrum() == pytest.approx(values / values.sum(), rel=1e-5)


def test_collapsed_embeddings_have_a_spectrum() -> None:
    found = geometry(space(np.ones((30, 3))), space(points(30)))
    assert np.isfinite([found.effective_dimension, found.spectral_decay]).all()
    assert found.rank_correlation is None  # all distances are equal: nothing to rank
    assert effective_dimension(space(np.ones((30, 3)), "cosine").spectrum()) == pytest.approx(1)


def test_of_itself_everything_agrees_whatever_scale_offset_and_turn() -> None:
    rows = points(d=3)
    turn, _ = np.linalg.qr(points(3, 3, seed=1))
    found = geometry(space(5 * rows @ turn + 7), space(rows))
    assert found.overlap == 1
    assert found.rank_correlation == pytest.approx(1, abs=1e-6)


def test_cosine_knows_directions_only() -> None:
    rows = points()
    found = geometry(space(rows * np.linspace(1, 9, len(rows))[:, None], "cosine"), space(rows, "cosine"))
    assert found.overlap == 1
    assert found.rank_correlation == pytest.approx(1, abs=1e-6)


def test_strangers_agree_by_chance() -> None:
    n = 400
    found = geometry(space(points(n)), space(points(n, seed=9)))
    assert found.overlap == pytest.approx(NEAREST / (n - 1), abs=0.01)
    assert found.rank_correlation == pytest.approx(0, abs=0.05)


def test_overlap_by_hand() -> None:
    assert overlap(np.array([[1, 2], [0, 3]]), np.array([[2, 5], [3, 0]])) == (0.5 + 1) / 2


def test_a_query_is_not_its_own_neighbour_where_the_gallery_holds_it_in_another_form() -> None:
    rows = points().astype(np.float32)
    stored = Space(rows, rows + 1e-4, "l2", same=True)
    assert not (stored.nearest == np.arange(len(rows))[:, None]).any()
    assert Space(rows, rows + 1e-4, "l2", same=False).nearest[:, 0].tolist() == list(range(len(rows)))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, float).T
    ours = rank_correlation(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


def test_an_absurd_row_is_not_the_whole_spectrum_and_overflows_nothing() -> None:
    rows = points()
    bad = np.insert(rows, 17, np.finfo(np.float32).max, axis=0)
    assert space(bad).spectrum() == pytest.approx(space(rows).spectrum(), rel=1e-5)
    assert space(bad, "cosine").spectrum() == pytest.approx(space(rows, "cosine").spectrum(), abs=0.02)
    assert np.isfinite(space(bad).distances).all() and np.isfinite(space(-bad, "cosine").distances).all()
    found = geometry(space(bad), space(np.insert(rows, 17, 0, axis=0)))
    assert found.rank_correlation is not None and found.rank_correlation > 0.8
    assert found.overlap is not None and found.overlap > 0.9
