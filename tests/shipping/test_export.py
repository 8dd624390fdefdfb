"""From a shop's table to a folder that needs nothing of the suite: what is written is what was measured."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result, assert_one_line
from PIL import Image
from safetensors.numpy import load_file

from benchmark.cli import run_command
from benchmark.costs.measure import Fastest
from benchmark.data import cards
from benchmark.data.layouts import load_images
from benchmark.record import Record, read_record
from benchmark.retrieval.approximate import as_stored
from benchmark.retrieval.search import Metric
from benchmark.shipping.export import Checks

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


@pytest.mark.parametrize("method", ["triplet", "rkd-d"])
def test_the_card_stores_as_was_measured(cli: Cli, shop: Path, ran: Path, tmp_path: Path, method: str) -> None:
    """Its lines give the numbers that the storage was measured by: of embeddings with unit length and without."""
    record, out = record_of(ran, method), tmp_path / "ship"
    assert exported(cli, shop, ran, method, out).code == 0
    card = (out / "README.md").read_text()
    (block,) = re.findall(r"```python\n(half = .*?)```", card, re.DOTALL)
    embeddings = np.random.default_rng(0).normal(0.1, 1, (50, 8)).astype(np.float32)
    names: dict[str, Any] = {"np": np, "embeddings": embeddings}
    exec(block, names)
    backs = {form: eval(back, names) for form, back in re.findall(r"^(\w+) = .* # back: (.*)$", block, re.MULTILINE)}
    assert {*backs} == {"int8", "binary"}
    metric: Metric = "cosine" if record.spec.normalize else "l2"
    for form, back in {**backs, "float16": names["half"].astype(np.float32)}.items():
        apart = np.abs(back - as_stored(embeddings, form, metric))
        # A number on the edge of a step is rounded to either side.
        assert (apart < 1e-6).mean() > 0.95 and apart.max() <= (
            names["span"].max() / 255 + 1e-6 if form == "int8" else 1e-6
        )
        assert f"stored as {form} | {100 * record.storage[form]:.2f} %" in card  # type: ignore[index]


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


def test_a_head_ships_with_its_trunk_and_both_are_counted(cli: Cli, shop: Path, tmp_path: Path) -> None:
    """Of frozen features only the head was trained; what is made of a teacher there has that teacher's trunk as well."""
    where = ("--dataset", shop / "catalog.csv", "--results", tmp_path, "--data", tmp_path)
    words = (
        "--preset smoke --methods rkd-d,pca --seeds 0 --device cpu --set views=1 --set steps=3 --set teacher.steps=3"
    )
    assert cli("run", *words.split(), *where).code == 0
    for method, counted in (("rkd-d", "parameters, of which"), ("pca", "parameters; 32 bytes")):
        record, out = record_of(tmp_path, method), tmp_path / method
        assert cli("export", record.id, "--out", out, *where).code == 0
        state, card = load_file(out / "model.safetensors"), (out / "README.md").read_text()
        constants = ("running_mean", "running_var", "num_batches_tracked", "centre", "scale", "mean", "std")
        learned = sum(tensor.size for name, tensor in state.items() if name.rpartition(".")[2] not in constants)
        assert f"{learned:,} {counted}" in card, card
        assert ("were trained here: the head" in card) == (method == "rkd-d")
    assert (
        f"of which {record_of(tmp_path, 'rkd-d').parameters:,} were trained"
        in (tmp_path / "rkd-d" / "README.md").read_text()
    )


def test_the_smaller_sizes_of_a_nested_student_ship(cli: Cli, shop: Path, tmp_path: Path) -> None:
    where = ("--dataset", shop / "catalog.csv", "--results", tmp_path, "--data", tmp_path)
    words = "--preset smoke --methods matryoshka-regression --dims 4,8 --seeds 0 --device cpu --set steps=3 --set teacher.steps=3"
    assert cli("run", *words.split(), *where).code == 0
    small, whole = record_of(tmp_path, "truncate"), record_of(tmp_path, "matryoshka-regression")
    assert cli("export", small.id, "--out", tmp_path / "ship", *where).code == 0
    for run, out in ((tmp_path / "ship", tmp_path / "small.npy"), (whole.id, tmp_path / "whole.npy")):
        assert cli("embed", run, "--images", shop / "catalog.csv", "--out", out, "--results", tmp_path).code == 0
    rows, begin = np.load(tmp_path / "small.npy"), np.load(tmp_path / "whole.npy")[:, :4]
    if small.spec.normalize:
        begin = begin / np.linalg.norm(begin, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, begin, rtol=0, atol=1e-4 * np.abs(begin).max())


def test_a_quantised_network_that_is_no_faster_is_told_and_so_is_a_busy_machine() -> None:
    quiet, busy = Fastest(0.002, 0.1, False), Fastest(0.003, 0.9, True)
    (*_, line) = Checks(0.0, 0.5, 0.5, quiet, 0.5, busy).lines
    assert line == "int8: Recall@1 50.00 %, 3.0 ms (the machine was busy) a row; it is no faster than float32 here"
    assert "no faster" not in Checks(0.0, 0.5, 0.5, busy, 0.5, quiet).lines[-1]


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


def test_another_table_than_the_one_it_was_trained_on_is_told_by_its_name(
    cli: Cli, shop: Path, ran: Path, tmp_path: Path
) -> None:
    grown = shop / "grown.csv"
    grown.write_text("\n".join((shop / "catalog.csv").read_text(encoding="utf-8").splitlines()[:-1]), encoding="utf-8")
    try:
        where = ("--dataset", grown, "--results", ran, "--data", ran / "data")
        result = cli("export", record_of(ran, "rkd-d").id, "--out", tmp_path / "ship", *where)
    finally:
        grown.unlink()
    assert_one_line(
        result, 1, f"the images of {grown} are not those of rkd-d", "give the table or folder it was trained on"
    )


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


def test_a_finished_index_of_other_images_stays(cli: Cli, shop: Path, ran: Path, tmp_path: Path) -> None:
    """It is written again for the same images, and for these with new ones; not where images would be lost."""
    out, folder = tmp_path / "index.npy", tmp_path / "new"
    words = ("embed", record_of(ran, "rkd-d").id, "--out", out, "--results", ran, "--images")
    for number in range(4):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (60 * number, 0, 0)).save(folder / f"{number}.png")
        assert cli(*words, folder).code == 0 and len(np.load(out)) == number + 1
    assert cli(*words, folder).code == 0
    before = out.read_bytes()
    assert_one_line(
        cli(*words, shop), 2, "holds embeddings of images that are not among these (0.png, 1.png, 2.png and 1 more)"
    )
    assert out.read_bytes() == before
    other = ("embed", record_of(ran, "triplet").id, *words[2:])
    assert_one_line(cli(*other, folder), 2, "holds embeddings by another network", record_of(ran, "rkd-d").id)
    assert out.read_bytes() == before
    (tmp_path / "index.names.csv").unlink()
    assert_one_line(cli(*words, folder), 2, "nobody knows which", "choose another name, or delete it")


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
