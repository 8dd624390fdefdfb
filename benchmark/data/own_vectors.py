"""Own feature vectors as splits: from their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..spec import derive
from .arrays import LABELS, open_array
from .cards import Card
from .splits import Split, Splits, natural, split_fifths, split_halves
from .vectors import VectorFile, VectorRows


def read_vectors(card: Card, root: Path) -> Splits:
    """The splits of a card of vectors. Raises a DataError where its files do not go together."""
    files = card.vectors
    assert files is not None and files.features is not None
    train = _rows(files.features, files.teacher_features, files.labels, "", files.views or 1)
    if files.test_features is None:
        if not train.names:
            return split_fifths(train)
        if train.classes < 4:
            raise DataError(f"{files.labels} has {train.classes} classes; without test files at least 4 are needed")
        return split_halves(train)
    test = _rows(files.test_features, files.test_teacher_features, files.test_labels, "test_", 1)
    for role in ("student", "teacher"):
        trained, searched = getattr(train.images, role), getattr(test.images, role)
        if trained.width != searched.width:
            raise DataError(f"{trained.path} has rows of {trained.width} numbers, {searched.path} of {searched.width}")
    for split, file in ((train, files.labels), (test, files.test_labels)):
        if split.classes < 2:
            raise DataError(f"{file or files.features} has one class; at least 2 are needed")
    return {"train": train, "test": test}


def _rows(features: Path, teacher_features: Path | None, labels: Path | None, test: str, views: int) -> Split:
    """The split that some files of own vectors hold. Rows without labels are in an order drawn at random, so that any part is a fair one.

    Args:
        test: what the names of arrays in an archive begin with.
        views: rows an image.
    """
    student = VectorFile(features, f"{test}features", views, trained=not test)
    teacher = student
    if teacher_features:
        teacher = VectorFile(teacher_features, f"{test}teacher_features", views, trained=not test)
    if len(student) != len(teacher):
        raise DataError(f"{features} has {len(student)} images, {teacher_features} has {len(teacher)}")
    if student.views != teacher.views:
        raise DataError(f"{features} has {student.views} views an image, {teacher_features} has {teacher.views}")
    if labels is None:
        order = np.random.default_rng(derive(0, "order of vectors")).permutation(len(student))
        return Split(VectorRows(student, teacher, order), np.arange(len(student)), ())
    names = np.array(open_array(labels, f"{test}labels", LABELS))
    if len(names) != len(student):
        raise DataError(f"{features} has {len(student)} images, {labels} has {len(names)} labels")
    # Texts as names of folders: 2 before 10.
    classes = sorted({*names.tolist()}, key=natural if names.dtype.kind == "U" else None)
    number = {name: label for label, name in enumerate(classes)}
    labelled = np.array([number[name] for name in names.tolist()], np.int64)
    order = np.argsort(labelled, kind="stable")
    return Split(VectorRows(student, teacher, order), labelled[order], tuple(map(str, classes)))
