"""Images are known by what they hold: equal names and sizes do not make them the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, assert_one_line, fields_of
from PIL import Image
from test_decode import P3, grey_profile, matrix_profile

from benchmark.data import cards, contents
from benchmark.data.contents import MEMORY, digests
from benchmark.data.decode import RULE
from benchmark.data.layouts import load_images
from benchmark.data.splits import Contents, DataSet
from benchmark.errors import DataError


def folder(root: Path, noise: bool, suffix: str = "pgm") -> Path:
    """Eight classes of four uncompressed pictures: their sizes in bytes depend on width and height alone."""
    draw = np.random.default_rng(int(noise))
    for number in range(32):
        level = draw.integers(0, 256, (16, 16)) if noise else np.full((16, 16), 30 * (number // 4))
        path = root / f"class {number // 4}" / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(level.astype(np.uint8)).save(path)
        os.utime(path, ns=(1, 1))
    return root


def read(root: Path) -> DataSet:
    return load_images(cards.load_card(str(root)), root.parent)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("suffix", ["pgm", "bmp", "tiff"])
def test_equal_names_and_sizes_are_not_the_same_images(tmp_path: Path, suffix: str) -> None:
    flat, noise = (read(folder(tmp_path / name / "set", name == "noise", suffix)) for name in ("flat", "noise"))
    assert flat.listing == noise.listing and flat.fingerprint != noise.fingerprint
    shutil.copytree(tmp_path / "flat", tmp_path / "copy")
    assert read(tmp_path / "copy" / "set").fingerprint == flat.fingerprint


def test_neither_caches_nor_finished_runs_pass_from_one_to_the_other(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    def run(name: str) -> Result:
        root = folder(tmp_path / name / "set", name == "noise")
        sizes = "--set resize=16 --set image=16 --set batch=8 --set per_class=4 --set pretrained=false --set backbone=conv4-4"
        words = f"run --dataset {root} --preset heads --set hidden=0 --methods untrained --dims 4 --seeds 0 --steps 2 --device cpu {sizes}"
        teacher = "--set teacher.steps=2 --set teacher.backbone=conv4-4 --set teacher.dim=8"
        return cli(*words.split(), *teacher.split(), "--results", tmp_path / "results")

    recalls = {}
    for name in ("flat", "noise"):
        result = run(name)
        assert result.code == 0 and "0 done" in result.out, result
        (record,) = set((tmp_path / "results").glob("*/heads/runs/untrained-*.json")) - set(recalls)
        recalls[record] = json.loads(record.read_text())["evaluation"]["cosine"]["recall@1"]
    flat, noise = recalls.values()
    assert flat == 1 and noise < 0.6


def test_a_file_is_read_once_and_again_when_it_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(folder(tmp_path / "set", True).rglob("*.pgm"))
    asked: list[Path] = []
    compute = contents._digest
    monkeypatch.setattr(contents, "_digest", lambda path: (asked.append(path), compute(path))[1])
    first = digests(files, tmp_path / "memory")
    assert len(asked) == 32 and digests(files, tmp_path / "memory") == first and len(asked) == 32
    # Another content of the same size under the old modification time.
    files[3].write_bytes(files[4].read_bytes())
    os.utime(files[3], ns=(1, 1))
    again = digests(files, tmp_path / "memory")
    assert asked[32:] == [files[3]] and again[3] == first[4]
    (tmp_path / "memory" / MEMORY).write_bytes(b"damaged")
    assert digests(files, tmp_path / "memory") == again and len(asked) == 33 + 32
    (tmp_path / "file").touch()
    assert digests(files[:2], tmp_path / "file" / "memory") == again[:2]  # nothing can be remembered there


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: No such file"):
        digests([tmp_path / "gone"], tmp_path)


def test_the_rule_of_decoding_is_part_of_it(tmp_path: Path) -> None:
    data = read(folder(tmp_path / "set", True))
    other = Contents(data.contents.root, data.contents.splits, "another rule", tmp_path)
    assert other.fingerprint != data.fingerprint and other.listing == data.listing


def test_files_whose_pixels_are_as_before_keep_their_fingerprint(tmp_path: Path) -> None:
    """By hand: rule, names, contents and labels. A grey profile, of which more is made than before, is the one exception."""
    root = folder(tmp_path / "set", True, "jpg")
    data = read(root)

    def by_hand(marks: dict[str, str]) -> str:
        said = hashlib.sha256(RULE.encode())
        for name, split in data.contents.splits.items():
            said.update(f"{name} {len(split)}\n".encode() + split.labels.astype("<i8").tobytes())
            for path in split.images:
                assert isinstance(path, Path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
                said.update(f"{path.relative_to(root)}\0{digest}{marks.get(path.name, '')}\n".encode())
        return said.hexdigest()[:16]

    assert data.fingerprint == by_hand({})
    for number, icc in enumerate((matrix_profile(P3), grey_profile(1.0))):
        path = root / f"class {number}" / f"{4 * number}.jpg"
        Image.open(path).save(path, icc_profile=icc)
    data = read(root)
    assert data.fingerprint == by_hand({"4.jpg": "-2"})


def test_records_of_before_are_held_against_names_and_sizes(
    cli: Callable[..., Result], smoke: list[str], tmp_path: Path
) -> None:
    """Run on other images, they are said to be; where they cannot be held against contents, that is said."""
    assert cli(*smoke, "--methods", "untrained", "--dims", "8").code == 0
    (path,) = (tmp_path / "tiny" / "smoke" / "runs").glob("untrained-*.json")
    record = fields_of(path)
    more = [*smoke, "--methods", "triplet", "--dims", "8", "--steps", "2"]
    path.write_text(json.dumps(record | {"data": "f" * 16}))
    said = cli(*more)
    assert said.code == 0 and "finished runs are of other images than these" in said.out
    (tmp_path / "tiny" / "smoke" / "runs").joinpath(next(p.name for p in path.parent.glob("triplet-*"))).unlink()
    older = {name: value for name, value in record.items() if name != "listing"}
    path.write_text(json.dumps(older))
    said = cli(*more)
    # Of rendered images the content was known before, too.
    assert said.code == 0 and "other images" not in said.out and "older version" not in said.out
    rerun = ["verify", "--results", tmp_path, "--rerun", path.stem[-10:], "--data", smoke[smoke.index("--data") + 1]]
    path.write_text(json.dumps(older | {"data": "f" * 16}))
    assert_one_line(cli(*rerun), 2, "was run on other images")
