"""The files of own feature vectors, as cards and command lines name them."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, model_validator

from ..spec import Frozen, Positive


class Vectors(Frozen):
    """Files of own feature vectors: `.npy`, or `.npz` with an array of the field's name or with one array alone."""

    features: Path | None = Field(None, description="own vectors instead of images: .npy or .npz, [n, c] or [n, V, c]")
    teacher_features: Path | None = Field(
        None,
        description="the teacher's vectors, by default the student's; without --features of --dataset's images",
    )
    teacher_names: Path | None = Field(
        None, description="the images' names, row by row: a table's column path, or a .txt"
    )
    labels: Path | None = Field(None, description="classes [n], integers or strings; without, hits are the teacher's")
    test_features: Path | None = Field(None, description="vectors to search in; by default a part of --features")
    test_teacher_features: Path | None = Field(None, description="the teacher's vectors of the rows to search in")
    test_labels: Path | None = Field(None, description="classes of the rows to search in")
    views: Positive | None = Field(None, description="rows an image, together, in training files of shape [n * V, c]")

    @model_validator(mode="after")
    def _complete(self) -> Vectors:
        needless = {name for name, value in self if value} - {"teacher_features", "teacher_names", "views"}
        if self.features is None and needless:
            raise ValueError(f"{min(needless)} is given, features is not")
        if self.features is None and not (self.teacher_features and self.teacher_names):
            raise ValueError("without --features, --teacher-features and --teacher-names are wanted together")
        if self.features and self.teacher_names:
            raise ValueError("teacher_names is for students that read images; rows of features are joined in order")
        for name in ("teacher_features", "labels"):
            train, test = getattr(self, name), getattr(self, f"test_{name}")
            if test and not self.test_features:
                raise ValueError(f"test_{name} is given, test_features is not")
            if self.test_features and bool(train) != bool(test):
                raise ValueError(f"{name} and test_{name} go together: one is given, the other is not")
        return self

    @property
    def rule(self) -> str:
        """Say what is trained on, what is searched, and what a hit is: for people."""
        if self.test_features:
            what = "the test files are searched"
        elif self.labels:
            what = "no test files: the first half of the classes trains, the other half is searched"
        else:
            what = "no test files: four fifths of the rows, drawn at random, train, the others are searched"
        return what if self.labels else f"{what}; no labels: a hit is one of the teacher's nearest neighbours"

    def below(self, folder: Path) -> Vectors:
        """With absolute paths, relative ones taken to be below `folder`."""
        given = {name: value for name, value in self if isinstance(value, Path)}
        return self.model_copy(
            update={name: Path(os.path.abspath(folder / path.expanduser())) for name, path in given.items()}  # noqa: PTH100
        )
