"""Folders made apart are joined where they can be held against each other, and refused with the reason where not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_one_line, fields_of

from benchmark.cli import run_command
from benchmark.store import Store


@pytest.fixture(scope="module")
def made(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two methods, in a folder each, with their teacher in both; and both seeds by one command."""
    folder = tmp_path_factory.mktemp("made")
    words = f"run --dataset tiny --preset smoke --device cpu --methods hinton,rkd-d --steps 4 --data {data_dir}".split()
    for name, seeds in (("a", "0"), ("b", "1"), ("both", "0,1")):
        assert run_command([*words, "--seeds", seeds, "--results", str(folder / name)]) == 0
    return folder


@pytest.fixture
def apart(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(made, tmp_path / "apart")


def store_of(folder: Path) -> Store:
    return Store(folder / "tiny" / "smoke")


def change(folder: Path, method: str, **fields: Any) -> None:
    """Have a record say something else, as of an older version: without a digest."""
    (path,) = store_of(folder).records.glob(f"{method}-*.json")
    path.write_text(json.dumps({**fields_of(path), **fields}))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_folders_are_what_one_command_makes(apart: Path, cli: Any) -> None:
    before = contents(apart / "a"), contents(apart / "b")
    done = cli("merge", apart / "a", apart / "b", "--into", apart / "joined")
    assert done.code == 0, done
    assert "a/tiny/smoke: 3 of 3 runs taken, 3 with weights" in done.out
    assert "b/tiny/smoke: 2 of 3 runs taken, 2 with weights" in done.out  # the teacher is there already
    joined, both = store_of(apart / "joined"), store_of(apart / "both")
    assert [(record.id, record.weights) for record in joined] == [(record.id, record.weights) for record in both]
    for record in joined:
        assert joined.read_weights(record.spec) == both.read_weights(record.spec)
        assert joined.queries(record.spec).read_bytes() == both.queries(record.spec).read_bytes()
    table = "tiny/smoke/comparison.md"
    assert (apart / "joined" / table).exists()
    costs = "tiny/smoke/costs.json"
    assert (apart / "joined" / costs).read_bytes() == before[0][costs]
    if before[0][costs] != before[1][costs]:
        assert f"costs.json is that of {apart / 'a'}/tiny/smoke; not taken: {apart / 'b'}/tiny/smoke" in done.out
    assert (contents(apart / "a"), contents(apart / "b")) == before
    again = cli("merge", apart / "a", apart / "b", "--into", apart / "joined")
    assert again.code == 0 and again.out.count(": 0 of 3 runs taken, 0 with weights") == 2


def test_one_preset_goes_into_another_folder_that_has_runs(apart: Path, cli: Any) -> None:
    """Without the weights that are gone or another's."""
    a, b = store_of(apart / "a"), store_of(apart / "b")
    (student,) = (record.spec for record in b if record.spec.method == "hinton")
    b.weights(student).write_bytes(b"damaged")
    done = cli("merge", b.folder, a.folder, "--into", a.folder)
    assert done.code == 0 and "b/tiny/smoke: 2 of 3 runs taken, 1 with weights" in done.out, done
    assert len([*a]) == 5 and not a.weights(student).exists()


@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        (
            "hinton",
            {"teacher": "0123456789abcdef"},
            "they have different weights of teachers, triplet conv4-16-16 seed 0",
        ),
        ("rkd-d", {"data": "0123456789abcdef"}, "they are of different images of tiny test ("),
        ("rkd-d", {"listing": "0123456789abcdef"}, "they are of different images of tiny test, by names and sizes"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    apart: Path, cli: Any, method: str, fields: dict[str, str], reason: str
) -> None:
    change(apart / "b", method, **fields)
    refused = cli("merge", apart / "a", apart / "b", "--into", apart / "joined")
    assert_one_line(refused, 1, "a/tiny/smoke and ", "b/tiny/smoke are not joined", reason, "0123456789abcdef")
    assert not (apart / "joined").exists()


def test_damaged_records_and_wrong_words_are_refused(apart: Path, cli: Any) -> None:
    (path,) = store_of(apart / "b").records.glob("hinton-*.json")
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2', 1))
    refused = cli("merge", apart / "a", apart / "b", "--into", apart / "joined")
    assert_one_line(refused, 1, str(path), "its digest is another")
    assert_one_line(cli("merge", apart / "a", "--into", apart / "joined"), 2, "two or more folders")
    assert_one_line(cli("merge", apart / "a", apart / "none", "--into", apart / "joined"), 2, "no results below")
    assert not (apart / "joined").exists()


def test_of_a_run_that_both_did_the_first_stays(apart: Path, cli: Any) -> None:
    shutil.copytree(apart / "b", apart / "c")
    change(apart / "c", "hinton", weights="0123456789abcdef")
    done = cli("merge", apart / "b", apart / "c", "--into", apart / "joined")
    assert done.code == 0 and "c/tiny/smoke: 0 of 3 runs taken, 0 with weights; 1 more are there" in done.out, done
    assert "0123456789abcdef" not in {record.weights for record in store_of(apart / "joined")}
