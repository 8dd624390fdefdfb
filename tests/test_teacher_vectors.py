"""A teacher that exists as vectors, for students that read images: joined by file name, end to end, and every mistake on the way."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result, assert_one_line
from PIL import Image

from benchmark.cli import run_command
from benchmark.data import cards
from benchmark.data.layouts import load_images
from benchmark.data.source import Source
from benchmark.data.vector_files import Vectors
from benchmark.errors import DataError
from benchmark.record import Record, read_record
from benchmark.retrieval.metrics import evaluate
from benchmark.spec import Spec
from benchmark.training.joined import Joined
from benchmark.training.student import Student

Cli = Callable[..., Result]
WIDTH, EACH = 10, 6


@pytest.fixture(scope="module")
def home(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some tiny glyphs as a folder of images, with vectors t.npy [n, c] and t3.npy [n, 3, c] and their names."""
    home = tmp_path_factory.mktemp("home")
    data, rng, names, vectors = (
        load_images(cards.load_card("tiny", data_dir), data_dir),
        np.random.default_rng(0),
        [],
        [],
    )
    for split, images in (("train", data.train), ("test", data.query)):
        centres = rng.normal(size=(images.classes, WIDTH))
        for number, (pixels, label) in enumerate(zip(np.asarray(images.images), images.labels, strict=True)):
            if number % 12 >= EACH:
                continue
            path = home / "shop" / split / f"{split}-{images.names[label]}" / f"{split} {number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            names.append(path.relative_to(home / "shop").as_posix())
            vectors.append(centres[label] + 0.7 * rng.normal(size=WIDTH))
    array = np.array(vectors, np.float32)
    np.save(home / "t.npy", array)
    np.save(home / "t3.npy", array[:, None] + np.arange(3, dtype=np.float32)[None, :, None])
    write_names(home / "t.names.csv", names)
    return home


def write_names(path: Path, names: list[str]) -> None:
    """As `embed` does."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("row", "path"), *enumerate(names)])


def names_of(home: Path) -> list[str]:
    with (home / "t.names.csv").open(encoding="utf-8") as file:
        return [row["path"] for row in csv.DictReader(file)]


def words(home: Path, results: Path, *more: str, features: str = "t.npy", names: str = "t.names.csv") -> list[str]:
    place = f"--data {home / 'data'} --results {results} --dataset {home / 'shop'} --device cpu"
    taught = f"--teacher-features {home / features} --teacher-names {home / names}"
    return ["run", *f"{place} {taught} --preset smoke --seeds 0".split(), *more]


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    assert run_command(words(home, results, "--methods", "all")) == 0
    return results


def records(results: Path) -> dict[str, Record]:
    return {record.spec.method: record for record in map(read_record, results.rglob("runs/*.json"))}


def test_every_method_that_wants_an_embedding_runs(home: Path, ran: Path) -> None:
    """The teacher is a run as others are: its Recall@1 is that of the vectors, and students are measured against it."""
    of = records(ran)
    teacher = of["features"]
    data = load_images(cards.load_card(str(home / "shop"), home / "data"), home / "data")
    assert isinstance(data.query.images, tuple)
    row = {name: number for number, name in enumerate(names_of(home))}
    vectors = np.load(home / "t.npy")[[row[path.relative_to(home / "shop").as_posix()] for path in data.query.images]]
    expected = evaluate(vectors, data.query.labels).evaluation.cosine
    assert {name: round(value, 4) for name, value in expected.items()} == {
        name: round(value, 4) for name, value in teacher.evaluation.cosine.items()
    }
    assert teacher.spec.steps == 0 and teacher.spec.dim == WIDTH and teacher.spec.reads_vectors
    taught = {name: record for name, record in of.items() if record.spec.teacher is not None}
    assert {"fitnet", "vid", "hinton", "crd", "rkd-da", "sp", "pca", "pq"} < taught.keys()
    assert {record.spec.teacher for record in taught.values()} == {teacher.spec}
    assert of["regression"].asymmetric is not None and of["vid"].asymmetric is not None
    assert not {"attention", "nst", "born-again", "label-refinery"} & of.keys()
    (page,) = ran.rglob("comparison.md")
    assert f"teacher-vectors:{teacher.spec.joined}" in page.read_text()


def test_what_vectors_lack_is_said(cli: Cli, home: Path, tmp_path: Path) -> None:
    said = cli(*words(home, tmp_path, "--methods", "attention,born-again,rkd-d", "--dry-run")).out
    assert "attention does not apply: it needs maps, and the teacher is vectors" in said
    assert "born-again does not apply: it needs a teacher's network" in said
    assert "the teacher is t.npy: 10 numbers of each of 192 images, joined by path" in said


def test_students_do_not_depend_on_each_other(cli: Cli, home: Path, ran: Path, tmp_path: Path) -> None:
    assert cli(*words(home, tmp_path, "--methods", "rkd-d")).code == 0
    assert records(tmp_path)["rkd-d"].weights == records(ran)["rkd-d"].weights


@pytest.mark.parametrize("form", ["txt", "tsv", "parquet", "csv"])
def test_rows_are_joined_by_name(cli: Cli, home: Path, ran: Path, form: str) -> None:
    """In whatever order, with surplus rows, in every form of names: it is the same teacher, and nothing is run again."""
    array, names = np.load(home / "t.npy"), names_of(home)
    order = np.random.default_rng(1).permutation(len(names))
    shuffled, path = [*(names[row] for row in order), "train/elsewhere.png"], home / f"shuffled.{form}"
    np.save(home / "shuffled.npy", np.concatenate([array[order], array[:1]]))
    if form == "txt":
        path.write_text("".join(f"{name}\n" for name in shuffled))
    elif form == "parquet":
        pd.DataFrame({"path": shuffled, "price": 1.5}).to_parquet(path)
    else:
        pd.DataFrame({"price": 1.5, "path": shuffled}).to_csv(path, sep="\t" if form == "tsv" else ",", index=False)
    line = words(home, ran, "--methods", "rkd-d", "--dry-run", features="shuffled.npy", names=path.name)
    said = cli(*line)
    assert "2 done, 0 to run" in said.out, said
    assert "joined by path; 1 surplus rows: train/elsewhere.png" in said.out


def test_base_names_do_where_they_are_unambiguous(cli: Cli, home: Path, ran: Path) -> None:
    (home / "base.txt").write_text("".join(f"/there/{Path(name).name}\n" for name in names_of(home)))
    said = cli(*words(home, ran, "--methods", "rkd-d", "--dry-run", names="base.txt")).out
    assert "2 done, 0 to run" in said and "joined by file name" in said


def test_names_of_other_systems_are_joined(tmp_path: Path) -> None:
    """macOS takes accents apart, Windows writes backslashes: the images are the same."""
    shop, composed, apart = tmp_path / "shop", "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    paths = [
        Path("train" if label < 2 else "test", f"{composed} {label}", f"{n}.png")
        for label in range(4)
        for n in range(2)
    ]
    for number, path in enumerate(paths):
        (shop / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 20 * number).save(shop / path)
    np.save(tmp_path / "v.npy", np.eye(8, dtype=np.float32))
    names = tmp_path / "v.txt"

    def joined() -> str:
        files = Vectors(teacher_features=tmp_path / "v.npy", teacher_names=names)
        images = Source(cards.load_card(str(shop), tmp_path), tmp_path, taught_by=files).images
        assert images.teacher is not None
        return images.teacher.said

    for written in (str, lambda path: str(path).replace(composed, apart), lambda path: str(path).replace("/", "\\")):
        names.write_text("".join(f"{written(path)}\n" for path in paths), encoding="utf-8")
        assert "joined by path" in joined()
    names.write_text("Gr\u00f6\u00dfe", encoding="cp1252")
    with pytest.raises(DataError, match="is not in UTF-8"):
        joined()


def test_a_column_of_rows_says_the_row(cli: Cli, home: Path, ran: Path) -> None:
    lines = (home / "t.names.csv").read_text().splitlines()
    (home / "sorted.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert "2 done" in cli(*words(home, ran, "--methods", "rkd-d", "--dry-run", names="sorted.csv")).out


def test_a_table_names_its_images_as_the_catalogue_does(cli: Cli, home: Path, tmp_path: Path) -> None:
    """The table of names may be the catalogue itself; a table with both columns is ambiguous."""
    names = names_of(home)
    catalogue = pd.DataFrame(
        {"bild": [f"shop/{name}" for name in names], "ware": [Path(name).parent.name for name in names]}
    )
    catalogue["teil"] = [name.partition("/")[0] for name in names]
    for name, table in (("catalogue", catalogue), ("both", catalogue.assign(path=names))):
        table.to_csv(home / f"{name}.csv", index=False)

    def said(name: str) -> Result:
        line = words(home, tmp_path, "--methods", "rkd-d", "--dry-run", names=f"{name}.csv")
        line[line.index("--dataset") + 1] = str(home / "catalogue.csv")
        return cli(*line, "--columns", "path=bild,label=ware,split=teil")

    assert "joined by path" in said("catalogue").out
    assert_one_line(said("both"), 1, "wanted in one column, 'bild' or 'path'")


def test_views(home: Path) -> None:
    """At each step a view of each row is drawn, whatever the network; the first is evaluated."""
    files = Vectors(teacher_features=home / "t3.npy", teacher_names=home / "t.names.csv")
    source = Source(cards.load_card(str(home / "shop"), home / "data"), home / "data", taught_by=files)
    data = source.images
    assert data.teacher is not None
    reader = Spec(dataset="shop", method="features", backbone=data.teacher.backbone, dim=WIDTH, steps=0)
    joined, rows = Joined(data, [reader]), np.arange(len(data.train))
    plain = joined.plain(data.train)[rows]
    offsets = np.stack([joined.draw(rows, 0, step) - plain for step in range(8)]).mean(axis=2)
    assert {*np.unique(offsets.round()).tolist()} == {0.0, 1.0, 2.0}
    assert (offsets[0].round() != offsets[1].round()).any()
    assert np.array_equal(joined.draw(rows, 0, 3), joined.draw(rows, 0, 3))
    assert not np.array_equal(joined.draw(rows, 0, 3), joined.draw(rows, 1, 3))


def test_a_stopped_run_goes_on(cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the views that it would have drawn."""
    whole, stopped = (words(home, tmp_path / name, "--methods", "rkd-d", features="t3.npy") for name in "ab")
    assert cli(*whole).code == 0
    step = Student.train_step

    def stop_at_five(student: Student, *rest: Any) -> None:
        if student.step == 5:
            raise KeyboardInterrupt
        step(student, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Student, "train_step", stop_at_five)
        assert cli(*stopped, "--checkpoint-every", 0).code == 130
    again = cli(*stopped)
    assert "1 done, 1 to run" in again.out and "6/10" in again.out, again.out
    assert records(tmp_path / "a")["rkd-d"].weights == records(tmp_path / "b")["rkd-d"].weights


def test_embedded_views_teach(cli: Cli, home: Path, ran: Path, tmp_path: Path) -> None:
    """What `embed` writes works as it is; its first view is what it writes without any."""
    student, out = records(ran)["rkd-d"], home / "own8.npy"
    line = ["embed", student.id, "--images", home / "shop", "--results", ran]
    assert "192 x 4 x 8" in cli(*line, "--out", out, "--views", 4).out
    assert cli(*line, "--out", tmp_path / "one.npy").code == 0
    views, plain = np.load(out), np.load(tmp_path / "one.npy")
    assert np.array_equal(views[:, 0], plain) and not np.array_equal(views[:, 1], views[:, 2])
    assert out.stat().st_size == views.nbytes + 128  # nothing behind the rows
    said = cli(*words(home, tmp_path, "--methods", "regression", features="own8.npy", names="own8.names.csv"))
    assert said.code == 0 and "4 views of each" in said.out
    assert abs(records(tmp_path)["features"].metrics["recall@1"] - student.metrics["recall@1"]) < 1e-6
    assert_one_line(cli(*line, "--out", tmp_path / "no.npy", "--views", 0), 2, "--views wants 1 or more")


def test_a_pretrained_network_teaches_by_its_features(cli: Cli, home: Path, tmp_path: Path) -> None:
    """What `extract --split all` writes works as it is, too."""
    line = (
        f"extract --dataset {home / 'shop'} --data {home / 'data'} --backbone efficientnet_lite0 --device cpu --views 2"
    )
    assert (
        cli(*line.split(), *["--split", "all", "--image", "32", "--resize", "36"], "--out", home / "lite.npy").code == 0
    )
    assert np.load(home / "lite.npy").shape == (192, 2, 1280)
    said = cli(*words(home, tmp_path, "--methods", "rkd-d", features="lite.npy", names="lite.names.csv"))
    assert said.code == 0 and "1280 numbers of each of 192 images, joined by path, 2 views" in said.out


def test_a_student_ships_without_its_teacher(cli: Cli, home: Path, ran: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    of = records(ran)
    place = ["--dataset", home / "shop", "--data", home / "data", "--results", ran]
    assert cli("export", of["regression"].id, "--out", tmp_path / "out", *place).code == 0
    assert (tmp_path / "out" / "projector.onnx").is_file()
    assert_one_line(cli("export", of["features"].id, "--out", tmp_path / "no", *place), 2, "features as they are")
    assert_one_line(cli("export", of["pca"].id, "--out", tmp_path / "no", *place), 2, "made of a teacher's vectors")
    assert_one_line(cli("embed", of["features"].id, "--images", home / "shop", "--out", tmp_path / "no.npy",
                        "--results", ran), 2, "reads vectors")  # fmt: skip


def test_heads_on_frozen_features(cli: Cli, home: Path, tmp_path: Path) -> None:
    line = words(home, tmp_path, "--methods", "ridge,fitnet,rkd-d,pca", "--set", "views=2", features="t3.npy")
    assert cli(*line).code == 0
    of = records(tmp_path)
    assert of["rkd-d"].spec.views == 2 and of["rkd-d"].spec.teacher == of["features"].spec
    assert of["features"].spec.views == 0


def test_settings_are_tuned_under_vectors(cli: Cli, home: Path, tmp_path: Path) -> None:
    line = ["tune", *words(home, tmp_path, "--methods", "rkd-d", "--grid", "lr=1e-3,1e-2")[1:]]
    del line[line.index("--seeds") : line.index("--seeds") + 2]
    assert cli(*line).code == 0
    (chosen,) = tmp_path.rglob("tuned.toml")
    assert "--dataset shop --teacher-features t.npy --teacher-names t.names.csv" in chosen.read_text()


def test_a_finished_run_wants_its_vectors_again(cli: Cli, home: Path, ran: Path, tmp_path: Path) -> None:
    (path,) = ran.rglob("runs/rkd-d-*.json")
    place = ["--dataset", home / "shop", "--data", home / "data", "--results", ran, "--device", "cpu"]
    taught = ["--teacher-features", home / "t.npy", "--teacher-names", home / "t.names.csv"]
    other = ["--teacher-features", home / "t3.npy", "--teacher-names", home / "t.names.csv"]
    again = "--teacher-features and --teacher-names"
    assert_one_line(cli("run", "--like", path, *place), 2, "a teacher that is vectors", again)
    assert_one_line(cli("run", "--like", path, *place, *other), 2, "of other vectors")
    (baseline,) = (p for p in ran.rglob("runs/triplet-*.json"))
    assert_one_line(cli("run", "--like", baseline, *place, *taught), 2, "is not taught by vectors")
    assert cli("run", "--like", path, *place, *taught).code == 0
    assert_one_line(cli("measure", *place, "--preset", "smoke"), 2, again)
    assert_one_line(cli("measure", *place, "--preset", "smoke", *taught[:2]), 2, "go together")
    measured = cli("measure", *place, "--preset", "smoke", *taught)
    count = len(list(ran.rglob("runs/*.json")))
    assert measured.code == 0 and f"{count} of {count} runs measured again" in measured.out


def spoilt(home: Path, tmp_path: Path, what: str) -> tuple[str, str]:
    """Files in which something is wrong: vectors and names."""
    array, names = np.load(home / "t.npy"), names_of(home)
    if what == "missing":
        array, names = array[4:], names[4:]
    elif what == "double":
        array, names = np.concatenate([array, array[:2]]), [*names, *names[:2]]
    elif what == "both":
        array, names = np.concatenate([array[1:], array[5:6], array[:1]]), [*names[1:], names[5], "no.png"]
    elif what == "none":
        names = [f"x{name}x" for name in names]
    elif what == "nan":
        array[7, 3] = np.nan
    elif what == "absurd":
        array[7, 3] = 1e30
    elif what == "equal":
        array = np.ones_like(array)
    elif what == "rows":
        array = array[:-1]
    elif what == "flat":
        array = array[:, 0]
    elif what == "integers":
        array = array.astype(int)
    np.save(tmp_path / "v.npy", array)
    write_names(tmp_path / "v.csv", names)
    if what == "column":
        (tmp_path / "v.csv").write_text((tmp_path / "v.csv").read_text().replace("row,path", "row,pfad"))
    elif what == "order":
        (tmp_path / "v.csv").write_text((tmp_path / "v.csv").read_text().replace("\n3,", "\n4,"))
    return str(tmp_path / "v.npy"), str(tmp_path / "v.csv")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("missing", ["4 of 192 images have no row", "and 1 more"]),
        ("double", ["2 of 192 images have several rows", ".png"]),
        (
            "both",
            ["1 of 192 images have no row", "1 of 192 images have several rows", "1 rows are of no image (no.png)"],
        ),
        ("none", ["match no image", "xtrain/"]),
        ("nan", ["v.npy, row 7", "NaN"]),
        ("absurd", ["v.npy is trained on", "row"]),
        ("equal", ["v.npy is trained on", "all of its 192 rows are equal"]),
        ("rows", ["191 images", "192 names"]),
        ("flat", ["v.npy must be vectors", "(192,)"]),
        ("integers", ["v.npy must be vectors", "int64"]),
        ("column", ["wanted in one column, 'path'", "there are row, pfad"]),
        ("order", ["column row does not count"]),
    ],
)
def test_mistakes_in_files(cli: Cli, home: Path, tmp_path: Path, what: str, expected: list[str]) -> None:
    features, names = spoilt(home, tmp_path, what)
    out = tmp_path / "out"
    assert_one_line(cli(*words(home, out, features=features, names=names)), 1, *expected)
    assert not out.exists()


def test_ambiguous_base_names(cli: Cli, home: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    for number in range(4):
        for split in ("train", "test"):
            for image in range(3):
                path = shop / split / f"{split}{number}" / f"{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (32, 32), 10 * number + image).save(path)
    np.save(tmp_path / "v.npy", np.eye(24, dtype=np.float32))
    (tmp_path / "v.txt").write_text("".join(f"elsewhere/{row % 3}.png\n" for row in range(24)))
    line = ["run", "--dataset", shop, "--preset", "smoke", "--results", tmp_path / "out", "--data", tmp_path / "data"]
    taught = ["--teacher-features", tmp_path / "v.npy", "--teacher-names", tmp_path / "v.txt"]
    assert_one_line(cli(*line, *taught), 1, "24 images have 3 of them")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("--dataset tiny --teacher-features V --teacher-names N", ["tiny has no image files"]),
        ("--dataset SHOP --teacher-features V", ["--teacher-names", "wanted together"]),
        ("--dataset SHOP --teacher-names N", ["features"]),
        ("--dataset SHOP --features V --teacher-names N", ["teacher_names is for students that read images"]),
        ("--dataset SHOP --labels V --teacher-features V --teacher-names N", ["labels is given, features is not"]),
        ("--teacher-features V --teacher-names N", ["--dataset or --features"]),
        ("--dataset SHOP --teacher-features V --teacher-names V", ["V", ".txt"]),
        ("--dataset SHOP --teacher-features V --teacher-names N --teacher resnet18@8", ["the teacher is vectors"]),
        (
            "--dataset SHOP --teacher-features V --teacher-names N --set teacher.steps=3",
            ["teacher.steps cannot be set"],
        ),
        ("--dataset SHOP --teacher-features V --teacher-names N --set teacher.dim=3", ["teacher.dim cannot be set"]),
        ("--dataset SHOP --teacher-features V --teacher-names N --generations 2", ["the teacher is vectors"]),
        ("--dataset SHOP --teacher-features V --teacher-names N --methods attention", ["needs maps"]),
        ("--dataset SHOP --backbone teacher-vectors:0123456789ab", ["is no network to choose"]),
    ],
)
def test_mistakes_in_words(
    cli: Cli, home: Path, data_dir: Path, tmp_path: Path, more: str, expected: list[str]
) -> None:
    places: dict[str, Any] = {"SHOP": home / "shop", "V": home / "t.npy", "N": home / "t.names.csv"}
    line = [str(places.get(word, word)) for word in more.split()]
    out = tmp_path / "out"
    result = cli("run", *line, "--results", out, "--preset", "smoke", "--device", "cpu", "--data", data_dir)
    assert_one_line(result, 2, *(str(places.get(word, word)) for word in expected))
    assert not out.exists()
