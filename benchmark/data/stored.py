"""Arrays that are computed once, row by row, into a file, and mapped into memory from then on."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from ..errors import DataError


class Filling:
    """A file of rows on its way: what is there, and what comes next."""

    def __init__(self, output: BinaryIO, done: int, every: int) -> None:
        self.done = done  # rows that are written
        self._output, self._every = output, every

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows [k, ...]."""
        self._output.write(np.ascontiguousarray(rows).data)
        before, self.done = self.done, self.done + len(rows)
        if before // self._every < self.done // self._every:
            sync(self._output)


def stored(
    file: Path,
    shape: tuple[int, ...],
    dtype: str,
    fill: Callable[[Filling], None],
    *,
    every: int,
    what: str,
    advice: str,
) -> np.ndarray:
    """The array in a file, read-only and mapped into memory; filled by the first call, by one process at a time.

    Rows of a call that was stopped are kept beside it for the next one; of one that failed nothing is left.

    Args:
        file: .npy; equal names must mean equal rows.
        fill: appends the rows that are missing.
        every: rows that are safe on the disk before more are written: so many are computed again at most.
        what: the array, in the plural, and `advice`, for the message where there is no room.

    Raises:
        DataError: no room or no permission in the file's folder. And whatever `fill` raises.
    """
    if (found := _opened(file, shape, dtype)) is not None:
        return found
    folder = file.parent
    row = np.dtype(dtype).itemsize * math.prod(shape[1:])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if (found := _opened(file, shape, dtype)) is None:  # not filled meanwhile by another process
                header, partial = _header(shape, dtype), file.with_suffix(".partial")
                done = _safe(partial, len(header), row, every)
                needed, free = (shape[0] - done) * row, shutil.disk_usage(folder).free
                if free < needed * 1.02:
                    raise DataError(
                        f"{what} need {needed / 1e9:,.2f} GB in {folder}, {free / 1e9:,.2f} GB are free; make room, {advice}"
                    )
                _go_on(partial, header, done * row, lambda output: fill(Filling(output, done, every)))
                partial.replace(file)
                found = _opened(file, shape, dtype)
    except OSError as error:
        raise cannot_write(folder, error) from error
    assert found is not None, f"{file} was written and cannot be opened"
    return found


def _safe(partial: Path, header: int, row: int, every: int) -> int:
    """Rows of a stopped call that are there for certain.

    After a power failure a file may be longer than what has reached the disk, with zeros in the place of the rest. What stands before
    its last `every` rows had reached it when these were begun.
    """
    written = (partial.stat().st_size - header) // row if partial.exists() else 0
    return max(0, written - 1) // every * every


def _go_on(partial: Path, header: bytes, done: int, fill: Callable[[BinaryIO], None]) -> None:
    """Fill a file behind its header and the `done` bytes that stand."""
    try:
        # Written in order rather than through a writable map: there, a full disk kills the process.
        with partial.open("r+b" if done else "wb") as output:
            output.write(header)
            output.seek(done, os.SEEK_CUR)
            output.truncate()
            fill(output)
            sync(output)
    except Exception:  # not an interruption: what is written by then is for the next call
        partial.unlink(missing_ok=True)
        raise


def sync(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _opened(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The finished file; None if there is none or it is not whole (`rename` should rule that out, disks do not)."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == dtype else None


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def cannot_write(folder: Path, error: OSError) -> DataError:
    where = f" ({error.filename})" if error.filename else ""
    return DataError(f"cannot write to {folder}: {error.strerror or error}{where}")
