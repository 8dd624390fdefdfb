"""Digests of what files hold, not of what they are called: computed once and remembered."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock
from joblib import cpu_count as cores

from ..errors import BenchmarkError, DataError
from ..files import SEAL, read_regular, sealed, unsealed, write_atomically
from .decode import revision

MEMORY = "contents.json"
_VERSION = 3  # of what is said of a content


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
        return unsealed(content) if f'"{SEAL}"'.encode() in content else {}
    except (OSError, ValueError, BenchmarkError):
        return {}
