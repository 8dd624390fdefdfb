"""Arrays on disk: what is checked when, and what is found by then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import xxhash

from benchmark.data import stored as module
from benchmark.data.stored import RowFile

ROWS = np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
EVERY = 8  # seven blocks, the last of two rows


class Cache:
    """A file of these rows, and what is done with it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "rows.npy"
        self.filled = 0
        self.checked = 0
        check = RowFile._check

        def counted(rows: RowFile, file: Path) -> None:
            self.checked += 1
            check(rows, file)

        monkeypatch.setattr(RowFile, "_check", counted)
        monkeypatch.setattr(module, "_CHECKED", set())

    def fill(self, rows: RowFile) -> None:
        self.filled += 1
        rows.append(ROWS[rows.done :])

    def open(self) -> np.ndarray:
        return RowFile(self.file, ROWS.shape, "|u1", every=EVERY, what="rows", advice="").read(self.fill)

    def damage(self) -> None:
        """Flip a bit within the rows and set the times back."""
        status = self.file.stat()
        content = bytearray(self.file.read_bytes())
        content[len(content) // 2] ^= 4
        time.sleep(0.02)  # file systems count in hundredths of a second
        self.file.write_bytes(content)
        os.utime(self.file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path, monkeypatch)


def test_a_file_is_checked_once_by_a_process(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.open()
    before = cache.checked
    cache.open()
    assert cache.checked == before
    monkeypatch.setattr(module, "_CHECKED", set())  # as by another
    assert np.array_equal(cache.open(), ROWS)
    assert cache.checked == before + 1 and cache.filled == 1


def test_what_was_written_into_a_file_is_found_at_once_whatever_its_modification_time(cache: Cache) -> None:
    cache.open()
    cache.open()
    cache.damage()
    assert np.array_equal(cache.open(), ROWS) and cache.filled == 2


@pytest.mark.parametrize("damage", ["", "x", "8 9\n", "\0", "cut", "shifted", "gone"])
def test_without_right_sums_a_file_is_made_again(cache: Cache, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.open()
    path = cache.file.with_suffix(".sums")
    right = path.read_text()
    path.write_text({"cut": right[:-3], "shifted": right.replace("50 ", "51 ")}.get(damage, damage))
    if damage == "gone":
        path.unlink()
    monkeypatch.setattr(module, "_CHECKED", set())
    assert np.array_equal(cache.open(), ROWS) and cache.filled == 2 and path.read_text() == right


def test_files_are_plain_and_their_sums_are_of_all_rows_so_far(cache: Cache) -> None:
    cache.open()
    assert np.array_equal(np.load(cache.file), ROWS)
    content = cache.file.read_bytes()
    sums = [f"{rows} {xxhash.xxh3_64_hexdigest(content[: len(content) - ROWS[rows:].nbytes])}\n" for rows in (0, 50)]
    assert cache.file.with_suffix(".sums").read_text() == "".join(sums)


@pytest.mark.parametrize("stop", [3, EVERY, 20, 47])
@pytest.mark.parametrize("damaged", [None, 0, 1])
def test_a_stopped_call_goes_on_behind_its_last_right_block(tmp_path: Path, stop: int, damaged: int | None) -> None:
    file, begun = tmp_path / "rows.npy", []

    def compute(rows: RowFile) -> None:
        begun.append(rows.done)
        for row in range(rows.done, 50):
            if len(begun) == 1 and row == stop:
                raise KeyboardInterrupt
            rows.append(ROWS[row : row + 1])

    def run() -> np.ndarray:
        return RowFile(file, ROWS.shape, "|u1", every=EVERY, what="rows", advice="").read(compute)

    with pytest.raises(KeyboardInterrupt):
        run()
    partial = file.with_suffix(".partial")
    if damaged is not None:
        content = bytearray(partial.read_bytes())
        if (place := 128 + damaged * EVERY * 256) < len(content):
            content[place] ^= 1
        partial.write_bytes(content)
    assert np.array_equal(run(), ROWS) and np.array_equal(np.load(file), ROWS) and not partial.exists()
    whole = stop // EVERY
    assert begun == [0, EVERY * (whole if damaged is None else min(damaged, whole))]
