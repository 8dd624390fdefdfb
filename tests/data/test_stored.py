"""Arrays on disk: what is checked when, and what is found by then."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
import xxhash

from benchmark.data.stored import TURNS, RowFile, stored
from benchmark.errors import DataError

ROWS = np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
EVERY = 8  # seven blocks, the last of two rows


class Cache:
    """A file of these rows, and what is done with it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "rows.npy"
        self.filled = 0
        self.checked: list[int] = []
        right = RowFile._right

        def counted(rows: RowFile, file: Path, sums: bytes, numbers: range) -> object:
            self.checked.extend(numbers)
            return right(rows, file, sums, numbers)

        monkeypatch.setattr(RowFile, "_right", counted)

    def fill(self, rows: RowFile) -> None:
        self.filled += 1
        rows.append(ROWS[rows.done :])

    def open(self) -> np.ndarray:
        return stored(self.file, ROWS.shape, "|u1", self.fill, every=EVERY, what="rows", advice="")

    def damage(self, *, traceless: bool) -> None:
        """Flip a bit within the rows and set the times back. By a disk that is without any trace; else a time tells."""
        status = self.file.stat()
        content = bytearray(self.file.read_bytes())
        content[len(content) // 2] ^= 4
        time.sleep(0.02)  # file systems count in hundredths of a second
        self.file.write_bytes(content)
        os.utime(self.file, ns=(status.st_atime_ns, status.st_mtime_ns))
        if traceless:
            memory = self.file.with_suffix(".checked")
            memory.write_text(memory.read_text().replace(str(status.st_ctime_ns), str(self.file.stat().st_ctime_ns)))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path, monkeypatch)


def test_a_file_is_checked_whole_once_and_then_a_part_at_a_time(cache: Cache) -> None:
    cache.open()
    assert cache.checked == list(range(7))
    for _ in range(2):
        cache.checked.clear()
        for turn in range(TURNS):
            before = len(cache.checked)
            cache.open()
            assert len(cache.checked) - before <= 1, turn
        assert cache.checked == list(range(7))
    assert cache.filled == 1


def test_what_was_written_into_a_file_is_found_at_once_whatever_its_modification_time(cache: Cache) -> None:
    cache.open()
    cache.open()
    cache.damage(traceless=False)
    assert np.array_equal(cache.open(), ROWS) and cache.filled == 2


@pytest.mark.parametrize("opened", [0, 5, TURNS])
def test_what_a_disk_has_changed_is_found_within_as_many_openings_as_said(cache: Cache, opened: int) -> None:
    cache.open()
    for _ in range(opened):
        cache.open()
    cache.damage(traceless=True)
    openings = next(number for number in range(1, 2 * TURNS) if np.array_equal(cache.open(), ROWS))
    assert openings <= TURNS and cache.filled == 2


@pytest.mark.parametrize("memory", ["", "x", "1 2 3 4 x", "\0", "folder"])
def test_a_damaged_memory_has_all_checked(cache: Cache, memory: str) -> None:
    cache.open()
    path = cache.file.with_suffix(".checked")
    path.unlink()
    if memory == "folder":  # nor can anything be remembered there
        path.mkdir()
    else:
        path.write_text(memory)
    cache.checked.clear()
    assert np.array_equal(cache.open(), ROWS) and cache.checked == list(range(7)) and cache.filled == 1


@pytest.mark.parametrize(
    "rows", [ROWS[:49], np.concatenate([ROWS, ROWS[:1]]), ROWS[:, :15], ROWS[:25].repeat(2, axis=2)]
)
def test_rows_that_do_not_make_the_array_are_not_kept(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"rows: \d+ rows were computed, .* of \(50, 16, 16\)"):
        stored(
            tmp_path / "x.npy", ROWS.shape, "|u1", lambda file: file.append(rows), every=EVERY, what="rows", advice=""
        )
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


def by_hand() -> bytes:
    """The file as the first version of its form was written."""
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    header = buffer.getvalue()[: -ROWS.nbytes]
    sums = b"".join(xxhash.xxh3_64_digest(ROWS[start : start + EVERY].tobytes()) for start in range(0, 50, EVERY))
    return header + ROWS.tobytes() + sums + xxhash.xxh3_64_digest(header + sums)


def test_the_form_of_files_stays(cache: Cache) -> None:
    cache.file.write_bytes(by_hand())
    assert np.array_equal(cache.open(), ROWS) and cache.filled == 0
    cache.file.unlink()
    cache.open()
    assert cache.file.read_bytes() == by_hand()


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
        return stored(file, ROWS.shape, "|u1", compute, every=EVERY, what="rows", advice="")

    with pytest.raises(KeyboardInterrupt):
        run()
    partial = file.with_suffix(".partial")
    if damaged is not None:
        content = bytearray(partial.read_bytes())
        content[128 + damaged * EVERY * 256] ^= 1
        partial.write_bytes(content)
    assert np.array_equal(run(), ROWS) and file.read_bytes() == by_hand() and not partial.exists()
    whole = stop // EVERY
    assert begun == [0, EVERY * (whole if damaged is None else min(damaged, whole))]
