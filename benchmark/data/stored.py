"""Arrays that are computed once, row by row, into a file, and mapped into memory from then on.

The file is an .npy, and behind its rows a sum of each block of them, and a sum of header and sums. What is damaged is computed
again: a whole file from the start, one of a stopped call from its first damaged block.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from filelock import FileLock

from ..cores import cores
from ..errors import DataError
from .arrays import Form, open_array

TURNS = (
    32  # openings in which each block of a file that nobody wrote to is checked once: 3 % of the time to read it each
)
_NAME = re.compile(r"[0-9a-f]{20}-\d+(x\d+)?\.npy")
_SUM = 8  # bytes of a sum


class RowFile:
    """An array in a file, or on its way there.

    Args:
        file: .npy; beside it are the `.partial` of a stopped call, and `.checked`.
        every: rows of a block.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: str, every: int) -> None:
        self.file, self.shape, self.dtype, self.every = file, shape, dtype, every
        self.done = 0  # rows that are written
        self._partial, self._memory = file.with_suffix(".partial"), file.with_suffix(".checked")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._row = np.dtype(dtype).itemsize * math.prod(shape[1:])
        self._blocks = -(-shape[0] // every)
        self._end = len(self._header) + shape[0] * self._row
        self._size = self._end + (self._blocks + 1) * _SUM

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows [k, ...]."""
        while len(rows):
            part, rows = np.split(rows, [min(len(rows), self.every - self.done % self.every)])
            content = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
            self._output.write(content)
            self._block.update(content)
            self.done += len(part)
            if self.done % self.every == 0 or self.done == self.shape[0]:
                _sync(self._output)  # rows are on the disk before their sum says that they are
                place = self._output.tell()
                self._output.seek(self._end + (-(-self.done // self.every) - 1) * _SUM)
                self._output.write(self._block.digest())
                self._output.seek(place)
                self._block.reset()

    def fill(self, compute: Callable[[RowFile], None], what: str, advice: str, *, keep: bool = False) -> None:
        """Make the file from what a stopped call has left, or from nothing; what earlier versions have left goes.

        Args:
            keep: what was written stays for the next call after a full disk, too, not after an interruption alone.
        """
        _clear_unsummed(self.file.parent)
        self.file.with_suffix(".sums").unlink(missing_ok=True)
        self.done = self._kept()
        check_room(self.file.parent, (self.shape[0] - self.done) * self._row, what, advice)
        self._block = xxhash.xxh3_64()
        try:
            # Written in order rather than through a writable map: there, a full disk kills the process.
            with self._partial.open("r+b" if self.done else "w+b") as self._output:
                self._output.write(self._header)
                self._output.truncate(self._size)
                self._output.seek(self.done * self._row, os.SEEK_CUR)
                compute(self)
                if self.done != self.shape[0] or self._output.tell() != self._end:
                    raise DataError(
                        f"{what}: {self.done} rows were computed, which do not make an array of {self.shape}"
                    )
                self._output.write(self._seal(self._output.read(self._blocks * _SUM)))
                _sync(self._output)
        except Exception as error:  # not an interruption: what is written by then is for the next call
            if not (keep and isinstance(error, OSError)):
                self._partial.unlink(missing_ok=True)
            raise
        self._partial.replace(self.file)

    def give(self, out: Path) -> None:
        """Give the finished file away, without the sums behind its rows: an .npy that anything reads."""
        os.truncate(self.file, self._end)
        self.file.replace(out)

    def opened(self) -> np.ndarray | None:
        """The finished file, mapped into memory; None if there is none, or it is not what was written."""
        try:
            status = self.file.stat()
            if not self.file.is_file() or status.st_size != self._size:
                return None
            header, sums, seal = self._read(self.file)
            mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
            turns = self._turns(mark)
            blocks = range(turns.start * self._blocks // TURNS, turns.stop * self._blocks // TURNS)
            if header != self._header or seal != self._seal(sums) or not all(self._right(self.file, sums, blocks)):
                return None
            with contextlib.suppress(OSError):  # where nothing can be written all is checked each time
                self._memory.write_text(f"{mark} {turns.stop}")
            return np.memmap(self.file, self.dtype, "r", len(self._header), self.shape)
        except OSError:
            return None

    def _turns(self, mark: str) -> range:
        """Parts to be checked by this opening: the next one; all of them where the file is not the one that was checked last."""
        try:
            known, _, turn = self._memory.read_text().rpartition(" ")
            if known == mark:
                return range(int(turn) % TURNS, int(turn) % TURNS + 1)
        except (OSError, ValueError):
            pass
        return range(TURNS)

    def _right(self, file: Path, sums: bytes, numbers: range) -> Iterator[bool]:
        """Whether each of some blocks is what its sum says, in order."""
        if not numbers:
            return
        rows = np.memmap(file, np.uint8, "r", len(self._header))[: self.shape[0] * self._row]
        size = self.every * self._row

        def right(number: int) -> bool:
            block = rows[number * size : (number + 1) * size]
            return xxhash.xxh3_64_digest(block.data) == sums[number * _SUM : (number + 1) * _SUM]

        with ThreadPoolExecutor(cores()) as pool:
            yield from pool.map(right, numbers)

    def _kept(self) -> int:
        """Rows of a stopped call, up to the first block that is not what its sum says: not reached, a power failure, a damaged disk."""
        if not self._partial.is_file() or self._partial.stat().st_size != self._size:
            return 0
        _, sums, _ = self._read(self._partial)
        reached = -(-len(sums.rstrip(b"\0")) // _SUM)
        blocks = range(min(reached, self.shape[0] // self.every))
        return self.every * sum(takewhile(bool, self._right(self._partial, sums, blocks)))

    def _read(self, file: Path) -> tuple[bytes, bytes, bytes]:
        """Header, sums and seal."""
        with file.open("rb") as content:
            header = content.read(len(self._header))
            content.seek(self._end)
            return header, content.read(self._blocks * _SUM), content.read(_SUM)

    def _seal(self, sums: bytes) -> bytes:
        return xxhash.xxh3_64_digest(self._header + sums)


def stored(
    file: Path,
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[RowFile], None],
    *,
    every: int,
    what: str,
    advice: str,
) -> np.ndarray:
    """The array in a file, read-only and mapped into memory; filled by the first call, by one process at a time.

    Rows of a call that was stopped are kept beside it for the next one; of one that failed nothing is left.

    All blocks are held against their sums when a file is opened whose size, times or inode are others than when it was
    checked last, which `.checked` beside it remembers: so whatever was written into it is found. What a disk changes by
    itself leaves no such trace, and is found by the 32nd opening at the latest: each checks as small a part of the blocks.

    Args:
        file: .npy; equal names must mean equal rows.
        compute: appends the rows that are missing.
        every: rows of a block, which are safe on the disk before more are written: so many are computed again at most.
        what: the array, in the plural, and `advice`, for the message where there is no room.

    Raises:
        DataError: no room or no permission in the file's folder; rows of another number or width. And whatever `compute` raises.
    """
    rows = RowFile(file, shape, dtype, every)
    if (array := rows.opened()) is None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if (array := rows.opened()) is None:  # not filled meanwhile by another process
                    rows.fill(compute, what, advice)
                    array = rows.opened()
        except OSError as error:
            raise cannot_write(file.parent, error) from error
    assert array is not None, f"{file} was written and cannot be opened"
    return array


@contextlib.contextmanager
def new_array(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.ndarray]:
    """An array to be filled, mapped into memory. It is at `path` when the block has ended well, and nowhere otherwise.

    Raises:
        DataError: there is no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A full disk kills the process that writes through a map.
    check_room(
        path.parent, math.prod(shape) * np.dtype(dtype).itemsize, f"the rows of {path.name}", "or write elsewhere"
    )
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


def _sync(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _clear_unsummed(folder: Path) -> None:
    """Delete the arrays of versions that wrote no sums behind the rows: nothing reads them any more, and they are large."""
    for path in folder.glob("*.npy"):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError, DataError):  # the latter where more lies behind the rows
                open_array(path, "", Form((3, 4), "uf", "decoded images or features"))
                path.unlink()
