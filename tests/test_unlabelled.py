"""Images without labels: what is measured is how far a student finds its teacher's neighbours."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result, assert_one_line
from PIL import Image

from benchmark.data import cards
from benchmark.data.cards import OwnImages
from benchmark.data.decode import square
from benchmark.data.layouts import load_images
from benchmark.errors import UsageError
from benchmark.record import read_record
from benchmark.report.write import Folder

Cli = Callable[..., Result]
# Its embedding is the 3 x 3 means of an image: known without the suite.
TEACHER = """
from torch import nn

class Means(nn.Module):
    mean, std = (0, 0, 0), (1, 1, 1)
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 3).flatten(1)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 images in folders of no meaning, and a teacher."""
    home = tmp_path_factory.mktemp("catalogue")
    rng = np.random.default_rng(3)
    for number in range(100):
        path = home / "pictures" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)).save(path)
    (home / "teacher.py").write_text(TEACHER)
    return home


def words(home: Path, results: Path, dataset: Path | None = None) -> list[object]:
    where = ["--dataset", dataset or home / "pictures", "--results", results, "--data", home, "--device", "cpu"]
    smoke = ["--preset", "smoke", "--seeds", "0", "--set", "batch=16", "--set", "steps=5"]
    return [*where, *smoke, "--unlabelled", "--teacher", f"{home / 'teacher.py'}:Means"]


def test_students_are_held_against_their_teachers_neighbours(cli: Cli, home: Path, tmp_path: Path) -> None:
    result = cli("run", *words(home, tmp_path), "--methods", "regression,rkd-d,triplet,hinton,untrained,pca")
    assert result.code == 0, result
    for line in ("triplet does not apply: it has no teacher", "hinton does not apply: it needs labels"):
        assert line in result.out
    folder = next(tmp_path.glob("pictures-*")) / "smoke"
    records = {record.spec.method: record for record in map(read_record, folder.glob("runs/*.json"))}
    assert {*records} == {"features", "regression", "rkd-d", "pca"}
    for record in records.values():
        assert record.evaluation.relevance == "teacher" and record.evaluation.queries == 20 and not record.closed
    assert records["features"].metrics["recall@1"] == 1
    # By hand: the share of the teacher's ten nearest among the ten nearest of a network, by its saved embeddings.
    images = load_images(cards.load_card(str(home / "pictures"), home, OwnImages(unlabelled=True)), home).query.images
    assert isinstance(images, tuple) and len(images) == 20
    spec = records["regression"].spec
    pixels = torch.from_numpy(np.stack([square(path, spec.resize) for path in images])).permute(0, 3, 1, 2).float()
    edge = (spec.resize - spec.image) // 2
    pixels = pixels[:, :, edge : edge + spec.image, edge : edge + spec.image]
    means = torch.nn.functional.adaptive_avg_pool2d(pixels / 255, 3).flatten(1)
    (vectors := tmp_path / "images").mkdir()
    for number, path in enumerate(images):
        (vectors / f"{number}.png").write_bytes(path.read_bytes())
    out = tmp_path / "vectors.npy"
    assert cli("embed", records["regression"].id, "--images", vectors, "--out", out, "--results", tmp_path).code == 0
    first = _nearest(np.load(out), 1)[:, 0]
    expected = np.mean([row in ten for row, ten in zip(first, _nearest(means.numpy(), 10), strict=True)])
    assert records["regression"].evaluation.cosine["recall@1"] == pytest.approx(expected, abs=1e-6)
    decided = cli("choose", "--results", tmp_path)
    assert "% of its first finds are among the teacher's 10 nearest, by one run" in decided.out, decided
    page = Folder.read(folder).files()
    assert "There are no labels" in page["comparison.md"] and "agreement" in page["comparison.md"]


def _nearest(rows: np.ndarray, k: int) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -2)
    return np.argsort(-likeness, axis=1)[:, :k]


def test_a_table_without_labels(home: Path, tmp_path: Path) -> None:
    table = tmp_path / "catalogue.csv"
    images = sorted((home / "pictures").rglob("*.png"))

    def read(header: list[str], rows: list[list[str]]) -> dict[str, set[Path]]:
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        data = load_images(cards.load_card(str(table), home, OwnImages(unlabelled=True)), home)
        assert not data.labelled and not data.closed
        splits = {"train": data.train, "test": data.query, "validation": data.validation}
        return {name: {*split.images} for name, split in splits.items() if split is not None}

    fifth = read(["path", "price"], [[str(path), "1.5"] for path in images])
    assert [len(part) for part in fifth.values()] == [80, 20] and fifth["train"] | fifth["test"] == {*images}
    # Not the last ones: files follow each other by what they show.
    assert fifth["test"] != {*images[80:]}
    names = ["train"] * 60 + ["val"] * 10 + ["test"] * 30
    said = read(["path", "label", "split"], [[str(path), "", name] for path, name in zip(images, names, strict=True)])
    assert said == {"train": {*images[:60]}, "validation": {*images[60:70]}, "test": {*images[70:]}}


def test_what_is_wrong_is_one_line(cli: Cli, home: Path, tmp_path: Path) -> None:
    all_words = words(home, tmp_path)
    assert_one_line(
        cli("run", *all_words[:-2], "--methods", "regression"), 2, "without labels no teacher can be trained"
    )
    assert_one_line(cli("run", *all_words, "--methods", "triplet"), 2, "it has no teacher, whose neighbours")
    with pytest.raises(UsageError, match="not with closed"):
        cards.load_card(str(home), None, OwnImages(unlabelled=True, closed=True))
    with pytest.raises(UsageError, match="--unlabelled is for own folders and tables"):
        cards.load_card("glyphs", None, OwnImages(unlabelled=True))
    labelled = [word for word in all_words if word != "--unlabelled"]
    assert_one_line(cli("run", *labelled, "--methods", "regression"), 2, "")
    (flat := tmp_path / "flat").mkdir()
    (flat / "a.png").write_bytes((home / "pictures" / "0" / "0.png").read_bytes())
    assert_one_line(cli("run", *words(home, tmp_path, flat), "--methods", "regression"), 1, "no images of test")
