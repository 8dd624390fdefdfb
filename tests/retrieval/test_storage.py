"""Galleries of fewer bytes: what comes out of storage is what its form can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.report.decision import BYTES
from benchmark.retrieval.approximate import FORMS, as_stored


def rows(seed: int, n: int = 40, d: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) * np.float32(3) + np.float32(1)


@given(st.integers(0, 99))
def test_numbers_are_off_by_no_more_than_a_form_is_coarse(seed: int) -> None:
    gallery = rows(seed)
    half = as_stored(gallery, "float16", "l2")
    assert np.abs(half - gallery).max() <= np.abs(gallery).max() * 2**-11
    eighth = as_stored(gallery, "int8", "l2")
    steps = (gallery.max(0) - gallery.min(0)) / 255
    assert (np.abs(eighth - gallery) <= steps * 1.01).all()
    assert all(len(np.unique(column)) <= 256 for column in eighth.T)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_signs_are_all_that_is_kept(metric: str) -> None:
    gallery = rows(0)
    binary = as_stored(gallery, "binary", metric)  # type: ignore[arg-type]
    assert all(len(np.unique(column)) == 2 for column in binary.T)
    origin = gallery.mean(0) if metric == "l2" else 0
    assert (np.sign(binary - origin) == np.sign(gallery - origin)).all()


def test_every_form_has_its_bytes_and_survives_the_absurd() -> None:
    assert {*FORMS} == {*BYTES} - {"float32"}
    gallery = rows(1)
    gallery[3] = 1e30
    for form in FORMS:
        stored = as_stored(gallery, form, "l2")
        assert stored.shape == gallery.shape and stored.dtype == np.float32 and np.isfinite(stored).all()
