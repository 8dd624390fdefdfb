"""The paper of a method, by which the report groups methods that are drawn together; and whether a method uses labels."""

from __future__ import annotations

import pytest

from benchmark.methods import catalogue, entry


@pytest.mark.parametrize(
    ("reference", "paper"),
    [
        ("Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 7", "1904.05068"),
        (
            "control; the regression loss of Budnik and Avrithis, CVPR 2021, arXiv 2006.16331, on unit vectors",
            "2006.16331",
        ),
        ("Wu et al., Contextual Similarity Distillation for Asymmetric Image Retrieval, CVPR 2022", "Wu, CVPR 2022"),
        ("Huang and Wang, Like What You Like, NIPS workshop 2014 (weight 50)", "Huang, NIPS workshop 2014"),
        ("control; Jolliffe, Principal Component Analysis, Springer 2002", "Jolliffe, Springer 2002"),
        ("control", "rkd-d"),
        ("a talk of 2019", "rkd-d"),
    ],
)
def test_the_paper_of_a_reference(reference: str, paper: str) -> None:
    assert entry("rkd-d").model_copy(update={"reference": reference}).paper == paper


def test_methods_of_one_paper() -> None:
    """By the catalogue: which methods of the two families share one, across families too."""
    by_paper: dict[str, list[str]] = {}
    for name, method in catalogue().items():
        if method.kind in ("individual", "relational"):
            by_paper.setdefault(method.paper, []).append(name)
    assert sorted(names for names in by_paper.values() if len(names) > 1) == [
        ["absolute", "relative"],
        ["cosine", "regression"],
        ["darkrank", "darkrank-soft"],
        ["rkd-a", "rkd-d", "rkd-da"],
    ]
    assert not [paper for paper, names in by_paper.items() if paper in names]  # each has one


def test_which_methods_use_labels() -> None:
    """Those that read them, those that add a task loss, and sums with one of these."""
    assert all(entry(name).uses_labels for name in ("hinton", "fitnet", "darkrank", "triplet", "rkd-d+triplet"))
    assert not any(entry(name).uses_labels for name in ("rkd-d", "regression", "cc", "rkd-d+cc"))
