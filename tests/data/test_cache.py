import os
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data import cache, cards
from benchmark.data.cache import cache_dir, decoded
from benchmark.data.contents import MEMORY
from benchmark.data.splits import Split
from benchmark.errors import DataError


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Four kinds of images in four sizes; the first is red on the left and blue on the right."""
    folder = tmp_path / "images"
    folder.mkdir()
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, :30, 0] = half[:, 30:, 2] = 255
    Image.fromarray(half).save(folder / "half.png")
    Image.new("L", (500, 300), 77).save(folder / "grey.jpg")
    Image.new("RGBA", (5, 9), (10, 20, 30, 128)).save(folder / "alpha.png")
    Image.new("P", (20, 20), 3).save(folder / "palette.gif")
    names = ("half.png", "grey.jpg", "alpha.png", "palette.gif")
    return Split(tuple(folder / name for name in names), np.arange(4), names)


def files(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.suffix not in (".lock", ".sums") and path.name != MEMORY
    )


def test_images_become_squares_of_rgb(split: Split, tmp_path: Path) -> None:
    array = decoded(split, 16, tmp_path / "cache")
    assert array.shape == (4, 16, 16, 3) and array.dtype == np.uint8
    assert isinstance(array, np.memmap) and not array.flags.writeable
    assert array[0, :, :6].reshape(-1, 3).tolist() == [[255, 0, 0]] * 96  # squashed, not cropped
    assert array[0, :, 10:].reshape(-1, 3).tolist() == [[0, 0, 255]] * 96
    assert np.unique(array[1]).tolist() == [77]
    assert array[2, 3, 3].tolist() == [132, 137, 142]  # half opaque, on white


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    for suffix in ("png", "jpg"):
        path = tmp_path / f"stripes.{suffix}"
        Image.fromarray(stripes).save(path, quality=95)
        array = decoded(Split((path,), np.zeros(1, np.int64), ("a",)), 16, tmp_path / "cache")
        assert np.abs(array.astype(int) - 128).max() <= 3


def test_jpeg_keeps_its_detail(tmp_path: Path) -> None:
    blocks = np.kron(np.random.default_rng(0).integers(60, 200, (32, 32)), np.ones((8, 8))).astype(np.uint8)
    paths = tmp_path / "blocks.png", tmp_path / "blocks.jpg"
    for path in paths:
        Image.fromarray(blocks).save(path, quality=95)
    png, jpg = decoded(Split(paths, np.zeros(2, np.int64), ("a",)), 64, tmp_path / "cache").astype(int)
    assert np.abs(png - jpg).mean() < 2


def test_decoded_once(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = decoded(split, 16, tmp_path / "cache")
    monkeypatch.setattr(cache, "square", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(decoded(split, 16, tmp_path / "cache"), first)


def test_size_content_and_rule_are_the_key(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    decoded(split, 16, folder)
    assert decoded(split, 8, folder).shape == (4, 8, 8, 3)
    assert len(files(folder)) == 2
    grey = split.images[1]
    Image.new("L", (500, 300), 99).save(grey)
    os.utime(grey, ns=(1, 1))
    assert decoded(split, 16, folder)[1, 0, 0].tolist() == [99] * 3
    assert len(files(folder)) == 3
    monkeypatch.setattr(cache, "rule", lambda fit: "another")
    decoded(split, 16, folder)
    assert len(files(folder)) == 4


def test_progress_counts_images(split: Split, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    decoded(split, 16, tmp_path / "cache", lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("damage", ["truncated", "empty", "partial", "other"])
def test_half_written_files_are_rebuilt(split: Split, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "cache"
    whole = np.array(decoded(split, 16, folder))
    file = next(folder.glob("*.npy"))
    content = file.read_bytes()
    if damage == "partial":
        file.with_suffix(".partial").write_bytes(content[:200])
        file.unlink()
    elif damage == "other":
        np.save(file, np.zeros((4, 2, 2, 3), np.uint8))
    else:
        file.write_bytes(content[: -10 if damage == "truncated" else 0])
    assert np.array_equal(decoded(split, 16, folder), whole)
    assert files(folder) == [file.name]


def test_all_corrupt_images_are_named_at_once(split: Split, tmp_path: Path) -> None:
    for path in split.images:
        path.write_bytes(b"no image")
    with pytest.raises(DataError) as raised:
        decoded(split, 16, tmp_path / "cache")
    message = str(raised.value)
    assert all(f"{path} cannot be decoded" in message for path in split.images[:3])
    assert (f"and {len(split) - 3} more" in message) == (len(split) > 3)
    assert files(tmp_path / "cache") == []


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_corrupt_image_is_named_and_nothing_is_left(split: Split, tmp_path: Path, content: bytes | None) -> None:
    path = split.images[1]
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(DataError, match=f"{path} cannot be decoded"):
        decoded(split, 16, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_missing_image_is_named(split: Split, tmp_path: Path) -> None:
    split.images[2].unlink()
    with pytest.raises(DataError, match=str(split.images[2])):
        decoded(split, 16, tmp_path / "cache")


def test_an_interrupted_build_goes_on(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SAFE", 1)
    whole = np.array(decoded(split, 16, tmp_path / "whole"))

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(split, 16, tmp_path / "cache", interrupt)
    again: list[Path] = []
    decode = cache.square
    # What was written last may not have reached the disk before a power failure, whatever the length of the file.
    partial = next((tmp_path / "cache").glob("*.partial"))
    content = bytearray(partial.read_bytes())
    partial.write_bytes(content[: 128 + 16 * 16 * 3] + bytes(16 * 16 * 3) + content[128 + 2 * 16 * 16 * 3 :])
    monkeypatch.setattr(cache, "square", lambda path, *how: again.append(path) or decode(path, *how))  # type: ignore[func-returns-value]
    assert np.array_equal(decoded(split, 16, tmp_path / "cache"), whole)
    assert sorted(again) == sorted(split.images[1:])
    assert all(name.endswith(".npy") for name in files(tmp_path / "cache"))


def test_few_images_wait_for_a_slow_disk(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Split(split.images * 50, np.zeros(200, np.int64), ("a",))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    decode = cache.square
    started: list[Path] = []
    monkeypatch.setattr(cache, "square", lambda path, *how: started.append(path) or decode(path, *how))  # type: ignore[func-returns-value]
    ahead: list[int] = []
    decoded(many, 16, tmp_path / "cache", lambda done, total: ahead.append(len(started) - done))
    assert len(started) == len(ahead) == 200 and max(ahead) <= 2 * cache.AHEAD


def test_a_build_stopped_behind_a_corrupt_image_meets_it_again(split: Split, tmp_path: Path) -> None:
    content = split.images[1].read_bytes()
    split.images[1].write_bytes(b"x" * len(content))
    os.utime(split.images[1], ns=(1, 1))

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(split, 16, tmp_path / "cache", interrupt)
    with pytest.raises(DataError, match=f"{split.images[1]} cannot be decoded"):
        decoded(split, 16, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_short_of_disk(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 0, 4 * 16 * 16 * 3))
    with pytest.raises(DataError, match=rf"need 0\.00 GB in {tmp_path / 'cache'}, .* are free.*BENCHMARK_CACHE"):
        decoded(split, 16, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_disk_that_fills_up_meanwhile(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        decoded(split, 16, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_written(split: Split, tmp_path: Path) -> None:
    # As root permission bits do not bind; below a regular file nobody can write.
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"cannot write to {tmp_path / 'file' / 'cache'}"):
        decoded(split, 16, tmp_path / "file" / "cache")


def test_two_builders_decode_once(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, started = cache.square, threading.Barrier(2)
    count: list[Path] = []

    def counted(path: Path, *how: Any) -> np.ndarray:
        count.append(path)
        return decode(path, *how)

    monkeypatch.setattr(cache, "square", counted)
    results = []

    def build() -> None:
        started.wait()
        results.append(np.array(decoded(split, 16, tmp_path / "cache")))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) == 4
    assert np.array_equal(results[0], results[1])


def test_rendered_images_stay_in_memory(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
    split = Split(pixels, np.zeros(5, np.int64), ("a",))
    array = decoded(split, 32, tmp_path / "cache")
    assert all(np.array_equal(array[..., channel], pixels) for channel in range(3))
    assert not array.flags.writeable
    assert decoded(split, 48, tmp_path / "cache").shape == (5, 48, 48, 3)
    assert abs(decoded(split, 8, tmp_path / "cache").mean() - pixels.mean()) < 2
    assert not (tmp_path / "cache").exists()


def test_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_CACHE", raising=False)
    assert cache_dir(tmp_path) == tmp_path / ".cache"
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o555)
    assert cache_dir(read_only) == cache_dir(read_only / "missing") == cards.default_data_dir() / ".cache"
    # Named and not there yet: it is made, not passed over.
    assert cache_dir(tmp_path / "missing" / "data") == tmp_path / "missing" / "data" / ".cache"
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir(tmp_path) == tmp_path / "elsewhere"
