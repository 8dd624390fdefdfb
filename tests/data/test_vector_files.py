"""Own vectors: what is read of which file, when, and how much of it at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data import arrays as module
from benchmark.data import cards, vectors
from benchmark.data.arrays import open_array
from benchmark.data.cards import Vectors
from benchmark.data.layouts import load_images
from benchmark.data.splits import DataSet, holdout
from benchmark.data.stored import new_array
from benchmark.data.vectors import VectorFile, VectorRows
from benchmark.errors import DataError

N, V, C, D = 40, 3, 5, 7
RNG = np.random.default_rng(0)
STUDENT = RNG.normal(size=(N, V, C)).astype(np.float32)
TEACHER = RNG.normal(size=(N, V, D)).astype(np.float32)
LABELS = RNG.permutation(np.repeat(np.arange(8) * 3, 5))  # neither sorted nor 0, 1, 2, ...


def save(folder: Path, **arrays: np.ndarray) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: folder / f"{name}.npy" for name in arrays}


def read(views: int | None = None, **files: Path) -> DataSet:
    return load_images(cards.of_vectors(Vectors(views=views, **files)), Path())


def rows(data: DataSet, split: str = "train") -> VectorRows:
    found = getattr(data, split).images
    assert isinstance(found, VectorRows)
    return found


def test_the_first_half_of_the_classes_trains(tmp_path: Path) -> None:
    data = read(**save(tmp_path, features=STUDENT, teacher_features=TEACHER, labels=LABELS))
    assert data.train.names == ("0", "3", "6", "9") and data.query.names == ("12", "15", "18", "21")
    for split, first in ((data.train, 0), (data.query, 4)):
        assert np.array_equal(split.labels, np.repeat(np.arange(4), 5))  # sorted
        assert isinstance(split.images, VectorRows)
        assert np.array_equal(LABELS[split.images.rows], 3 * (split.labels + first))
        assert np.array_equal(split.images.of("vectors")[:], STUDENT[split.images.rows, 0])
        assert np.array_equal(split.images.of("teacher-vectors")[3:9], TEACHER[split.images.rows[3:9], 0])
    views = rows(data).of("vectors")
    assert np.array_equal(views[np.array([4, 1]), np.array([2, 0])], STUDENT[rows(data).rows[[4, 1]], [2, 0]])


def test_names_are_in_the_order_of_people(tmp_path: Path) -> None:
    names = np.array(["bird 10", "bird 2", "bird 1", "ant"]).repeat(2)
    data = read(**save(tmp_path, features=STUDENT[:8], labels=names))
    assert data.train.names + data.query.names == ("ant", "bird 1", "bird 2", "bird 10")
    assert names[rows(data).rows].tolist() == ["ant", "ant", "bird 1", "bird 1"]


def test_the_teachers_are_the_students_own_without_others(tmp_path: Path) -> None:
    data = read(**save(tmp_path, features=STUDENT, labels=LABELS))
    assert rows(data).teacher is rows(data).student


def test_without_labels_a_fifth_is_searched_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    files = save(tmp_path, features=np.arange(100.0).reshape(100, 1).astype(np.float32))
    data = read(**files)
    assert data.train.names == () and not data.labelled and data.train.labels.tolist() == list(range(80))
    parts = [split.images.of("vectors")[:][:, 0] for split in data.splits]  # type: ignore[union-attr]
    assert sorted(np.concatenate(parts)) == list(range(100)) and len(parts[1]) == 20
    assert 30 < parts[1].mean() < 70 and np.abs(np.diff(parts[0])).mean() > 10  # not the end of the file
    again = read(**files)
    assert np.array_equal(rows(again).rows, rows(data).rows) and again.fingerprint == data.fingerprint
    held = holdout(data)
    assert (len(held.train), len(held.query)) == (64, 16)
    assert set(rows(held).rows) | set(rows(held, "query").rows) == set(rows(data).rows)


def forms(folder: Path) -> dict[str, tuple[dict[str, Path], int | None]]:
    """The same numbers, written in every form that can be read."""
    flat = {"features": STUDENT.reshape(-1, C), "teacher_features": TEACHER.reshape(-1, D), "labels": LABELS}
    whole = {"features": STUDENT, "teacher_features": TEACHER, "labels": LABELS}
    np.savez(folder / "stored.npz", **whole)
    np.savez_compressed(folder / "packed.npz", **whole)
    for name, array in whole.items():
        np.savez(folder / f"{name}-alone.npz", array)  # called arr_0
    return {
        "npy": (save(folder / "npy", **whole), None),
        "flat": (save(folder / "flat", **flat), V),
        "fortran": (save(folder / "fortran", **{name: np.asfortranarray(array) for name, array in flat.items()}), V),
        "double": (save(folder / "double", **{**whole, "features": STUDENT.astype(">f8")}), None),
        "stored": (dict.fromkeys(whole, folder / "stored.npz"), None),
        "packed": (dict.fromkeys(whole, folder / "packed.npz"), None),
        "alone": ({name: folder / f"{name}-alone.npz" for name in whole}, None),
    }


@pytest.mark.parametrize("form", ["npy", "flat", "fortran", "double", "stored", "packed", "alone"])
def test_forms(tmp_path: Path, form: str) -> None:
    files, views = forms(tmp_path)[form]
    data = read(views, **files)
    assert data.fingerprint == read(**forms(tmp_path)["npy"][0]).fingerprint
    student = rows(data).student
    assert (len(student), student.views, student.width) == (N, V, C)
    found = rows(data).of("vectors")[np.arange(20), np.arange(20) % V]
    assert found.dtype == np.float32 and np.array_equal(found, STUDENT[rows(data).rows, np.arange(20) % V])
    assert isinstance(student.array, np.memmap) == (form in ("npy", "flat", "fortran", "double"))


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    base = {"features": STUDENT, "teacher_features": TEACHER, "labels": LABELS}
    changed = [
        {**base, "features": STUDENT + (np.arange(N) == 17)[:, None, None].astype(np.float32)},
        {**base, "teacher_features": TEACHER[::-1].copy()},
        {**base, "labels": np.roll(LABELS, 1)},
        {name: base[name] for name in ("features", "labels")},
        {name: base[name] for name in ("features", "teacher_features")},
    ]
    found = [
        read(**save(tmp_path / str(number), **arrays)).fingerprint for number, arrays in enumerate([base, *changed])
    ]
    assert len(set(found)) == len(found)
    assert read(**save(tmp_path / "copy", **base)).fingerprint == found[0]


def test_what_goes_to_other_processes_is_a_name(tmp_path: Path) -> None:
    data = read(
        **save(tmp_path, features=np.arange(500_000, dtype=np.float32).reshape(1000, 500), labels=np.arange(1000) // 10)
    )
    assert rows(data).student.array.size and rows(data).student.scanned  # opened and read before it is sent
    sent = pickle.dumps(rows(data))
    assert len(sent) < 10_000  # of 2,000,000 bytes
    other = pickle.loads(sent)
    assert isinstance(other.student.array, np.memmap) and np.array_equal(other.rows, rows(data).rows)


class Guarded:
    """An array of which only parts may be taken."""

    def __init__(self, array: np.ndarray, most: int) -> None:
        self._array, self.most = array, most
        self.shape, self.ndim, self.dtype, self.size = array.shape, array.ndim, array.dtype, array.size

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place: Any) -> np.ndarray:
        found = self._array[place]
        assert len(found) <= self.most, f"{len(found)} rows at once"
        return found

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("the whole file was read")


def guard(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = VectorFile.array.func
    monkeypatch.setattr(VectorFile, "array", property(lambda self: Guarded(whole(self), most)))


def test_a_file_is_gone_through_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = save(tmp_path, features=STUDENT.reshape(-1, C), labels=LABELS)
    expected = read(V, **files).fingerprint
    guard(monkeypatch, 7)
    monkeypatch.setattr(vectors, "BLOCK", 7 * V * C)
    assert read(V, **files).fingerprint == expected


@pytest.mark.parametrize(
    ("place", "bad", "message"),
    [
        ((33, 2, 1), np.nan, "row 33, view 2"),
        ((33, 2, 1), -np.inf, "row 33, view 2"),
        ((39, 0, 0), 1e300, "row 39, view 0"),
    ],
)
def test_numbers_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, ...], bad: float, message: str
) -> None:
    monkeypatch.setattr(vectors, "BLOCK", 4 * V * C)
    array = STUDENT.astype(np.float64)
    array[place] = bad
    with pytest.raises(DataError, match=f"features.npy, {message}: NaN"):
        read(**save(tmp_path, features=array, labels=LABELS))
    flat = save(tmp_path, features=array.reshape(-1, C), labels=LABELS)
    with pytest.raises(DataError, match=f"features.npy, {message}: NaN"):
        read(V, **flat)


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray])
def test_absurd_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any) -> None:
    """Whatever the shape, of any view, in any block; with `trained` they are an error."""
    monkeypatch.setattr(vectors, "BLOCK", 4 * V * C)
    array = STUDENT.astype(np.float64)
    assert not len(VectorFile(save(tmp_path, x=array)["x"], "x", trained=True).scanned[1])
    array[33, 2, 1], array[5, 0, 0], array[5, 1, 0] = 3e38, -3e38, 1e30
    path = save(tmp_path, x=form(array))["x"]
    assert VectorFile(path, "x").scanned[1].tolist() == [5, 33]
    with pytest.raises(
        DataError, match=r"x\.npy is trained on, and 2 of 40 rows are more than 10\^7 .* rows 5, 33; mend"
    ):
        _ = VectorFile(path, "x", trained=True).scanned
    assert pickle.loads(pickle.dumps(VectorFile(path, "x", trained=True))).trained
    path = save(tmp_path, y=form(array.reshape(-1, C)))["y"]
    assert VectorFile(path, "y", V).scanned[1].tolist() == [5, 33]


@pytest.mark.parametrize("times", [1e3, 1e6, 1e8, 1e10, 1e13])
def test_rows_that_are_trained_on_may_be_ten_million_times_the_others(tmp_path: Path, times: float) -> None:
    """One by which a sum of float32 forgets the others would train alone; search compares pair by pair and bears more."""
    array = STUDENT.astype(np.float64)
    array[17] *= times
    path = save(tmp_path, x=array)["x"]
    if times > 1e7:
        with pytest.raises(DataError, match=r"1 of 40 rows is more than 10\^7 times larger than the others: row 17"):
            _ = VectorFile(path, "x", trained=True).scanned
    else:
        assert VectorFile(path, "x", trained=True).scanned
    assert VectorFile(path, "x").scanned[1].tolist() == ([17] if times > 1e12 else [])


def test_a_damaged_archive_is_one_clear_line(tmp_path: Path) -> None:
    """Whichever byte of the compressed array it is, and not by what zlib happens to call it."""
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, np.arange(4096) % 251)
    whole = path.read_bytes()
    met = 0
    for place in range(40, len(whole) - 100):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            open_array(path, "arr_0", module.LABELS)
        except DataError as error:
            met += 1
            assert str(path) in str(error)
    assert met > 100


def test_an_array_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_array(tmp_path / "new" / "x.npy", (3, 2), "<f4") as array:
        array[:] = 1
        assert not (tmp_path / "new" / "x.npy").exists()
    assert np.load(tmp_path / "new" / "x.npy").sum() == 6
    with pytest.raises(ZeroDivisionError), new_array(tmp_path / "y.npy", (3, 2), "<f4"):
        raise ZeroDivisionError
    with pytest.raises(DataError, match="GB are free"), new_array(tmp_path / "y.npy", (10**12, 100), "<f4"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["new"] and len(list((tmp_path / "new").iterdir())) == 1
