"""Embeddings of any number of images, as they come, by a finished run or by an exported folder."""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from ..data.batches import centre_crop, crop, places
from ..data.cache import squares
from ..data.cards import TABLES
from ..data.decode import rule
from ..data.image_table import image_paths
from ..data.layouts import images_below
from ..data.stored import RowFile
from ..errors import UsageError, some
from ..files import digest, names_beside, write_names
from ..networks.onnx import BATCH, Session
from ..record import read_record
from ..retrieval.search import Metric
from ..spec import Fit, derive
from ..store import Store
from .export import INT8, MODEL, PREPROCESS, PROJECTOR, exported_by
from .student import find, whole_network

Progress = Callable[[str, int, int], None]
SAFE = 1024  # images that are on the disk before more are written


@dataclass(frozen=True)
class Embedder:
    """Images uint8 [n, size, size, 3] and their names to embeddings float32 [n, dim], or [n, views, dim] of more views than one."""

    name: str
    network: str  # the run, and what sets its embeddings apart from others of it
    key: str  # equal keys, equal embeddings
    size: int
    fit: Fit
    dim: int
    metric: Metric  # by which its embeddings are compared
    embed: Callable[[np.ndarray, Sequence[str]], np.ndarray]
    views: int = 1

    def shape(self, images: int) -> tuple[int, ...]:
        return (images, *((self.views,) if self.views > 1 else ()), self.dim)


def by_run(path: Path, device: torch.device, views: int = 1) -> Embedder:
    """The network of a record, by torch. Raises as `whole_network`; a UsageError where it reads vectors.

    Args:
        views: crops of each image: the one in the middle, as in evaluation, and others as in training, drawn by the image's name.
    """
    record = read_record(path)
    spec = record.spec
    if spec.reads_vectors:
        raise UsageError(f"{spec.label} reads vectors, not images: benchmark apply embeds them")
    network = whole_network(record, Store(path.parents[1]), device)

    def drawn(images: np.ndarray, names: Sequence[str], view: int) -> np.ndarray:
        """A crop of each image, half of them mirrored where training mirrors: the same whoever else is embedded."""
        rngs = (np.random.default_rng(derive(0, "view", view, name)) for name in names)
        corners, flips = zip(*(places(rng, 1, spec.resize, spec) for rng in rngs), strict=True)
        return crop(images, range(len(images)), np.concatenate(corners), np.concatenate(flips), spec.image)

    @torch.no_grad()
    def embed(images: np.ndarray, names: Sequence[str]) -> np.ndarray:
        crops = [centre_crop(images, spec.image), *(drawn(images, names, view) for view in range(1, views))]
        rows = (torch.from_numpy(np.ascontiguousarray(seen)).to(device) for seen in crops)
        embedded = [network.network(seen).embedding.float().cpu().numpy() for seen in rows]
        return np.stack(embedded, axis=1) if views > 1 else embedded[0]

    own = record.id + f" {views} views" * (views > 1)
    metric: Metric = "cosine" if spec.normalize else "l2"
    key = f"{record.weights} {own}"
    return Embedder(spec.label, own, key, spec.resize, spec.fit, spec.dim, metric, embed, views)


def by_folder(folder: Path, *, int8: bool = False, into_teacher: bool = False) -> Embedder:
    """An exported folder, by onnxruntime.

    Args:
        int8: by its quantised network.
        into_teacher: to the teacher's space, by its projector.

    Raises:
        UsageError: it has no such file, or reads vectors.
    """
    described = exported_by(folder)
    if described["image"] is None:
        raise UsageError(f"{folder} reads vectors, not images")
    names = [INT8 if int8 else MODEL, *[PROJECTOR] * into_teacher]
    for name in names:
        if not (folder / name).is_file():
            raise UsageError(f"{folder} has no {name}: {_LACKING[name]}")
    sessions = [Session(folder / name) for name in names]

    def embed(images: np.ndarray, names: Sequence[str]) -> np.ndarray:
        for session in sessions:
            images = session(images)
        return images

    metric: Metric = "cosine" if described["distance"] == "cosine" else "l2"
    own = described["run"]["id"] + " int8" * int8 + " in the teacher's space" * into_teacher
    key = " ".join(digest((folder / name).read_bytes()) for name in names)
    image = described["image"]
    fit = image.get("fit", "squash")  # which earlier exports do not say
    return Embedder(folder.name, own, key, image["resize"][0], fit, sessions[-1].dim, metric, embed)


_LACKING = {
    MODEL: "export it again",
    INT8: "export it with --int8",
    PROJECTOR: "its method does not map into the teacher's space, or the map was not kept",
}


def images_in(place: Path, columns: str | None = None) -> list[Path]:
    """All images below a folder, in natural order of their names; or those that a table names, in its order.

    Raises:
        UsageError: it is neither, or there are none.
        DataError: the table is none, or names what is not there.
    """
    if place.suffix in TABLES and place.is_file():
        words = dict(word.partition("=")[::2] for word in (columns or "path=path").split(","))
        return image_paths(place, words.get("path", "path"))
    if not place.is_dir():
        raise UsageError(f"--images {place} is neither a folder nor a table of images ({', '.join(TABLES)})")
    if not (paths := images_below(place)):
        raise UsageError(f"--images {place}: there are no images")
    return paths


def embed_images(embedder: Embedder, paths: Sequence[Path], root: Path, out: Path, progress: Progress) -> Path:
    """Write embeddings float32, as `Embedder.shape` says, and beside them a CSV of the images' names, row by row.

    A call that was stopped, or met a full disk, goes on where it was when it is made again.

    Args:
        root: names are relative to it.
        out: .npy; there when it is whole.

    Returns:
        The file of names.

    Raises:
        UsageError: embeddings of other images, or by another network, are there already.
        DataError: images cannot be read; nothing is left then.
    """
    names = [path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths]
    _check_free(out, names, embedder.network)
    stats = [path.stat() for path in paths]
    marks = "\n".join(f"{name} {at.st_size} {at.st_mtime_ns}" for name, at in zip(names, stats, strict=True))
    key = digest(f"{rule(embedder.fit)}\n{embedder.key}\n{embedder.size}\n{marks}".encode())
    out.parent.mkdir(parents=True, exist_ok=True)
    # Its name says what it is made of, so that a stopped call of another network or of other images is not gone on from.
    file = out.with_name(f".{out.stem}-{key}.npy")
    words = {"what": "embeddings", "advice": "or write elsewhere"}
    rows = RowFile(file, embedder.shape(len(paths)), "<f4", every=SAFE, **words)

    def compute(file: RowFile) -> None:
        for block in embedded(embedder, paths, names, progress, file.done):
            file.append(block)

    lock = rows.file.with_suffix(".lock")
    try:
        with FileLock(lock):  # another command may embed the same into the same file
            rows.fill(compute, keep=True)
            listing = write_names(out, names, network=embedder.network)
            rows.give(out)
    finally:
        lock.unlink(missing_ok=True)
    return listing


def _check_free(out: Path, names: Sequence[str], network: str) -> None:
    """Raise a UsageError where a file has embeddings of images that are not among these, or by another network: an index that grows is
    written anew, no other."""
    if not out.exists():
        return
    known = {*names}
    try:
        with names_beside(out).open(newline="", encoding="utf-8") as file:
            rows = [*csv.DictReader(file)]
        lost = [row["path"] for row in rows if row["path"] not in known]
        others = {row.get("network", network) for row in rows} - {network}  # older versions did not say which
    except (OSError, ValueError, KeyError):
        lost, others = ["nobody knows which"], set()
    if lost or others:
        whose = f"of images that are not among these ({some(lost)})" if lost else f"by another network ({some(others)})"
        raise UsageError(f"--out {out} holds embeddings {whose}; choose another name, or delete it")


def embedded(
    embedder: Embedder, paths: Sequence[Path], names: Sequence[str], progress: Progress, done: int = 0
) -> Iterator[np.ndarray]:
    """Embeddings of the images from `done` on, batch by batch. Raises as `squares`."""
    images = squares(paths, done, embedder.size, embedder.fit, functools.partial(progress, "embed images"))
    while batch := [*itertools.islice(images, BATCH)]:
        yield embedder.embed(np.stack(batch), names[done : done + len(batch)])
        done += len(batch)


def embedder_of(
    run: str, results: Path, device: torch.device, *, int8: bool, into_teacher: bool, views: int = 1
) -> Embedder:
    """An embedder by what a user calls it: an exported folder, or the beginning of a run's id.

    Raises:
        UsageError: it is neither, or has not what is asked for.
    """
    if views < 1:
        raise UsageError(f"--views wants 1 or more, not {views}")
    if (Path(run) / PREPROCESS).is_file():
        if views > 1:
            raise UsageError(f"--views is of runs: {run} was exported, and sees the middle of an image alone")
        return by_folder(Path(run), int8=int8, into_teacher=into_teacher)
    if int8 or into_teacher:
        raise UsageError("--int8 and --into teacher are of exported folders: benchmark export writes one")
    return by_run(find(results, run), device, views)
