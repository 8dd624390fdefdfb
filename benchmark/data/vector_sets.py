"""From files of vectors to data: own vectors as splits, and those that a teacher has of images, joined by the names of their files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from ..errors import DataError, UsageError, some
from ..files import read_regular
from ..spec import derive
from .arrays import LABELS, open_array
from .cards import TABLES, Card, Vectors
from .image_table import read_cells
from .splits import DataSet, Split, Splits, natural, split_fifths, split_halves
from .vectors import BLOCK, TeacherVectors, VectorFile, VectorRows


def read_vectors(card: Card, root: Path) -> Splits:
    """The splits of a card of vectors. Raises a DataError where its files do not go together."""
    files = card.vectors
    assert files is not None and files.features is not None
    train = _split_of(files.features, files.teacher_features, files.labels, "", files.views or 1)
    if files.test_features is None:
        if not train.names:
            return split_fifths(train)
        if train.classes < 4:
            raise DataError(f"{files.labels} has {train.classes} classes; without test files at least 4 are needed")
        return split_halves(train)
    test = _split_of(files.test_features, files.test_teacher_features, files.test_labels, "test_", 1)
    for role in ("student", "teacher"):
        trained, searched = getattr(train.images, role), getattr(test.images, role)
        if trained.width != searched.width:
            raise DataError(f"{trained.path} has rows of {trained.width} numbers, {searched.path} of {searched.width}")
    for split, file in ((train, files.labels), (test, files.test_labels)):
        if split.classes < 2:
            raise DataError(f"{file or files.features} has one class; at least 2 are needed")
    return {"train": train, "test": test}


def _split_of(features: Path, teacher_features: Path | None, labels: Path | None, test: str, views: int) -> Split:
    """The split that some files of own vectors hold. Rows without labels are in an order drawn at random, so that any part is a fair one.

    Args:
        test: what the names of arrays in an archive begin with.
        views: rows an image.
    """
    student = VectorFile(features, f"{test}features", views, trained=not test)
    teacher = student
    if teacher_features:
        teacher = VectorFile(teacher_features, f"{test}teacher_features", views, trained=not test)
    if (len(student), student.views) != (len(teacher), teacher.views):
        own, other = (f"has {len(file)} images of {file.views} views" for file in (student, teacher))
        raise DataError(f"{features} {own}, {teacher_features} {other}")
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


def join_vectors(dataset: DataSet, files: Vectors) -> DataSet:
    """The data set with a teacher's vectors of its images, joined by file name: by the path below the data set's root, or, where
    no path fits, by base names if these tell all apart.

    Raises:
        UsageError: the images have no file names.
        DataError: a file cannot be read; its rows are not as many as names; or an image has no row or several.
    """
    images: list[Path] = []
    for split in filter(None, (*dataset.splits, dataset.validation)):
        if not isinstance(split.images, tuple):
            raise UsageError(f"--teacher-features: {dataset.card.name} has no image files to join by")
        images += split.images
    assert files.teacher_features is not None and files.teacher_names is not None
    file = VectorFile(files.teacher_features.absolute(), "teacher_features", files.views or 1, trained=True)
    names = _names(files.teacher_names, {"path", dataset.card.table.path if dataset.card.table else "path"})
    if len(names) != len(file):
        raise DataError(f"{file.path} has vectors of {len(file)} images, {files.teacher_names} has {len(names)} names")
    root = dataset.contents.root
    shown = {path: Path(os.path.relpath(path, root)).as_posix() for path in images}
    rows, by = _joined(images, names, root, shown, files.teacher_names)
    surplus = sorted({*names} - {names[row] for row in rows.values()})
    views = f", {file.views} views of each: one is drawn at a step, view 0 is evaluated" if file.views > 1 else ""
    more = f"; {len(names) - len(rows)} surplus rows: {some(surplus)}" if len(names) > len(rows) else ""
    said = f"the teacher is {file.path.name}: {file.width} numbers of each of {len(rows)} images, joined by {by}{views}{more}"
    _ = file.scanned  # what is not finite, or absurd, is told
    return replace(dataset, teacher=TeacherVectors(file, rows, _digest(file, rows, shown), said))


def _names(path: Path, columns: Iterable[str]) -> list[str]:
    """The names in a file, in the order of the rows that they are of: a text's lines, or a table's column.

    Args:
        columns: what that column may be called; one named `row` beside it, as `embed` writes it, says the row.
    """
    if path.suffix not in (*TABLES, ".txt"):
        raise UsageError(f"--teacher-names {path}: wanted is a table ({', '.join(TABLES)}) or a .txt")
    if path.suffix == ".txt":
        try:
            return read_regular(path).decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
        except UnicodeError as error:
            raise DataError(f"{path} is not in UTF-8 ({error}): save it as UTF-8") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as names: {error}") from None
    cells = read_cells(path)
    there = [column for column in sorted(columns) if column in cells]
    if len(there) != 1:
        wanted = " or ".join(map(repr, sorted(columns)))
        raise DataError(f"{path}: names are wanted in one column, {wanted}; there are {', '.join(cells.columns)}")
    names = list(cells[there[0]])
    if "row" not in cells:
        return names
    if sorted(cells["row"]) != sorted(map(str, range(len(names)))):
        raise DataError(f"{path}: its column row does not count the rows from 0 to {len(names) - 1}, each once")
    return [name for _, name in sorted(zip(map(int, cells["row"]), names, strict=True))]


def _alike(name: str) -> str:
    """A name in the form in which names are joined: macOS takes letters and their accents apart, Windows writes backslashes."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _joined(
    images: Sequence[Path], names: Sequence[str], root: Path, shown: Mapping[Path, str], source: Path
) -> tuple[dict[Path, int], str]:
    """The row of each image, and what joined them. Raises as `join_vectors`."""
    wanted = {_alike(os.path.abspath(path)): path for path in images}  # noqa: PTH100  (links are names, too)
    keys, by = [_alike(os.path.abspath(root / _alike(name))) for name in names], "path"  # noqa: PTH100
    if wanted.keys().isdisjoint(keys):
        wanted = {_alike(path.name): path for path in images}
        keys, by = [PurePath(_alike(name)).name for name in names], "file name"
        example = f"the first is {names[0]!r}, an image is {shown[images[0]]!r}"
        if wanted.keys().isdisjoint(keys):
            raise DataError(f"{source}: its names match no image of {root}: {example}")
        if len(wanted) < len(images):
            raise DataError(
                f"{source}: its paths match no image of {root} ({example}), and file names alone are ambiguous: "
                f"{len(images)} images have {len(wanted)} of them"
            )
    rows: dict[Path, list[int]] = {path: [] for path in images}
    for row, key in enumerate(keys):
        if key in wanted:
            rows[wanted[key]].append(row)
    faults = {
        "no row": [shown[path] for path, own in rows.items() if not own],
        "several rows": [shown[path] for path, own in rows.items() if len(own) > 1],
    }
    if told := [f"{len(bad)} of {len(images)} images have {what} ({some(bad)})" for what, bad in faults.items() if bad]:
        surplus = [name for name, key in zip(names, keys, strict=True) if key not in wanted]
        told += [f"{len(surplus)} rows are of no image ({some(surplus)})"] * bool(surplus)
        raise DataError(f"{source}, joined by {by}: {', and '.join(told)}")
    return {path: own[0] for path, own in rows.items()}, by


def _digest(file: VectorFile, rows: Mapping[Path, int], shown: Mapping[Path, str]) -> str:
    """12 hexadecimal digits of names and vectors, by name: the same in whatever order the rows are, and whatever else is there."""
    digest = hashlib.sha256(f"{len(rows)} {file.views} {file.width}\n".encode())
    ordered = sorted(rows, key=lambda path: shown[path])
    digest.update("\n".join(shown[path] for path in ordered).encode())
    numbers = np.array([rows[path] for path in ordered])
    size = max(1, BLOCK // (file.views * file.width))
    for start in range(0, len(numbers), size):
        for view in range(file.views):
            digest.update(np.ascontiguousarray(file.read(numbers[start : start + size], view), "<f4").data)
    return digest.hexdigest()[:12]
