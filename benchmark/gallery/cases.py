"""Which queries a gallery shows."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from ..data.splits import DataSet
from ..retrieval.metrics import Labels
from ..retrieval.search import Ints
from .networks import SHOWN, Bools, Shown, answerable


class Section(NamedTuple):
    """A kind of case: how many queries it has, and which of them are shown."""

    key: str
    title: str
    rule: str
    total: int
    queries: Ints


def sections(teacher: Shown, student: Shown, dataset: DataSet, n: int) -> list[Section]:
    """The cases in which one network is right and the other wrong, and those in which both are; at most n queries each."""
    scored, labels = answerable(dataset), dataset.query.labels
    ours, theirs = student.right.sum(axis=1), teacher.right.sum(axis=1)
    beats = "largest margin first (its right neighbours among the {} shown, less those of the other)"
    both = "fewest right neighbours first (of both networks, among the {} shown)"
    cases = [
        ("student", "The student beats the teacher", beats, student.first & ~teacher.first, ours - theirs),
        ("teacher", "The teacher beats the student", beats, teacher.first & ~student.first, theirs - ours),
        ("neither", "Both wrong", both, ~teacher.first & ~student.first, -ours - theirs),
    ]
    return [
        Section(key, title, rule.format(SHOWN), int((scored & wanted).sum()), pick(scored & wanted, score, labels, n))
        for key, title, rule, wanted, score in cases
    ]


def pick(wanted: Bools, score: Ints, labels: Labels, n: int) -> Ints:
    """At most n of the wanted queries, those of the highest score [n] first, of equal ones the lowest index.

    Of each class one, before there is a second one of any.
    """
    order = np.argsort(-score, kind="stable")
    order = order[wanted[order]]
    seen: Counter[Any] = Counter()
    turns = []
    for label in labels[order].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return order[np.argsort(np.array(turns, np.int64), kind="stable")][:n]
