"""Labelled images, split into what trains and what is searched, and the ways to cut and to group them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..spec import Spec, derive
from .cards import Card
from .contents import digests
from .vectors import TeacherVectors, VectorRows


@dataclass(frozen=True, eq=False)
class Split:
    """Images with labels. `names[label]` is the class; query and gallery of one data set share their `names`.

    Without labels, which own vectors may be, there are no names, and each image is a class of its own.
    """

    images: tuple[Path, ...] | np.ndarray | VectorRows  # files; uint8 [n, h, w] where they are rendered; or own vectors
    labels: np.ndarray  # int64 [n], sorted
    names: tuple[str, ...]
    # What a held-out part was cut from, and the rows of it that it has: what is cached of the whole serves its parts.
    whole: Split | None = None
    rows: slice | np.ndarray = field(default_factory=lambda: slice(None))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def vectors(self) -> VectorRows | None:
        """Own vectors, where these stand in the place of images."""
        return self.images if isinstance(self.images, VectorRows) else None

    @property
    def classes(self) -> int:
        return len(self.names) or len(self)

    def described(self, kind: str) -> str:
        """Its size for people: `192 training images of 16 classes`."""
        what = "images" if self.vectors is None else "vectors"
        return f"{len(self)} {kind} {what}" + (f" of {len(self.names)} classes" if self.names else " without labels")

    def of_whole(self, compute: Callable[[Split], np.ndarray]) -> np.ndarray:
        """This split's rows of what `compute` gives for the whole."""
        return compute(self) if self.whole is None else compute(self.whole)[self.rows]


@dataclass(eq=False)
class Contents:
    """Fingerprints that tell a data set from others, computed when they are asked for.

    Args:
        root: the data set's own folder; names are relative to it, so that it does not matter where it lies.
        splits: by name.
        rule: how files become pixels: part of what the data are.
        folder: where the files' digests are remembered.
    """

    root: Path
    splits: Mapping[str, Split]
    rule: str
    folder: Path

    @cached_property
    def listing(self) -> str:
        """16 hexadecimal digits of names, sizes and labels: all that tells older records' images. Of what is rendered, and of
        vectors, the content.

        Raises:
            OSError: an image that the annotations name is missing.
        """
        return self._fingerprint("", lambda paths: [str(path.stat().st_size) for path in paths])

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of names, contents and labels.

        Raises:
            DataError: an image cannot be read.
        """
        if not any(isinstance(split.images, tuple) for split in self.splits.values()):
            return self.listing
        return self._fingerprint(self.rule, lambda paths: digests(paths, self.folder))

    def _fingerprint(self, rule: str, said_of: Callable[[Sequence[Path]], list[str]]) -> str:
        digest = hashlib.sha256(rule.encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split)}\n".encode())
            digest.update(np.ascontiguousarray(split.labels, "<i8").data)
            if isinstance(split.images, VectorRows):
                digest.update(split.images.digest)
            elif isinstance(split.images, np.ndarray):
                digest.update(np.ascontiguousarray(split.images).data)
            else:
                for path, said in zip(split.images, said_of(split.images), strict=True):
                    name = Path(os.path.relpath(path, self.root)).as_posix()  # a table may name what lies elsewhere
                    digest.update(f"{name}\0{said}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training classes, and others to search in: `query` in `gallery`, or among themselves where that is None."""

    card: Card
    train: Split
    query: Split
    gallery: Split | None
    contents: Contents
    validation: Split | None = None  # of own data that say so: held out to choose settings by
    teacher: TeacherVectors | None = None  # from elsewhere, of all images

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of names, contents and labels."""
        return self.contents.fingerprint

    @property
    def listing(self) -> str:
        """The same of names, sizes and labels, by which older records know their images."""
        return self.contents.listing

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of a record that say which images it is of."""
        return {"data": self.fingerprint, "listing": self.listing, "closed": self.closed}

    @property
    def labelled(self) -> bool:
        return bool(self.train.names)

    @property
    def closed(self) -> bool:
        """Whether some of the searched classes are trained on."""
        return not {*self.train.names}.isdisjoint(self.query.names)

    def taught_by(self, spec: Spec) -> TeacherVectors:
        """The vectors that a run, or another that it builds on, reads by the images' names.

        Raises:
            UsageError: they were not given, or others.
        """
        if self.teacher is None:
            raise UsageError(
                f"{spec.label} is of a teacher that is vectors: give --teacher-features and --teacher-names"
            )
        if self.teacher.key != spec.builds_on_vectors:
            raise UsageError(f"{spec.label} is of other vectors than these ({self.teacher.key})")
        return self.teacher

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(split for split in (self.train, self.query, self.gallery) if split is not None)


Row = tuple[str, Path]  # class name, image
Splits = dict[str, Split]  # train and test; or train, query and gallery


def holdout(dataset: DataSet, fold: str = "") -> DataSet:
    """The validation protocol: search among some of the training classes, train on the others; no test image.

    Own data that have a split of that name are searched in it, and all of their training classes train.

    Args:
        fold: "2/3" holds out the second of three parts, which follow each other; "" the last fifth, and at least two classes.

    Raises:
        UsageError: fewer than two training classes would be on either side.
    """
    train = dataset.train
    classes = train.classes
    if dataset.validation is not None:
        return replace(dataset, query=dataset.validation, gallery=None)
    if fold:
        part, parts = map(int, fold.split("/"))
        first, end = classes * (part - 1) // parts, classes * part // parts
    else:
        first, end = min(classes * 4 // 5, classes - 2), classes
    if min(end - first, classes - (end - first)) < 2:
        raise UsageError(
            f"{dataset.card.name}: {classes} training classes are too few to hold out {fold or 'some'} for validation; "
            f"at least {2 * parts if fold else 4}"
        )

    def cut(chosen: Sequence[int]) -> Split:
        rows = np.flatnonzero(np.isin(train.labels, chosen))
        start, end = int(rows[0]), int(rows[-1]) + 1
        # As a slice where that will do: of what is mapped into memory it makes no copy.
        return replace(take(train, chosen), whole=train, rows=slice(start, end) if end - start == len(rows) else rows)

    trained = [*range(first), *range(end, classes)]
    return replace(dataset, train=cut(trained), query=cut(range(first, end)), gallery=None)


def grouped(rows: Iterable[Row], names: Sequence[str] = ()) -> Split:
    """Rows grouped by class: in the order of `names`, by default that of first appearance; images keep theirs."""
    rows = list(rows)
    index = {name: label for label, name in enumerate(names or dict.fromkeys(name for name, _ in rows))}
    labels = np.array([index[name] for name, _ in rows], np.int64)
    order = np.argsort(labels, kind="stable")
    return Split(tuple(rows[i][1] for i in order), labels[order], tuple(index))


def without_labels(images: Sequence[Path]) -> Split:
    """Images that are each a class of their own, in an order drawn at random, so that any part is a fair one."""
    order = np.random.default_rng(derive(0, "order of images")).permutation(len(images))
    return Split(tuple(images[i] for i in order), np.arange(len(images)), ())


def split_fifths(split: Split) -> Splits:
    """Four fifths of rows without labels train, the last one tests."""
    fifth = len(split) - len(split) // 5
    return {"train": take(split, range(fifth)), "test": take(split, range(fifth, len(split)))}


def three(rows: dict[str, list[Row]]) -> Splits:
    """Train, query and gallery, the latter two with labels in common."""
    both = [name for name, _ in chain(rows["query"], rows["gallery"])]
    names = sorted(set(both), key=natural)
    return {"train": grouped(rows["train"]), **{split: grouped(rows[split], names) for split in ("query", "gallery")}}


def split_halves(split: Split) -> Splits:
    """The zero-shot rule of the literature: the first half of the classes trains, the second half tests."""
    classes = len(split.names)
    return {"train": take(split, range(classes // 2)), "test": take(split, range(classes // 2, classes))}


def take(split: Split, classes: Sequence[int], images: int | None = None) -> Split:
    """Some classes (ascending), numbered anew, with the first so many images of each."""
    place = np.full(split.classes, -1)
    place[np.asarray(classes, np.intp)] = np.arange(len(classes))
    labels = place[split.labels]
    keep = labels >= 0
    if images is not None:
        starts = np.searchsorted(split.labels, split.labels)  # labels are sorted
        keep &= np.arange(len(labels)) - starts < images
    chosen = np.flatnonzero(keep)
    kept = tuple(split.images[i] for i in chosen) if isinstance(split.images, tuple) else split.images[chosen]
    return Split(kept, labels[chosen], tuple(split.names[c] for c in classes) if split.names else ())


def first_of(splits: Splits, classes: int, images: int) -> Splits:
    if images < 2:
        raise UsageError(f"the subset {classes}x{images} leaves one image a class; two are needed to learn from")
    if not splits["train"].names:
        raise UsageError(f"the subset {classes}x{images} is of classes, and there are no labels")
    result: Splits = {}
    alone = [name for name in splits if name in ("train", "validation")]
    # Query and gallery keep the same classes.
    for group in (*([name] for name in alone), [name for name in splits if name not in alone]):
        sizes = np.min([np.bincount(splits[name].labels, minlength=len(splits[name].names)) for name in group], axis=0)
        enough = np.flatnonzero(sizes >= images)
        if len(enough) < classes:
            there = f"{len(enough)} classes of {' and '.join(group)} have {images} images"
            raise UsageError(f"the subset {classes}x{images} is more than there is: {there}")
        for name in group:
            result[name] = take(splits[name], enough[:classes].tolist(), images)
    return result


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part], name
