"""Indices that are not exact: what they find, beside exact search, and what becomes of what they do not find."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from benchmark.retrieval.approximate import compare
from benchmark.retrieval.indices import Form, built
from benchmark.retrieval.metrics import evaluate
from benchmark.retrieval.search import Index, prepared


def clusters(n: int = 1200, d: int = 12, classes: int = 30) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return (10 * draw.normal(size=(classes, d))[labels] + draw.normal(size=(n, d))).astype(np.float32), labels


@pytest.mark.parametrize(("form", "least"), [("flat", 1.0), ("hnsw", 0.95), ("ivf-pq", 0.3)])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_most_of_the_nearest_are_among_them(form: Form, least: float, metric: str, tmp_path: Path) -> None:
    rows, labels = clusters()
    beside = compare(rows, None, metric, form)  # type: ignore[arg-type]
    assert least <= beside.share <= 1
    # The whole index is what faiss writes to a file.
    _, index = prepared(rows, rows, metric, form)  # type: ignore[arg-type]
    faiss.write_index(index._index, str(tmp_path / "index"))
    assert beside.item == (tmp_path / "index").stat().st_size / len(rows)
    # Classes lie apart: whichever is found, it is of the query's class.
    exact = evaluate(rows, labels).evaluation
    other = evaluate(rows, labels, index=form).evaluation
    assert getattr(other, metric)["recall@1"] == pytest.approx(getattr(exact, metric)["recall@1"], abs=0.01)


def test_codes_are_smaller_than_rows() -> None:
    rows, _ = clusters(n=4000, d=64)
    assert compare(rows, None, "l2", "ivf-pq").item < 0.4 * 4 * 64 < 4 * 64 < compare(rows, None, "l2", "hnsw").item


def test_what_is_not_there_is_no_match() -> None:
    """Of lists that are not searched nothing is found: -1 in faiss, which is no last row."""
    rows = np.concatenate([np.zeros((1, 4)), 100 + np.random.default_rng(0).normal(size=(1999, 4))]).astype(np.float32)
    labels = np.zeros(2000, int)
    index = Index(rows, "ivf-pq")
    ((_, nearest),) = index.search(rows[:1], 1500, np.array([0]))
    assert nearest.shape == (1, 1500) and (nearest == -1).any()
    exact, other = (evaluate(rows, labels, index=form).evaluation.l2 for form in ("flat", "ivf-pq"))  # type: ignore[arg-type]
    assert exact["r_precision"] == 1 and other["r_precision"] < 0.9


def test_absurd_rows_are_found_beside_codes() -> None:
    rows, _ = clusters(n=1500)
    rows[7] = rows[8] = np.finfo(np.float32).max
    ((_, nearest),) = Index(rows, "ivf-pq").search(rows[7:8], 3, np.array([7]))
    assert nearest[0, 0] == 8
    assert built("ivf-pq", rows[9:]).ntotal == 1491
