"""Own feature vectors: arrays in files, read where and when they are needed, and never as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..absurd import LIMIT, TRAINED, Ints, beyond, centre_of, sampled, sizes, told
from ..errors import DataError
from ..spec import BY_NAME, TEACHER_VECTORS
from .arrays import VECTORS, open_array

BLOCK = 2**24  # numbers that are read at once where a whole file is gone through: 64 MB as float32


@dataclass(frozen=True, eq=False)
class VectorFile:
    """Vectors [n, views, width] in a file. Sent to another process it is a name: the file is opened there anew.

    Raises, when it is first read:
        DataError: not an array, or not one of such a shape and type.
    """

    path: Path
    name: str  # of the array, in an archive that holds several
    flat: int = 1  # rows an image, in an array of two dimensions
    trained: bool = False  # on: absurd rows are an error, where search would bear them

    def __reduce__(self) -> tuple[Any, ...]:
        return VectorFile, (self.path, self.name, self.flat, self.trained)

    @cached_property
    def array(self) -> np.ndarray:
        """The array on disk, [n, views, width] whatever its form."""
        array = open_array(self.path, self.name, VECTORS)
        if array.ndim == 3 and self.flat not in (1, array.shape[1]):
            raise DataError(f"{self.path} has {array.shape[1]} views an image, not {self.flat}")
        if len(array) % self.flat and array.ndim == 2:
            raise DataError(f"{self.path} has {len(array)} rows, which are not {self.flat} views of each image")
        return array if array.ndim == 3 else array.reshape(-1, self.flat, array.shape[1])

    @property
    def views(self) -> int:
        return self.array.shape[1]

    @property
    def width(self) -> int:
        return self.array.shape[2]

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: np.ndarray, views: np.ndarray | int) -> np.ndarray:
        """A view of each of some images, float32 [rows, width]; nothing else is read from disk."""
        return np.ascontiguousarray(self.array[rows, views], np.float32)

    @property
    def told(self) -> str:
        """One line on the absurd rows, for people; nothing where there are none."""
        absurd = self.scanned[1]
        return f"{self.path}: {told(absurd, len(self.array), 'rows')}" if len(absurd) else ""

    @cached_property
    def scanned(self) -> tuple[str, Ints]:
        """SHA-256 of shape and numbers, as float32, and the images' numbers of rows that hold absurdly large ones.

        Goes through the whole file, once: it is taken to stay as it is while the command runs.

        Raises:
            DataError: NaN, infinity, or a number that float32 cannot hold, with its row; absurd rows of what is trained on.
        """
        digest = hashlib.sha256(f"{len(self)} {self.views} {self.width}\n".encode())
        with np.errstate(over="ignore", invalid="ignore"):  # not finite numbers are told below
            sample = np.stack([self.array[row] for row in sampled(len(self.array))]).astype(np.float32)
            centre = centre_of(sample.reshape(-1, self.width))
        large = []
        size = max(1, BLOCK // (self.views * self.width))
        for start in range(0, len(self.array), size):
            with np.errstate(over="ignore"):  # found as infinite
                block = np.ascontiguousarray(self.array[start : start + size], "<f4")
            finite = np.isfinite(block).all(axis=-1)
            if not finite.all():
                row, view = np.argwhere(~finite)[0].tolist()
                where = f"row {start + row}" + f", view {view}" * (self.views > 1)
                raise DataError(f"{self.path}, {where}: NaN, infinity, or a number beyond float32")
            digest.update(block.data)
            with np.errstate(invalid="ignore"):  # of a centre that is not finite, as a later block is not
                large.append(sizes(block.reshape(-1, self.width), centre))
        limit = TRAINED if self.trained else LIMIT
        distances = np.concatenate(large)
        if self.trained and len(distances) > 1 and not distances.any():
            raise DataError(f"{self.path} is trained on, and all of its {len(distances)} rows are equal")
        absurd = np.unique(beyond(distances, limit) // self.views)
        if self.trained and len(absurd):
            line = told(absurd, len(self.array), "rows", limit)
            raise DataError(f"{self.path} is trained on, and {line}; mend or remove them")
        return digest.hexdigest(), absurd


@dataclass(frozen=True, eq=False)
class Views:
    """Vectors [n, views, width] of some images of a file, read when indexed: by image and view, or by image alone, which is view 0."""

    file: VectorFile
    rows: np.ndarray  # int64 [n]: images of the file

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: np.ndarray | slice | tuple[np.ndarray | slice, np.ndarray | int]) -> np.ndarray:
        images, views = place if isinstance(place, tuple) else (place, 0)
        return self.file.read(self.rows[images], views)


@dataclass(frozen=True, eq=False)
class VectorRows:
    """Images of a split as rows of two files: what the student sees of them, and what the teacher does."""

    student: VectorFile
    teacher: VectorFile
    rows: np.ndarray  # int64 [n], in the order of the split

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray) -> VectorRows:
        return VectorRows(self.student, self.teacher, self.rows[chosen])

    def of(self, backbone: str) -> Views:
        """Vectors that a run of that backbone reads: `teacher-vectors` the teacher's, `vectors` the student's."""
        return Views(self.teacher if backbone == TEACHER_VECTORS else self.student, self.rows)

    @property
    def digest(self) -> bytes:
        """Digests and rows, whatever the files are called. Raises as `VectorFile.scanned`."""
        rows = np.ascontiguousarray(self.rows, "<i8").tobytes()
        return f"{self.student.scanned[0]} {self.teacher.scanned[0]}\n".encode() + rows


@dataclass(frozen=True, eq=False)
class TeacherVectors:
    """Vectors of images, in the place of a teacher that would look at them."""

    file: VectorFile
    rows: Mapping[Path, int]  # of the file, by image
    key: str  # digest of vectors and names: equal keys, equal teachers
    said: str  # of how they were joined, for people

    @property
    def backbone(self) -> str:
        """The name that stands for them in the place of a network's."""
        return BY_NAME + self.key

    def of(self, images: Sequence[Path]) -> Views:
        return Views(self.file, np.array([self.rows[path] for path in images]))
