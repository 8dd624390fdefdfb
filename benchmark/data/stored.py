"""Arrays that are computed once, row by row, into a file, and mapped into memory from then on.

The file is an .npy, and behind its rows a sum of each block of them. What is damaged is computed again: a whole file from the
start, one of a stopped call from its first damaged block.
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
_ARRAYS = Form((3, 4), "uf", "decoded images or features")
_SUM = 8  # bytes of a sum
_checked: dict[Path, str] = {}  # marks of the files that this process has opened and checked


class Filling:
    """A file of rows on its way: what is there, and what comes next."""

    def __init__(self, output: BinaryIO, sums: BinaryIO, done: int, every: int) -> None:
        self.done = done  # rows that are written
        self._output, self._sums, self._every = output, sums, every
        self._block = xxhash.xxh3_64()

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows [k, ...]."""
        while len(rows):
            part, rows = np.split(rows, [min(len(rows), self._every - self.done % self._every)])
            content = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
            self._output.write(content)
            self._block.update(content)
            self.done += len(part)
            if self.done % self._every == 0:
                self.close()

    def close(self) -> None:
        """End a block: its rows are on the disk before its sum says that they are."""
        sync(self._output)
        self._sums.write(self._block.digest())
        self._sums.flush()
        self._block.reset()


class _Form:
    """How an array lies in its file: header, rows in blocks, the blocks' sums, and a sum of header and sums."""

    def __init__(self, shape: tuple[int, ...], dtype: str, every: int) -> None:
        self.shape, self.dtype, self.every = shape, dtype, every
        self.header = _header(shape, dtype)
        self.row = np.dtype(dtype).itemsize * math.prod(shape[1:])
        self.blocks = -(-shape[0] // every)
        self.rows_end = len(self.header) + shape[0] * self.row
        self.size = self.rows_end + (self.blocks + 1) * _SUM

    def seal(self, sums: bytes) -> bytes:
        return xxhash.xxh3_64_digest(self.header + sums)

    def mapped(self, file: Path) -> np.ndarray:
        return np.memmap(file, self.dtype, "r", len(self.header), self.shape)

    def right(self, file: Path, sums: bytes, numbers: range) -> Iterator[bool]:
        """Whether each of some blocks is what its sum says, in order."""
        blocks = np.memmap(file, np.uint8, "r", len(self.header))
        size = self.every * self.row
        end = self.rows_end - len(self.header)

        def check(number: int) -> bool:
            block = blocks[number * size : min((number + 1) * size, end)]
            return xxhash.xxh3_64_digest(block.data) == sums[number * _SUM : (number + 1) * _SUM]

        with ThreadPoolExecutor(cores()) as pool:
            yield from pool.map(check, numbers)


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

    All blocks are held against their sums when a process first opens a file whose size, times or inode are others than when
    it was checked last, which `.checked` beside it remembers: so whatever was written into it is found. What a disk changes
    by itself leaves no such trace, and is found by the 32nd opening at the latest: each checks as small a part of the blocks.

    Args:
        file: .npy; equal names must mean equal rows.
        fill: appends the rows that are missing.
        every: rows of a block, which are safe on the disk before more are written: so many are computed again at most.
        what: the array, in the plural, and `advice`, for the message where there is no room.

    Raises:
        DataError: no room or no permission in the file's folder; rows of another number or width. And whatever `fill` raises.
    """
    form = _Form(shape, dtype, every)
    if (array := _opened(file, form)) is not None:
        return array
    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if (array := _opened(file, form)) is None:  # not filled meanwhile by another process
                _fill(file, form, fill, what, advice)
                array = _opened(file, form)
    except OSError as error:
        raise cannot_write(folder, error) from error
    assert array is not None, f"{file} was written and cannot be opened"
    return array


def _fill(file: Path, form: _Form, fill: Callable[[Filling], None], what: str, advice: str) -> None:
    """Make the file from what a stopped call has left, or from nothing; what earlier versions have left goes."""
    _clear_unsummed(file.parent)
    partial, sums = file.with_suffix(".partial"), file.with_suffix(".sums")
    kept = _kept(partial, sums, form)
    done = len(kept) // _SUM * form.every
    needed, free = (form.shape[0] - done) * form.row, shutil.disk_usage(file.parent).free
    if free < needed * 1.02:
        raise DataError(
            f"{what} need {needed / 1e9:,.2f} GB in {file.parent}, {free / 1e9:,.2f} GB are free; make room, {advice}"
        )
    try:
        # Written in order rather than through a writable map: there, a full disk kills the process.
        with partial.open("r+b" if done else "wb") as output, sums.open("wb") as journal:
            journal.write(kept)
            journal.flush()
            output.write(form.header)
            output.seek(done * form.row, os.SEEK_CUR)
            output.truncate()
            filling = Filling(output, journal, done, form.every)
            fill(filling)
            if filling.done % form.every:
                filling.close()
            if filling.done != form.shape[0] or output.tell() != form.rows_end:
                raise DataError(
                    f"{what}: {filling.done} rows were computed, which do not make an array of shape {form.shape}"
                )
            every_sum = sums.read_bytes()
            output.write(every_sum + form.seal(every_sum))
            sync(output)
    except Exception:  # not an interruption: what is written by then is for the next call
        partial.unlink(missing_ok=True)
        sums.unlink(missing_ok=True)
        raise
    partial.replace(file)
    sums.unlink()


def _clear_unsummed(folder: Path) -> None:
    """Delete the arrays of versions that wrote no sums behind the rows: nothing reads them any more, and they are large."""
    for path in folder.glob("*.npy"):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError, DataError):  # the latter where more lies behind the rows
                open_array(path, "", _ARRAYS)
                path.unlink()


def _kept(partial: Path, sums: Path, form: _Form) -> bytes:
    """The sums of a stopped call's blocks, up to the first that is not what its sum says: a power failure, a damaged disk."""
    if not (partial.is_file() and sums.is_file()):
        return b""
    whole = (partial.stat().st_size - len(form.header)) // (form.every * form.row)
    said = sums.read_bytes()[: max(0, min(whole, form.shape[0] // form.every)) * _SUM]
    said = said[: len(said) // _SUM * _SUM]
    right = 0
    for block in form.right(partial, said, range(len(said) // _SUM)) if said else ():
        if not block:
            break
        right += 1
    return said[: right * _SUM]


def sync(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _opened(file: Path, form: _Form) -> np.ndarray | None:
    """The finished file; None if there is none, or it is not what was written."""
    try:
        if not file.is_file() or (status := file.stat()).st_size != form.size:
            return None
        mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        if _checked.get(file) != mark:
            with file.open("rb") as content:
                header = content.read(len(form.header))
                content.seek(form.rows_end)
                sums, seal = content.read(form.blocks * _SUM), content.read(_SUM)
            turn = _turn(file, mark)
            first, behind = (0, TURNS) if turn is None else (turn % TURNS, turn % TURNS + 1)
            blocks = range(first * form.blocks // TURNS, behind * form.blocks // TURNS)
            if header != form.header or seal != form.seal(sums) or not all(form.right(file, sums, blocks)):
                return None
            with contextlib.suppress(OSError):  # where nothing can be written all is checked each time
                file.with_suffix(".checked").write_text(f"{mark} {0 if turn is None else turn + 1}")
            _checked[file] = mark
        return form.mapped(file)
    except OSError:
        return None


def _turn(file: Path, mark: str) -> int | None:
    """How often a file was opened since it was checked as a whole; None where it was not, or written to since."""
    try:
        known, _, turn = file.with_suffix(".checked").read_text().rpartition(" ")
        return int(turn) if known == mark else None
    except (OSError, ValueError):
        return None


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def cannot_write(folder: Path, error: OSError) -> DataError:
    where = f" ({error.filename})" if error.filename else ""
    return DataError(f"cannot write to {folder}: {error.strerror or error}{where}")
