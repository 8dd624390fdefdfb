"""Arrays that are computed once, row by row, into an .npy file, and mapped into memory from then on.

A text beside the file, `.sums`, says after each block of rows how many there were by then, and the sum of them all. What is damaged is
computed again: a whole file from the start, one of a stopped call from its first damaged block.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xxhash
from filelock import FileLock

from ..errors import DataError

_CHECKED: set[tuple[str, int, int, int, int]] = set()  # files that were as their sums say


class RowFile:
    """An array in a file, or on its way there.

    Args:
        file: .npy; beside it are its `.sums`, and the `.partial` of a stopped call. Equal names must mean equal rows.
        every: rows of a block, which are safe on the disk before more are written: so many are computed again at most.
        what: the array, in the plural, and `advice`, for the message where there is no room.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: str, *, every: int, what: str, advice: str) -> None:
        self.file, self.shape, self.dtype, self.every = file, shape, dtype, every
        self.what, self.advice = what, advice
        self.done = 0  # rows that are written
        self._partial, self._sums = file.with_suffix(".partial"), file.with_suffix(".sums")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._row = np.dtype(dtype).itemsize * math.prod(shape[1:])

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows [k, ...]."""
        assert rows.shape[1:] == self.shape[1:], f"rows of {rows.shape} make no array of {self.shape}"
        content = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data
        self._output.write(content)
        self._sum.update(content)
        self.done += len(rows)
        if self.done - self._safe >= self.every or self.done == self.shape[0]:
            self._make_safe()

    def _make_safe(self) -> None:
        self._output.flush()
        os.fsync(self._output.fileno())  # rows are on the disk before their sum says that they are
        self._lines.write(f"{self.done} {self._sum.hexdigest()}\n")
        self._lines.flush()
        self._safe = self.done

    def read(self, compute: Callable[[RowFile], None]) -> np.ndarray:
        """The array, read-only and mapped into memory; filled by the first call, by one process at a time.

        Rows of a call that was stopped are kept beside it for the next one; of one that failed nothing is left. A process holds the
        file against its sums when it first opens it, and again when its size, times or inode are others.

        Args:
            compute: appends the rows that are missing.

        Raises:
            DataError: no room or no permission in the file's folder. And whatever `compute` raises.
        """
        if (array := self.opened()) is None:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self.file.with_suffix(".lock")):
                    if (array := self.opened()) is None:  # not filled meanwhile by another process
                        self.fill(compute)
                        array = self.opened()
            except OSError as error:
                raise cannot_write(self.file.parent, error) from error
        assert array is not None, f"{self.file} was written and cannot be opened"
        return array

    def fill(self, compute: Callable[[RowFile], None], *, keep: bool = False) -> None:
        """Make the file from what a stopped call has left, or from nothing.

        Args:
            keep: what was written stays for the next call after a full disk, too, not after an interruption alone.
        """
        self._check(self._partial)
        check_room(self.file.parent, (self.shape[0] - self.done) * self._row, self.what, self.advice)
        try:
            # Written in order rather than through a writable map: there, a full disk kills the process.
            with self._partial.open("r+b" if self.done else "w+b") as self._output, self._sums.open("w") as self._lines:
                self._output.write(self._header)
                self._output.seek(self.done * self._row, os.SEEK_CUR)
                self._output.truncate()
                self._make_safe()
                compute(self)
                assert self.done == self.shape[0], f"{self.done} rows make no array of {self.shape}"
        except Exception as error:  # not an interruption: what is written by then is for the next call
            if not (keep and isinstance(error, OSError)):
                self._partial.unlink(missing_ok=True)
                self._sums.unlink(missing_ok=True)
            raise
        self._partial.replace(self.file)

    def give(self, out: Path) -> None:
        """Give the finished file away."""
        self.file.replace(out)
        self._sums.unlink()

    def opened(self) -> np.ndarray | None:
        """The finished file, mapped into memory; None if there is none, or it is not what was written."""
        try:
            status = self.file.stat()
        except OSError:
            return None
        mark = str(self.file), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        if mark not in _CHECKED:
            self._check(self.file)
            if self.done != self.shape[0] or status.st_size != len(self._header) + self.done * self._row:
                return None
            _CHECKED.add(mark)
        return np.memmap(self.file, self.dtype, "r", len(self._header), self.shape)

    def _check(self, file: Path) -> None:
        """Take the rows of a file for done, up to the first block that is not what its sum says."""
        self.done, self._sum = 0, xxhash.xxh3_64(self._header)
        with contextlib.suppress(OSError, ValueError):  # there is no file, or what is beside it holds no sums
            lines = self._sums.read_text().splitlines()
            content = np.memmap(file, np.uint8, "r")
            if content[: len(self._header)].tobytes() != self._header:
                return
            rows = content[len(self._header) :]
            for line in lines:
                number, said = line.split()
                block = rows[self.done * self._row : int(number) * self._row]
                total = self._sum.copy()
                total.update(block.data)
                if total.hexdigest() != said or len(block) != (int(number) - self.done) * self._row:
                    return
                self.done, self._sum = int(number), total


@contextlib.contextmanager
def new_array(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.ndarray]:
    """An array to be filled, mapped into memory. It is at `path` when the block has ended well, and nowhere otherwise.

    Raises:
        DataError: there is no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A full disk kills the process that writes through a map.
    size = math.prod(shape) * np.dtype(dtype).itemsize
    check_room(path.parent, size, f"the rows of {path.name}", "or write elsewhere")
    partial = path.with_name(f"{path.name}.partial")
    try:
        array = np.lib.format.open_memmap(partial, "w+", dtype, shape)
        yield array
        array.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_room(folder: Path, needed: int, what: str, advice: str) -> None:
    """Raise a DataError where a folder's disk has no room for `needed` bytes of `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.02:
        gigabytes = f"{what} need {needed / 1e9:,.2f} GB in {folder}, {free / 1e9:,.2f} GB are free"
        raise DataError(f"{gigabytes}; make room, {advice}")


def cannot_write(folder: Path, error: OSError) -> DataError:
    where = f" ({error.filename})" if error.filename else ""
    return DataError(f"cannot write to {folder}: {error.strerror or error}{where}")
