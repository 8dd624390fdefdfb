"""Digests of what files hold, not of what they are called: computed once and remembered."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ..cores import cores
from ..errors import BenchmarkError, DataError
from ..files import SEAL, read_regular, sealed, unsealed, write_atomically
from .decode import revision
from .vectors import VectorRows

if TYPE_CHECKING:
    from .splits import Split

MEMORY = "contents.json"
_VERSION = 2  # of what is said of a content


def digests(paths: Sequence[Path], folder: Path) -> list[str]:
    """SHA-256 of the content of each file, 32 hexadecimal digits, and behind them its `revision`.

    A file is read again when its size, times or inode are others than when it was read last.

    Args:
        folder: where that is remembered, in `contents.json`; without permission to write there, all files are read each time.

    Raises:
        DataError: a file is missing, cannot be read, or is not a regular one.
    """
    memory = folder / MEMORY
    known = _remembered(memory)
    try:
        marks = {str(path.absolute()): _mark(path) for path in paths}
        new = [name for name, mark in marks.items() if known.get(name, [])[:-1] != mark]
        if new:
            with ThreadPoolExecutor(cores()) as pool:
                said = pool.map(_digest, map(Path, new))
                learned = {name: [*marks[name], digest] for name, digest in zip(new, said, strict=True)}
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(memory.with_suffix(".lock")):
                    write_atomically(memory, sealed({**_remembered(memory), **learned}))
            known |= learned
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    return [known[str(path.absolute())][-1] for path in paths]


def _mark(path: Path) -> list[int]:
    """Numbers of which one is another where the content is: version, size, mtime and ctime in nanoseconds, inode."""
    status = path.stat()
    return [_VERSION, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _digest(path: Path) -> str:
    content = read_regular(path)
    return hashlib.sha256(content).hexdigest()[:32] + revision(content)


def _remembered(file: Path) -> dict[str, list[Any]]:
    """Mark and digest of files, by absolute name; nothing where the memory is not there or was damaged."""
    try:
        content = read_regular(file)
        fields = unsealed(content) if f'"{SEAL}"'.encode() in content else {}
        return {name: known for name, known in fields.items() if isinstance(known, list) and len(known) == 6}
    except (OSError, ValueError, BenchmarkError):
        return {}


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
                    digest.update(f"{path.relative_to(self.root).as_posix()}\0{said}\n".encode())
        return digest.hexdigest()[:16]
