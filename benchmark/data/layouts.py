"""From files on disk to labelled splits: one reader a layout, and the checks that every data set has to pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import cards, glyphs
from .arrays import LABELS, Form, open_array
from .cache import cache_dir
from .cards import Card
from .decode import RULE
from .image_table import read_image_table
from .splits import (
    Contents,
    DataSet,
    Row,
    Split,
    Splits,
    first_of,
    grouped,
    natural,
    split_fifths,
    split_halves,
    three,
    without_labels,
)
from .vector_sets import read_vectors

KINDS = "avif bmp gif heic heif jp2 jpeg jpg pgm png ppm tif tiff webp"
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())


def load_images(card: Card, data_dir: Path, subset: str = "") -> DataSet:
    """Read and check a data set; no image is opened.

    Args:
        card: replaced by the one that lies beside the data, if there is one (`cards.replacement`).
        data_dir: the folder that holds `card.folder`.
        subset: "8x6": of each split the first 8 classes that have 6 images, with the first 6 of each.

    Raises:
        DataError: something is missing, not what the card says, or not fit for training and zero-shot retrieval.
        UsageError: the subset is larger than the data set.
    """
    card = cards.replacement(card, data_dir)
    root = _root(card, data_dir)
    try:
        splits = _READERS[card.layout](card, root)
        _check(card, root, splits)
        if subset:
            classes, images = map(int, subset.split("x"))
            splits = first_of(splits, classes, images)
        contents = Contents(root, splits, RULE, cache_dir(data_dir))
        _ = contents.listing  # looks whether all files are there
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(card, data_dir, error.filename) from None
    except OSError as error:
        raise DataError(f"{card.name}: {error.filename} cannot be read: {error.strerror}") from None
    query = splits["test"] if "test" in splits else splits["query"]
    return DataSet(card, splits["train"], query, splits.get("gallery"), contents, splits.get("validation"))


# --- readers: one a layout, each (card, root) -> splits with classes in their official order ---


def _cub(card: Card, root: Path) -> Splits:
    labels = {image: int(label) for image, label in _table(root / "image_class_labels.txt", "image class")}
    rows = []
    for image, name in _table(root / "images.txt", "image name"):
        if image not in labels:
            raise DataError(f"{root / 'image_class_labels.txt'}: image {image} has no class")
        rows.append((labels[image], root / "images" / name))
    rows.sort(key=lambda row: row[0])
    names = {label: path.parent.name for label, path in reversed(rows)}
    return split_halves(grouped((names[label], path) for label, path in rows))


_CARS = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}


def _cars(card: Card, root: Path) -> Splits:
    if (root / "car_ims").is_dir():
        rows = [(label, root / name) for label, name in _annotations(root / "cars_annos.mat", "relative_im_path")]
    else:  # file names repeat between the two folders
        rows = [
            (label, root / folder / name)
            for folder, file in _CARS.items()
            for label, name in _annotations(root / file, "fname")
        ]
    return split_halves(grouped((str(label), path) for label, path in sorted(rows, key=lambda row: row[0])))


def _sop(card: Card, root: Path) -> Splits:
    return {
        split: grouped(
            (name, root / path)
            for _, name, _, path in _table(root / f"Ebay_{split}.txt", "image_id class_id super_class_id path", skip=1)
        )
        for split in ("train", "test")
    }


def _inshop(card: Card, root: Path) -> Splits:
    rows: dict[str, list[Row]] = {"train": [], "query": [], "gallery": []}
    file = root / "list_eval_partition.txt"
    for image, item, split in _table(file, "image_name item_id evaluation_status", skip=2):
        if split not in rows:
            raise DataError(f"{file}: {image} is in {split!r}; expected train, query or gallery")
        rows[split].append((item, root / image))
    return three(rows)


def _folder(card: Card, root: Path) -> Splits:
    if card.table is not None:
        return read_image_table(card.table, root, unlabelled=card.unlabelled)
    inside = {path.name for path in _listed(root)}
    if card.unlabelled:
        if {"train", "test"} <= inside:
            return {split: without_labels(images_below(root / split)) for split in ("train", "test")}
        return split_fifths(without_labels(images_below(root)))
    if {"train", "query", "gallery"} <= inside:
        return three({split: _classes_in(root / split) for split in ("train", "query", "gallery")})
    if {"train", "test"} <= inside:
        return {split: grouped(_classes_in(root / split)) for split in ("train", "test")}
    if "train" in inside:
        raise DataError(f"{root} has train/, but neither test/ nor query/ and gallery/")
    return split_halves(grouped(_classes_in(root)))


def _glyphs(card: Card, root: Path) -> Splits:
    file = root / glyphs.FILE
    if not file.exists():
        raise FileNotFoundError(2, "missing", str(file))
    try:
        pixels = np.array(open_array(file, "pixels", Form((4,), "u", "pixels of classes x faces")))
        names = tuple(open_array(file, "characters", LABELS).tolist())
    except DataError as error:
        raise DataError(f"{error}; delete it and fetch again") from None
    glyphs.verify(card, pixels, str(file))
    classes, faces = pixels.shape[:2]
    labels = np.repeat(np.arange(classes), faces)
    return split_halves(Split(pixels.reshape(-1, *pixels.shape[2:]), labels, names))


_READERS: dict[str, Callable[[Card, Path], Splits]] = {
    "cub": _cub,
    "cars": _cars,
    "sop": _sop,
    "inshop": _inshop,
    "folder": _folder,
    "glyphs": _glyphs,
    "vectors": read_vectors,
}


# --- their parts ---


def _root(card: Card, data_dir: Path) -> Path:
    """The data set's own folder; `data_dir` may be that folder itself, as it comes out of the archive."""
    itself = data_dir.name == card.folder or (card.layout == "cars" and (data_dir / "car_ims").is_dir())
    root = data_dir / card.folder
    return data_dir if itself and not root.is_dir() else root


def _missing(card: Card, data_dir: Path, path: object) -> DataError:
    message = f"{card.name}: {path} is missing"
    if card.archives or card.layout == "glyphs":
        name = card.name if card.name in cards.names() else "CARD.toml"
        message += f"; get it with python -m benchmark fetch --dataset {name} --data {data_dir}"
    return DataError(message)


def _table(file: Path, columns: str, skip: int = 0) -> Iterable[list[str]]:
    """Read lines of an annotation file as words; the last column may hold spaces.

    Raises:
        DataError: a line with too few words, with its number.
    """
    count = len(columns.split())
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if number <= skip or not line.strip():
            continue
        words = line.split(None, count - 1)
        if len(words) < count:
            raise DataError(f"{file}, line {number}: expected {columns!r}, found {line!r}")
        words[-1] = words[-1].rstrip()
        yield words


def _annotations(file: Path, name: str) -> list[tuple[int, str]]:
    """Class (from 1) and file name of each image in a MATLAB file of Cars-196."""
    from scipy.io import loadmat

    if not file.is_file():
        raise FileNotFoundError(2, "missing", str(file))
    try:
        rows = np.atleast_1d(loadmat(file, squeeze_me=True)["annotations"])
        return [(int(label), str(path)) for label, path in zip(rows["class"], rows[name], strict=True)]
    except Exception as error:  # whatever SciPy trips over, the file is not what it should be
        raise DataError(f"{file} does not hold the annotations of Cars-196 ({error!r})") from error


def _listed(folder: Path) -> list[Path]:
    """List a folder, hidden files left out, in natural order: 2 before 10."""
    return sorted(
        (path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: natural(path.name)
    )


def images_below(folder: Path) -> list[Path]:
    """Images of a folder and of those in it, in natural order of their names."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(paths, key=lambda path: [natural(part) for part in path.relative_to(folder).parts])


def _classes_in(folder: Path) -> list[Row]:
    """Images of a folder that has a sub-folder a class; sub-folders without images are no classes."""
    return [
        (directory.name, path)
        for directory in _listed(folder)
        if directory.is_dir()
        for path in _listed(directory)
        if path.suffix.lower() in SUFFIXES
    ]


def _check(card: Card, root: Path, splits: Splits) -> None:
    """Counts as the card says, nothing empty, no training class of one image, no class both trained on and tested."""
    for name, split in splits.items():
        images, classes = len(split), len(np.unique(split.labels))
        if not images:
            wanted = "; expected one sub-folder a class, at least two, or --unlabelled" * (card.layout == "folder")
            raise DataError(f"{card.name}: no images of {name} in {root}{wanted}")
        counts = card.counts.get(name)  # type: ignore[call-overload]
        if counts and (images, classes) != (counts.images, counts.classes):
            raise DataError(
                f"{card.name}: {name} has {images:,} images of {classes:,} classes in {root}, "
                f"its card says {counts.images:,} of {counts.classes:,}"
            )
    train = splits["train"]
    if not train.names:
        return
    single = np.flatnonzero(np.bincount(train.labels, minlength=len(train.names)) < 2)
    if len(single):
        raise DataError(f"{card.name}: training class {train.names[single[0]]!r} has one image; two are needed")
    names = {name: {*split.names} for name, split in splits.items()}
    validation = names.get("validation", set())
    tested = set(chain.from_iterable(names[name] for name in names.keys() - {"train", "validation"}))
    if both := sorted(validation & tested):
        raise DataError(f"{card.name}: class {both[0]!r} is of validation and tested; it cannot be both")
    if (both := sorted((validation | tested) & names["train"])) and not card.closed:
        raise DataError(
            f"{card.name}: class {both[0]!r} is trained on and tested, {len(both)} in all; the classes must be disjoint "
            f"({root}), or the set be closed (--closed), which is another task than the suite's"
        )
