"""Arrays in files: damaged, cut, hostile, and of other shapes and types than are wanted."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_one_line

from benchmark.data.arrays import LABELS, VECTORS, Form, open_array
from benchmark.errors import DataError

ARRAY = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "npy": lambda path, array: np.save(path, array),
    "stored": lambda path, array: np.savez(path, features=array),
    "packed": lambda path, array: np.savez_compressed(path, features=array),
}


def with_header(path: Path, header: str, data: bytes = b"\0" * 64, *, packed: bool = False) -> Path:
    """An array file with any text as its header."""
    text = header.encode("latin1")
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", content)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("shape", [(280,), (40, 7), (5, 8, 7)])
def test_what_numpy_writes_is_read(tmp_path: Path, writer: str, shape: tuple[int, ...], order: Any) -> None:
    path = tmp_path / ("x.npy" if writer == "npy" else "x.npz")
    form = Form((1, 2, 3), "fiU", "anything")
    for array in (ARRAY.reshape(shape), ARRAY.reshape(shape).astype(">f8"), (9 * ARRAY).reshape(shape).astype("U5")):
        WRITERS[writer](path, np.asarray(array, order=order))
        assert np.array_equal(open_array(path, "features", form), array)
        assert open_array(path, "features", form).dtype == array.dtype


def damages(content: bytes, draw: np.random.Generator, count: int) -> list[bytes]:
    """Half of them in the first 200 bytes, where headers are, or the last 200, where an archive's list is."""
    result = []
    for number in range(count):
        where = [(0, min(200, len(content))), (0, len(content)), (max(0, len(content) - 200), len(content))][number % 3]
        place = int(draw.integers(*where))
        end = place + int(draw.integers(1, 30))
        result.append(
            [
                content[:place] + bytes([content[place] ^ (1 << int(draw.integers(8)))]) + content[place + 1 :],
                content[:place] + bytes([int(draw.integers(256))]) + content[place + 1 :],
                content[:place],
                content[:place] + bytes(len(content[place:end])) + content[end:],
                content[:place] + content[end:],
                content[:place] + draw.bytes(end - place) + content[end:],
            ][number // 3 % 6]
        )
    return result


@pytest.mark.parametrize("writer", WRITERS)
def test_damage_is_a_line_or_the_same_array(tmp_path: Path, writer: str) -> None:
    """Of an .npy damage to the numbers is not seen; shape and size always are right. An archive has sums."""
    path = tmp_path / ("x.npy" if writer == "npy" else "x.npz")
    WRITERS[writer](path, ARRAY)
    refused = 0
    for content in damages(path.read_bytes(), np.random.default_rng(1), 400):
        path.write_bytes(content)
        try:
            array = open_array(path, "features", VECTORS)
        except DataError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert array.shape == ARRAY.shape and array.dtype.newbyteorder("=") == ARRAY.dtype
            assert writer == "npy" or np.array_equal(array, ARRAY)
    assert refused > 100


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER.format("'<f4'", "(-4, -4)"), "not an array"),
        (HEADER.format("'<f4'", "(0, 4)"), "not an array"),
        (HEADER.format("'<f4'", "(4000000000000000000, 4000000000000000000)"), "not an array"),
        (HEADER.format("'<f4'", "(4, 5)"), "not an array"),
        (HEADER.format("'<f4'", "(4, 3)"), "its header promises"),
        (HEADER.format("'<f4'", "(" + "1, " * 60 + ")"), "not an array"),
        (HEADER.format("'<f4'", "()"), "not an array"),
        (HEADER.format("'|O'", "(4, 4)"), "not an array"),
        (HEADER.format("[('a', '|O')]", "(4, 4)"), "not an array"),
        (HEADER.format("[('a', '<f4')]", "(4, 4)"), "a structure"),
        (HEADER.format("'<i4'", "(4, 4)"), "int32"),
        (HEADER.format("'<f99'", "(4, 4)"), "not an array"),
        (HEADER.format("'<f4'", "(4.0, 4)"), "not an array"),
        (HEADER.format("'<f4'", "(4, 4"), "not an array"),
        ("(" * 9000, "not an array"),
        ("-" * 9000 + "1", "not an array"),
        ("{'descr': '''", "not an array"),
        ("[" * 50 + "L", "not an array"),
        ("", "not an array"),
    ],
)
def test_headers(tmp_path: Path, header: str, expected: str, packed: bool) -> None:
    path = with_header(tmp_path / "x.npy", header, packed=packed)
    with pytest.raises(DataError) as caught:
        open_array(path, "features", VECTORS)
    assert expected in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_labels_without_width(tmp_path: Path) -> None:
    path = with_header(tmp_path / "x.npy", HEADER.format("'<U0'", "(1000000000000000,)"), b"")
    with pytest.raises(DataError, match="no elements"):
        open_array(path, "labels", LABELS)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path, cli: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros.npy").symlink_to("/dev/zero")
    np.save(tmp_path / "y.npy", np.arange(4))
    for name in ("pipe", "zeros.npy", "."):
        with pytest.raises(DataError, match="not a regular file"):
            open_array(tmp_path / name, "features", VECTORS)
        assert_one_line(cli("run", "--features", tmp_path / name, "--results", tmp_path / "out"), 1, "regular file")
        words = ["evaluate", "--embeddings", tmp_path / "y.npy", "--labels", tmp_path / name]
        assert_one_line(cli(*words), 1)
    (tmp_path / "link.npy").symlink_to(tmp_path / "y.npy")
    assert open_array(tmp_path / "link.npy", "labels", LABELS).tolist() == [0, 1, 2, 3]
