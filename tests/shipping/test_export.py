"""From a shop's table to a folder that needs nothing of the suite: what is written is what was measured."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, assert_one_line
from PIL import Image
from safetensors.numpy import load_file

from benchmark.cli import run_command
from benchmark.data import cards
from benchmark.data.layouts import load_images
from benchmark.record import Record, read_record

Cli = Callable[..., Result]
METHODS = "triplet,regression,rkd-d,pca,pq"

# What a stranger writes, who has the folder, its card and the images, and not this suite.
STRANGER = """
import csv, json, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

folder, catalog, out = sys.argv[1:]
described = json.load(open(f"{folder}/preprocess.json"))
size = described["image"]["resize"][0]

def read(path):
    image = Image.open(path)
    image.draft("RGB", (2 * size, 2 * size))
    image = image.convert("RGB")
    if described["image"]["fit"] == "crop":
        image = ImageOps.fit(image, (min(image.size),) * 2)
    if described["image"]["fit"] == "pad":
        image = ImageOps.pad(image, (max(image.size),) * 2, color="white")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

rows = [row for row in csv.DictReader(open(catalog)) if row["split"] == "test"]
images = np.stack([read(row["path"]) for row in rows])
(found,) = onnxruntime.InferenceSession(f"{folder}/model.onnx").run(None, {"images": images})
labels = np.array([row["label"] for row in rows])

def recall(queries, gallery):
    distances = np.square(queries[:, None] - gallery[None]).sum(2)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(1)] == labels).mean())

said = {"recall": recall(found, found)}
if "projector" in described["files"]:
    (mapped,) = onnxruntime.InferenceSession(f"{folder}/projector.onnx").run(None, {"embedding_of_student": found})
    teacher = np.load(out)
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    said["asymmetric"] = recall(mapped, teacher / np.linalg.norm(teacher, axis=1, keepdims=True))
assert not any(name.startswith("benchmark") or name == "torch" for name in sys.modules)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def shop(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny glyphs as a shop has its products: files of several kinds, in folders of no meaning, and a table."""
    home = tmp_path_factory.mktemp("a shop's data")
    data = load_images(cards.load_card("tiny", data_dir), data_dir)
    rows = []
    for split, images in (("train", data.train), ("test", data.query)):
        for number, (pixels, label) in enumerate(zip(np.asarray(images.images), images.labels, strict=True)):
            path = home / f"{split[:2]}{number % 3}" / f"Größe {number}.{('png', 'jpg', 'bmp')[number % 3]}"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
            rows.append([path.relative_to(home).as_posix(), f"product {images.names[label]!r}", split, "9.99"])
    with (home / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "split", "price"], *rows])
    return home


@pytest.fixture(scope="module")
def ran(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its results, by the command line."""
    results = tmp_path_factory.mktemp("results")
    words = [
        "--dataset",
        shop / "catalog.csv",
        "--preset",
        "smoke",
        "--methods",
        METHODS,
        "--seeds",
        "0",
        "--device",
        "cpu",
    ]
    assert run_command(["run", *map(str, [*words, "--results", results, "--data", results / "data"])]) == 0
    return results


def record_of(results: Path, method: str) -> Record:
    (path,) = (path for path in results.rglob(f"runs/{method}-??????????.json") if read_record(path).spec.dim != 16)
    return read_record(path)


def exported(cli: Cli, shop: Path, results: Path, method: str, out: Path, *more: object) -> Result:
    where = ("--dataset", shop / "catalog.csv", "--results", results, "--data", results / "data")
    return cli("export", record_of(results, method).id, "--out", out, *where, *more)


def test_a_stranger_gets_what_was_measured(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    """With onnxruntime and Pillow alone: Recall@1 within 0.1 point, also in the index that the teacher has filled."""
    teacher = next(path for path in ran.rglob("runs/triplet-*.json") if read_record(path).spec.dim == 16)
    only = tmp_path / "test.csv"
    with (shop / "catalog.csv").open(newline="", encoding="utf-8") as file, only.open("w", newline="") as chosen:
        rows = [row for row in csv.reader(file) if row[2] in ("split", "test")]
        csv.writer(chosen).writerows([rows[0], *([str(shop / row[0]), *row[1:]] for row in rows[1:])])
    index = tmp_path / "teacher.npy"
    assert cli("embed", read_record(teacher).id, "--images", only, "--out", index, "--results", ran).code == 0
    for method in ("regression", "rkd-d"):
        record, out = record_of(ran, method), tmp_path / method
        assert exported(cli, shop, ran, method, out).code == 0
        script = [sys.executable, "-c", STRANGER, str(out), str(only), str(index)]
        said = json.loads(subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        assert said["recall"] == pytest.approx(record.metrics["recall@1"], abs=0.0101)  # 192 queries: two of them
        assert ("asymmetric" in said) == bool(record.asymmetric_metrics) == (method == "regression")
        if record.asymmetric_metrics:
            assert said["asymmetric"] == pytest.approx(record.asymmetric_metrics["recall@1"], abs=0.0101)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_images_keep_their_proportions_all_the_way(cli: Cli, data_dir: Path, tmp_path: Path, fit: str) -> None:
    """Training, evaluation, what is shipped and what a stranger does: one square of an image that is none."""
    home = tmp_path / "wide"
    home.mkdir()
    data = load_images(cards.load_card("tiny", data_dir), data_dir)
    rows = []
    for split, images in (("train", data.train), ("test", data.query)):
        for number, (pixels, label) in enumerate(zip(np.asarray(images.images), images.labels, strict=True)):
            wide = np.full((40, 64), 255, np.uint8)
            wide[4 : 4 + pixels.shape[0], 16 : 16 + pixels.shape[1]] = pixels
            Image.fromarray(wide if number % 2 else wide.T).save(home / f"{split} {number}.png")
            rows.append([str(home / f"{split} {number}.png"), images.names[label], split])
    with (home / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "split"], *rows])
    results, out = tmp_path / "results", tmp_path / "ship"
    words = ("--preset", "smoke", "--methods", "rkd-d", "--seeds", "0", "--device", "cpu", "--set", "steps=3")
    where = ("--dataset", home / "catalog.csv", "--results", results, "--data", tmp_path)
    assert cli("run", *words, "--set", "teacher.steps=3", "--set", f"fit={fit}", *where).code == 0
    record = record_of(results, "rkd-d")
    assert record.spec.teacher is not None and record.spec.fit == record.spec.teacher.fit == fit
    assert cli("export", record.id, "--out", out, *where).code == 0
    script = [sys.executable, "-c", STRANGER, str(out), str(home / "catalog.csv"), ""]
    said = json.loads(subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert said["recall"] == pytest.approx(record.metrics["recall@1"], abs=0.0101)
    for run, file in ((record.id, tmp_path / "torch.npy"), (out, tmp_path / "onnx.npy")):
        assert cli("embed", run, "--images", home, "--out", file, "--results", results).code == 0
    first, second = np.load(tmp_path / "torch.npy"), np.load(tmp_path / "onnx.npy")
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4 * np.abs(first).max())


def test_what_is_in_the_folder(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "ship", record_of(ran, "rkd-d")
    result = exported(cli, shop, ran, "rkd-d", out, "--int8", "--most-loss", 100)
    assert result.code == 0 and f"{100 * record.metrics['recall@1']:.2f} % in its record" in result.out
    assert {path.name for path in out.iterdir()} == {
        "model.onnx", "model-int8.onnx", "model.safetensors", "preprocess.json", "README.md", "LICENSES",
    }  # fmt: skip
    described, card = json.loads((out / "preprocess.json").read_text()), (out / "README.md").read_text()
    assert described["input"] == {
        "name": "images", "dtype": "uint8", "shape": ["n", 32, 32, 3], "layout": "RGB, height x width x channel, 0 to 255",
    }  # fmt: skip
    assert described["run"]["weights"] == record.weights and described["distance"] == "euclidean"
    for text in (
        record.id,
        "rkd-d",
        f"{100 * record.metrics['recall@1']:.2f} %",
        "no class that is searched was trained on",
    ):
        assert text in card
    assert any(name.endswith("head.weight") for name in load_file(out / "model.safetensors"))
    # Again in its place, and not in place of anything else.
    assert exported(cli, shop, ran, "rkd-d", out).code == 0 and not (out / "model-int8.onnx").exists()
    assert_one_line(exported(cli, shop, ran, "rkd-d", shop), 2, "something else than an exported student")


def test_torch_and_onnxruntime_embed_alike(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "ship", record_of(ran, "regression")
    assert exported(cli, shop, ran, "regression", out).code == 0
    by_torch, by_onnx = tmp_path / "torch.npy", tmp_path / "onnx.npy"
    assert cli("embed", record.id, "--images", shop, "--out", by_torch, "--results", ran).code == 0
    assert cli("embed", out, "--images", shop, "--out", by_onnx).code == 0
    first, second = np.load(by_torch), np.load(by_onnx)
    assert first.shape == second.shape == (384, 8)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4 * np.abs(first).max())
    with (tmp_path / "onnx.names.csv").open(encoding="utf-8") as file:
        names = list(csv.DictReader(file))
    assert [int(row["row"]) for row in names] == list(range(384))
    assert names[0]["path"] == "te0/Größe 0.png"
    mapped = tmp_path / "mapped.npy"
    assert cli("embed", out, "--images", shop, "--out", mapped, "--into", "teacher").code == 0
    assert np.load(mapped).shape == (384, 16)


def test_what_is_made_of_a_teacher_ships_with_that_teacher(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    """A matrix behind a network is a network: the file gives the teacher's embeddings, projected."""
    out, record = tmp_path / "ship", record_of(ran, "pca")
    assert exported(cli, shop, ran, "pca", out).code == 0
    card, state = (out / "README.md").read_text(), load_file(out / "model.safetensors")
    assert "whose embedding of 16 numbers is made one of 8 by **pca**" in card and "fitted to the embeddings of" in card
    assert cli("embed", out, "--images", shop, "--out", tmp_path / "pca.npy").code == 0
    assert record.spec.teacher is not None
    words = ("embed", record.spec.teacher.id, "--images", shop, "--out", tmp_path / "teacher.npy", "--results", ran)
    assert cli(*words).code == 0
    expected = np.load(tmp_path / "teacher.npy") @ state["method.matrix"].T + state["method.offset"]
    np.testing.assert_allclose(np.load(tmp_path / "pca.npy"), expected, rtol=0, atol=1e-4)
    weights = next(ran.rglob(f"checkpoints/{record.spec.teacher.id}.safetensors"))
    aside = weights.rename(tmp_path / "aside")
    try:
        assert_one_line(exported(cli, shop, ran, "pca", tmp_path / "no"), 1, "has no weights")
    finally:
        aside.rename(weights)


def test_what_cannot_be_exported(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    out = tmp_path / "ship"
    assert_one_line(exported(cli, shop, ran, "pq", out), 2, "is codes of the teacher's embeddings", "ship the teacher")
    assert_one_line(exported(cli, shop, ran, "rkd-d", out, "--opset", 9), 2, "--opset 9 is too old")
    refused = exported(cli, shop, ran, "rkd-d", out, "--int8", "--most-loss", 0)
    if refused.code:  # where it loses something
        assert_one_line(refused, 1, "--most-loss is 0", "not exported")
        assert not out.exists()
    assert_one_line(cli("export", "ffffffff", "--out", out, "--results", ran), 2, "no run has an id")
    assert not list(tmp_path.glob("*.partial"))


def test_embedding_says_what_is_wrong(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    record, out = record_of(ran, "rkd-d"), tmp_path / "x.npy"
    words = ("embed", record.id, "--out", out, "--results", ran, "--images")
    assert_one_line(cli(*words, tmp_path / "none"), 2, "neither a folder nor a table")
    assert_one_line(cli(*words, tmp_path), 2, "there are no images")
    (tmp_path / "shop").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "shop" / "b.png")
    (tmp_path / "shop" / "a.jpg").write_text("no image")
    assert_one_line(cli(*words, tmp_path / "shop"), 1, "1 of 2 images cannot be read", "a.jpg")
    assert_one_line(cli(*words, tmp_path / "shop", "--into", "teacher"), 2, "are of exported folders")
    assert {path.name for path in tmp_path.iterdir()} == {"shop"}


def test_embedding_goes_on_after_a_full_disk(
    cli: Cli, shop: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.data.stored import RowFile

    monkeypatch.setattr("benchmark.shipping.embed.SAFE", 64)
    record, out = record_of(ran, "rkd-d"), tmp_path / "x.npy"
    words = ("embed", record.id, "--images", shop, "--out", out, "--results", ran)
    append, written = RowFile.append, []

    def full(self: RowFile, rows: np.ndarray) -> None:
        if self.done >= 192:
            raise OSError(28, "No space left on device", str(out))
        written.append(len(rows))
        append(self, rows)

    monkeypatch.setattr(RowFile, "append", full)
    assert_one_line(cli(*words), 1, "No space left on device")
    assert not out.exists() and sum(written) == 192
    counted: list[int] = []

    def append_counted(self: RowFile, rows: np.ndarray) -> None:
        counted.append(len(rows))
        append(self, rows)

    monkeypatch.setattr(RowFile, "append", append_counted)
    assert cli(*words).code == 0 and sum(counted) == 192  # the other half
    again = tmp_path / "again.npy"
    monkeypatch.setattr(RowFile, "append", append)
    assert cli(*words[:-3], again, *words[-2:]).code == 0
    assert (np.load(out) == np.load(again)).all()
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "x.names.csv", "again.npy", "again.names.csv"}


def test_a_file_that_finds_otherwise_than_its_record_is_not_exported(
    cli: Cli, shop: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = record_of(ran, "rkd-d").metrics["recall@1"]
    monkeypatch.setattr("benchmark.shipping.export.recall_of", lambda *words: recorded + 0.1)
    assert_one_line(exported(cli, shop, ran, "rkd-d", tmp_path / "ship"), 1, "by onnxruntime", "not exported")
    assert not list(tmp_path.iterdir())


def test_what_its_owner_completed_or_somebody_else_wrote_stays(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    out = tmp_path / "ship"
    assert exported(cli, shop, ran, "rkd-d", out).code == 0
    (out / "LICENSES").write_text("mine")
    assert exported(cli, shop, ran, "rkd-d", out).code == 0 and (out / "LICENSES").read_text() == "mine"
    (out / "thesis.txt").write_text("years of work")
    assert_one_line(exported(cli, shop, ran, "rkd-d", out), 2, "something else than an exported student")
    assert (out / "thesis.txt").exists()
