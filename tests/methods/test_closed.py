"""Heads in closed form: the contract that every one keeps, and each against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor

from benchmark import methods
from benchmark.methods.base import Widths
from benchmark.methods.closed import ClosedForm
from benchmark.networks.encoder import Encoder

CONTROLS = [name for name, entry in methods.catalogue().items() if entry.kind == "control"]
N, POOLED, TEACHER, CLASSES = 200, 12, 7, 5


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels and a teacher's embedding that depends on both."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % CLASSES
    centres = torch.randn(CLASSES, POOLED, generator=torch.Generator().manual_seed(99))
    features = (
        centres[labels]
        + torch.randn(N, POOLED, generator=generator) @ torch.diag(torch.arange(1, POOLED + 1.0)) / 4
        + 3
    )
    mixed = torch.randn(POOLED, TEACHER, generator=torch.Generator().manual_seed(98))
    return (
        features,
        labels,
        torch.nn.functional.normalize(features @ mixed + torch.randn(N, TEACHER, generator=generator)),
    )


def solved(
    name: str, dim: int, shown: tuple[Tensor, Tensor, Tensor] | None = None, **params: float
) -> tuple[ClosedForm, Encoder]:
    features, labels, teacher = shown or rows()
    method = methods.load(name)(Widths(dim, features.shape[1], ()), Widths(TEACHER, 9, ()), CLASSES, **params)
    network = Encoder(None, features.shape[1], dim)
    network.solve(method, features, labels, teacher if methods.entry(name).needs_teacher else None)
    return method, network


def raw(network: Encoder, features: Tensor) -> NDArray[np.float64]:
    """Embeddings before they are normalised."""
    network.normalize = False
    return network(features).embedding.detach().double().numpy()


def same_but_signs(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return np.allclose(np.abs(a), np.abs(b), atol=1e-3 * np.abs(b).max())


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_keeps_the_contract(name: str) -> None:
    features, labels, teacher = rows()
    _, network = solved(name, 4)
    made = network(features).embedding
    assert made.shape == (N, 4) and torch.allclose(made.norm(dim=1), torch.ones(N), atol=1e-5)
    assert torch.equal(solved(name, 4)[1](features).embedding, made), "it draws something"
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved = solved(name, 4, (features[order], labels[order], teacher[order]))[1](features).embedding
    assert torch.allclose(moved @ moved.T, made @ made.T, atol=1e-4), "the order of rows matters"
    entry = methods.entry(name)
    assert not entry.trains and not entry.is_random and not entry.ranges
    others = {"labels": (features, labels.sort().values, teacher), "teacher": (features, labels, teacher.roll(1, 0))}
    for what, shown in others.items():
        changed = not torch.allclose(solved(name, 4, shown)[1](features).embedding, made, atol=1e-4)
        assert changed == (what in entry.needs), f"it {'does not read' if not changed else 'reads'} {what}"


@pytest.mark.parametrize("name", CONTROLS)
def test_what_the_features_do_not_have_is_zeros(name: str) -> None:
    """More numbers than features, a feature of no variance, and fewer rows than features."""
    features, labels, teacher = rows()
    features[:, 3] = 2.0
    for shown in ((features, labels, teacher), (features[:8], labels[:8], teacher[:8])):
        _, network = solved(name, 40, shown)
        made = raw(network, features)
        assert np.isfinite(made).all() and not made[:, POOLED:].any() and made[:, 0].std() > 0


def test_whitened_pca_is_that_of_scikit_learn() -> None:
    features, _, _ = rows()
    expected = PCA(5, whiten=True).fit(features.numpy()).transform(rows(1)[0].numpy())
    assert same_but_signs(raw(solved("pca-whitened", 5)[1], rows(1)[0]), expected * np.sqrt(N / (N - 1)))


def test_discriminants_are_those_of_scikit_learn() -> None:
    features, labels, _ = rows()
    expected = (
        LinearDiscriminantAnalysis(solver="eigen").fit(features.numpy(), labels.numpy()).transform(rows(1)[0].numpy())
    )
    found = raw(solved("lda", CLASSES - 1, identity_share=0.0)[1], rows(1)[0])
    assert same_but_signs(found - found[0], expected - expected[0])


def test_past_the_discriminants_the_whitened_space_goes_on() -> None:
    """Within classes all numbers have unit variance and no covariance; the first are the discriminants."""
    features, labels, _ = rows()
    found = raw(solved("lda", POOLED, identity_share=0.0)[1], features)
    within = found - np.stack([found[labels == label].mean(0) for label in range(CLASSES)])[labels]
    assert np.allclose(within.T @ within / N, np.eye(POOLED), atol=1e-3)
    assert same_but_signs(found[:, : CLASSES - 1], raw(solved("lda", CLASSES - 1, identity_share=0.0)[1], features))
    assert np.allclose(found.var(0)[CLASSES - 1 :], 1.0, atol=1e-3)  # there is nothing left between classes


def test_ridge_is_that_of_scikit_learn() -> None:
    features, _, teacher = rows()
    share = 0.3
    alpha = N * share / (1 - share) * features.var(0, unbiased=False).mean().item()
    ridge = Ridge(alpha=alpha).fit(features.double().numpy(), teacher.double().numpy())
    predicted = ridge.predict(features.double().numpy())
    expected = PCA(4).fit(predicted).transform(ridge.predict(rows(1)[0].double().numpy())) / (1 - share)
    _, network = solved("ridge", 4, identity_share=share)
    assert same_but_signs(raw(network, rows(1)[0]), expected)


@pytest.mark.parametrize("dim", [4, 16])
def test_points_in_the_teachers_space_are_the_least_squares_fit(dim: int) -> None:
    features, _, teacher = rows()
    method, network = solved("ridge", dim)
    made = network(features).embedding.detach()
    expected = LinearRegression().fit(made.double().numpy(), teacher.double().numpy()).predict(made.double().numpy())
    mapped = method.to_teacher_space(made)
    assert mapped is not None and np.allclose(mapped.numpy(), expected, atol=1e-4)
