"""Controls without a student, and retrieval across two networks: against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from benchmark import methods
from benchmark.methods.base import Widths
from benchmark.methods.posthoc import Linear, PostHoc
from benchmark.retrieval.metrics import evaluate

N, WIDTH = 400, 24


def teacher(seed: int = 0) -> Tensor:
    """Rows with a few strong directions, an offset, and noise."""
    generator = torch.Generator().manual_seed(seed)
    strong = torch.randn(N, 6, generator=generator) @ torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(9))
    return strong + 0.1 * torch.randn(N, WIDTH, generator=generator) + 3.0


def fitted(name: str, dim: int, seed: int = 0) -> PostHoc:
    torch.manual_seed(seed)
    method = methods.load(name)(Widths(dim, WIDTH, ()), Widths(WIDTH, WIDTH, ()), 10)
    method.prepare(teacher(), torch.zeros(N, dtype=torch.int64))
    return method


def test_pca_is_that_of_scikit_learn() -> None:
    expected = PCA(6).fit(teacher().numpy()).transform(teacher(1).numpy())
    found = fitted("pca", 6).compress(teacher(1)).numpy()
    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-3)  # an axis has no sign


def test_pca_of_few_rows_keeps_what_they_span() -> None:
    """Fewer rows than numbers, in fewer directions than are asked for: distances stay as they are."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(20, 4, generator=generator) @ torch.randn(4, WIDTH, generator=generator)
    method = methods.load("pca")(Widths(16, WIDTH, ()), Widths(WIDTH, WIDTH, ()), 10)
    assert isinstance(method, Linear)
    method.prepare(rows, torch.zeros(20, dtype=torch.int64))
    assert torch.allclose(torch.cdist(method.compress(rows), method.compress(rows)), torch.cdist(rows, rows), atol=1e-2)
    assert torch.allclose(method.matrix @ method.matrix.T, torch.eye(16), atol=1e-4)


def test_random_directions_are_orthonormal_and_the_seeds() -> None:
    first, again, other = (fitted("random-projection", 6, seed) for seed in (1, 1, 2))
    assert torch.allclose(first.matrix @ first.matrix.T, torch.eye(6), atol=1e-5)
    assert torch.equal(first.matrix, again.matrix) and not torch.allclose(first.matrix, other.matrix)


def test_truncation_keeps_the_first_numbers() -> None:
    assert torch.equal(fitted("truncate", 5).compress(teacher(1)), teacher(1)[:, :5])


@pytest.mark.parametrize(("dim", "parts"), [(2, 8), (4, 12), (16, 24)])
def test_quantised_rows_are_the_nearest_that_codes_stand_for(dim: int, parts: int) -> None:
    """At most as many bytes as a float32 student of `dim` numbers has, in parts of equal width."""
    method = fitted("pq", dim)
    assert method.parts == parts <= 4 * dim and len(method.centroids[0]) == 256
    rows = teacher(1)[:7]
    stored = method.stored(rows)
    for row, found in zip(rows, stored, strict=True):
        for part, candidates in enumerate(method.centroids):
            here = slice(part * WIDTH // parts, (part + 1) * WIDTH // parts)
            nearest = candidates[(candidates - row[here]).square().sum(1).argmin()]
            assert torch.equal(found[here], nearest)
    assert torch.equal(method.compress(rows), rows)


def test_an_ensemble_has_the_mean_of_its_members_cosines() -> None:
    method = methods.load("ensemble")(Widths(3 * 4, 4, ()), Widths(4, 4, ()), 10)
    members = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    found = method.compress(members.flatten(1))
    units = torch.nn.functional.normalize(members, dim=2)
    expected = torch.einsum("nmd,kmd->nk", units, units) / 3
    assert torch.allclose(found @ found.T, expected, atol=1e-6)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_queries_in_another_form_of_themselves(metric: str) -> None:
    """The query's own row of the gallery is left out, however near it is."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 90)
    query = rng.normal(size=(90, 6)).astype(np.float32) + np.eye(12, 6, dtype=np.float32)[labels]
    gallery = query + rng.normal(size=query.shape, scale=0.5).astype(np.float32)
    found = getattr(evaluate(query, labels, gallery, labels, same=True).evaluation, metric)
    if metric == "cosine":
        query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
    d = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    np.fill_diagonal(d, np.inf)
    nearest = d.argsort(axis=1)
    assert found["recall@1"] == pytest.approx((labels[nearest[:, 0]] == labels).mean())
    assert found["recall@4"] == pytest.approx((labels[nearest[:, :4]] == labels[:, None]).any(axis=1).mean())
