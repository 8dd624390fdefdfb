"""Own vectors, end to end: from files to the table, from a head to new vectors, and every mistake on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, assert_one_line, tiny_spec
from data.test_vector_files import guard
from safetensors.torch import load_file

from benchmark.data import vectors as module
from benchmark.data.cards import Vectors
from benchmark.protocol.experiment import gather, resolve
from benchmark.protocol.request import Request
from benchmark.record import Evaluation, Record
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.training.context import RunContext
from benchmark.training.executors import Task
from benchmark.training.executors import local as alone
from benchmark.training.executors.local import local
from benchmark.training.group import run
from benchmark.training.streams import open_inputs

Cli = Callable[..., Result]
C, D = 14, 18


def synthetic(classes: int, each: int, seed: int, views: int = 1) -> dict[str, np.ndarray]:
    """Noisy class centres through one map for the teacher and another, with more noise, for the student; rows are shuffled."""
    maps, rng = np.random.default_rng(0), np.random.default_rng(seed)
    to_teacher, to_student = maps.normal(size=(10, D)), maps.normal(size=(10, C))
    labels = rng.permutation(np.repeat(np.arange(classes), each))
    hidden = (rng.normal(size=(classes, 10))[labels] + 0.4 * rng.normal(size=(len(labels), 10)))[:, None]
    noise = rng.normal(size=(len(labels), views, C))
    return {
        "features": (hidden @ to_student + 2 * noise).squeeze().astype(np.float32),
        "teacher_features": np.repeat(hidden @ to_teacher, views, 1).squeeze().astype(np.float32),
        "labels": labels + 100 * seed,  # train and test classes are other ones
    }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Training files of 20 classes of 8, and test files of 10 of 8."""
    arrays = synthetic(20, 8, 1) | {f"test_{name}": array for name, array in synthetic(10, 8, 2).items()}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return {name: tmp_path / f"{name}.npy" for name in arrays}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups run in this process: a second instead of ten."""
    monkeypatch.setattr("benchmark.training.driver.load_executor", lambda name: alone.EXECUTOR)


def words(files: dict[str, Path], *names: str) -> list[str]:
    """The options of files, of all of them without names."""
    return [word for name in names or files for word in (f"--{name.replace('_', '-')}", str(files[name]))]


def small(tmp_path: Path, *more: str) -> list[str]:
    text = f"--dims 8 --steps 60 --seeds 0,1 --device cpu --set batch=32 --results {tmp_path / 'out'}"
    return [*text.split(), *more]


def records(tmp_path: Path, kind: Any = "runs") -> list[Record]:
    (folder,) = (tmp_path / "out").glob("*/vectors")
    return list(Store(folder, kind))


def test_from_files_to_the_table_and_a_head_to_new_vectors(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    line = ["run", *words(files), *small(tmp_path, "--methods", "features,untrained,triplet,regression,rkd-da")]
    result = cli(*line)
    assert result.code == 0, result.err
    assert "the preset for own vectors" in result.out and "the test files are searched" in result.out
    assert "160 training vectors of 20 classes, 80 query vectors of 10 classes" in result.out
    done = records(tmp_path)
    assert len(done) == 10  # the teacher, the control, and four students of two seeds
    by_method = {record.spec.method: record for record in done}
    control = next(r for r in done if r.spec.backbone == "vectors" and r.spec.method == "features")
    teacher = by_method["rkd-da"].spec.teacher
    assert teacher is not None
    assert (teacher.method, teacher.backbone, teacher.dim, teacher.steps) == ("features", "teacher-vectors", D, 0)
    assert (control.spec.dim, control.spec.seed, control.parameters) == (C, 0, 0)
    assert by_method["regression"].parameters == 8 * C + 8 and by_method["regression"].evaluation.relevance == "class"
    assert {str(tmp_path) in record.model_dump_json() for record in done} == {False}
    (folder,) = (tmp_path / "out").glob("*/vectors")
    assert folder.parent.name.startswith("features-") and "frozen features" in (folder / "comparison.md").read_text()

    assert "10 done, 0 to run" in cli(*line).out

    # The control is what the files themselves are worth.
    given = cli("evaluate", *files_of_test(files["test_features"], files), "--json", "--metric", "cosine")
    assert json.loads(given.out)["cosine"]["recall@1"] == pytest.approx(control.metrics["recall@1"], abs=1e-6)

    best = max((r for r in done if r.spec.steps), key=lambda record: record.metrics["recall@1"])
    applied = cli(
        *["apply", "--run", best.id[:6], "--features", files["test_features"], "--out", tmp_path / "new" / "small.npy"],
        *["--results", tmp_path / "out", "--device", "cpu"],
    )
    assert applied.code == 0 and "80 x 8" in applied.out, applied.err
    embeddings = np.load(tmp_path / "new" / "small.npy")
    assert embeddings.shape == (80, 8) and embeddings.dtype == np.float32
    lengths = np.linalg.norm(embeddings, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == best.spec.normalize
    metric = "cosine" if best.spec.normalize else "l2"
    measured = json.loads(
        cli("evaluate", *files_of_test(tmp_path / "new" / "small.npy", files), "--json", "--metric", metric).out
    )
    for k in (1, 2, 4, 8):
        assert measured[metric][f"recall@{k}"] == pytest.approx(best.metrics[f"recall@{k}"], abs=1e-6)


def files_of_test(embeddings: Path, files: dict[str, Path]) -> list[str]:
    return ["--embeddings", str(embeddings), "--labels", str(files["test_labels"])]


def test_without_labels_agreement_with_the_teacher_is_measured(
    cli: Cli, files: dict[str, Path], tmp_path: Path, here: None
) -> None:
    line = ["run", *words(files, "features", "teacher_features"), *small(tmp_path)]
    result = cli(*line)
    assert result.code == 0, result.err
    assert "no test files: four fifths of the rows" in result.out and "no labels" in result.out
    for method in ("triplet", "hinton", "fitnet"):
        assert f"{method} does not apply: it needs labels" in result.out.splitlines()
    assert "128 training vectors without labels, 32 query vectors without labels" in result.out
    done = records(tmp_path)
    expected = {"features", "untrained", "pca-whitened", "ridge", "regression", "rkd-d", "rkd-a", "rkd-da"}
    assert {r.spec.method for r in done} == expected
    assert {(r.evaluation.relevance, r.evaluation.queries, r.evaluation.gallery) for r in done} == {("teacher", 32, 32)}
    teacher = next(r for r in done if r.spec.backbone == "teacher-vectors")
    assert teacher.evaluation.cosine["map@r"] == 1  # it agrees with itself
    assert all(0 < r.metrics["map@r"] < 1 for r in done if r is not teacher)
    (folder,) = (tmp_path / "out").glob("*/vectors")
    text = (folder / "comparison.md").read_text()
    assert "Percent of agreement with the teacher's 10 nearest neighbours" in text and "There are no labels" in text
    assert "agreement with the teacher's 10" in " ".join(result.out.split())

    assert_one_line(cli(*line, "--methods", "triplet,hinton"), 2, "triplet does not apply", "hinton")


@pytest.mark.parametrize("labelled", [True, False])
def test_tune(cli: Cli, files: dict[str, Path], tmp_path: Path, here: None, labelled: bool) -> None:
    given = ["features", "teacher_features", *(["labels"] if labelled else [])]
    result = cli(
        *[
            "tune",
            *words(files, *given),
            "--methods",
            "features,rkd-d",
            "--dims",
            "8",
            "--steps",
            "8",
            "--device",
            "cpu",
        ],
        *["--grid", "lr=1e-3,1e-2", "--set", "batch=16", "--results", tmp_path / "out"],
    )
    assert result.code == 0, result.err
    done = records(tmp_path, "tuning")
    assert {r.spec.evaluation for r in done} == {"validation"}
    assert {r.evaluation.queries for r in done} == {16 if labelled else 26}  # two of ten classes of 8; a fifth of 128
    (chosen,) = (tmp_path / "out").glob("*/vectors/tuned.toml")
    assert "tune --features features.npy --teacher-features teacher_features.npy" in chosen.read_text()
    assert str(tmp_path) not in chosen.read_text()


def test_a_card_in_a_file(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    """Its paths are relative to it."""
    named = "".join(f'{name} = "{path.name}"\n' for name, path in files.items())
    (tmp_path / "card.toml").write_text(
        f'name = "mine"\ntitle = "Mine"\nlayout = "vectors"\nrecall_at = [1, 5]\n[vectors]\n{named}'
    )
    line = ["run", "--dataset", tmp_path / "card.toml", "--results", tmp_path / "out", "--dry-run", "--device", "cpu"]
    result = cli(*line)
    assert result.code == 0 and "the test files are searched" in result.out and "mine-" in result.out, result.err
    assert not (tmp_path / "out").exists()


def test_absurd_rows_of_what_is_only_searched_are_said(
    cli: Cli, files: dict[str, Path], tmp_path: Path, here: None
) -> None:
    test = np.load(files["test_features"])
    test[[9, 31], 3] = 3.4e38, -1e30
    np.save(files["test_features"], test)
    line = "2 of 80 rows are more than 10^12 times larger than the others: rows 9, 31"
    result = cli("run", *words(files), *small(tmp_path, "--methods", "regression"))
    assert result.code == 0 and f"{files['test_features']}: {line}" in result.out.splitlines(), result
    run = next(r for r in records(tmp_path) if r.spec.steps)
    applied = cli(
        *["apply", "--run", run.id, "--features", files["test_features"], "--out", tmp_path / "new.npy"],
        *["--results", tmp_path / "out", "--device", "cpu"],
    )
    assert applied.code == 0 and line in applied.out


# --- mistakes ---


def other(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


ALL = synthetic(20, 8, 1)
NANS = np.where(np.arange(160)[:, None] == 77, np.nan, ALL["features"])
FEW = np.isin(np.arange(160), (17, 40))[:, None]


def huge(array: np.ndarray) -> Callable[[Path], None]:
    return other(np.where(FEW, np.float32(3e38), array))


BAD_FILES: list[tuple[str, Callable[[Path], Any], list[str]]] = [
    ("features", Path.unlink, ["cannot read", "No such file"]),
    ("teacher_features", Path.unlink, ["cannot read", "No such file"]),
    ("labels", Path.unlink, ["cannot read", "No such file"]),
    ("features", lambda path: path.write_text("1 2 3"), ["not an array that numpy wrote"]),
    ("features", lambda path: path.write_bytes(path.read_bytes()[:-9]), ["not an array that numpy wrote"]),
    ("features", lambda path: path.write_bytes(b"PK\3\4 nothing more"), ["not an array that numpy wrote"]),
    ("features", other(np.array([{}, []], object)), ["not an array that numpy wrote"]),
    ("features", other(ALL["features"][:, 0]), ["shape (160,)", "[n, width]"]),
    ("features", other(ALL["features"][:, None, None]), ["shape (160, 1, 1, 14)"]),
    ("features", other(ALL["features"][:0]), ["features.npy"]),
    ("features", other(ALL["features"].astype(np.int32)), ["int32", "floating-point"]),
    ("features", other(ALL["features"].astype(complex)), ["complex128", "floating-point"]),
    ("features", other(NANS), ["row 77", "NaN"]),
    ("teacher_features", other(-np.inf * ALL["teacher_features"]), ["teacher_features.npy, row 0", "infinity"]),
    ("test_features", other(synthetic(10, 8, 2)["features"] * np.float32(np.nan)), ["test_features.npy, row 0"]),
    (
        "features",
        huge(ALL["features"]),
        ["features.npy is trained on", "2 of 160 rows", "rows 17, 40; mend or remove them"],
    ),
    ("teacher_features", huge(ALL["teacher_features"]), ["teacher_features.npy is trained on", "rows 17, 40"]),
    ("teacher_features", other(ALL["teacher_features"][1:]), ["160 images", "159"]),
    ("features", other(np.stack([ALL["features"]] * 2, 1)), ["of 2 views", "of 1 views"]),
    ("labels", other(ALL["labels"][:-1]), ["160 images", "159 labels"]),
    ("labels", other(ALL["labels"] / 2), ["integers or strings", "float64"]),
    ("labels", other(ALL["labels"][:, None]), ["integers or strings", "(160, 1)"]),
    ("labels", other(np.zeros(160, int)), ["labels.npy has one class", "at least 2"]),
    ("labels", other(synthetic(10, 8, 2)["labels"].repeat(2)), ["trained on and tested"]),
    ("test_features", other(synthetic(10, 8, 2)["features"][:, 1:]), ["14 numbers", "of 13"]),
    ("test_teacher_features", other(synthetic(10, 8, 2)["features"]), ["18 numbers", "of 14"]),
    ("test_labels", other(np.arange(80) + 500), ["no query has another"]),
]


@pytest.mark.parametrize(("name", "spoil", "expected"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_mistakes_in_files(
    cli: Cli, files: dict[str, Path], tmp_path: Path, name: str, spoil: Callable[[Path], Any], expected: list[str]
) -> None:
    spoil(files[name])
    assert_one_line(cli("run", *words(files), *small(tmp_path)), 1, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "more", "code", "expected"),
    [
        ("", "--preset vectors", 2, "--dataset or --features"),
        ("", "--teacher-features x.npy", 2, "--features"),
        ("features", "--dataset tiny", 2, "not both"),
        ("features", "--views 0", 2, "--views"),
        ("features", "--views 3", 1, "160 rows, which are not 3 views"),
        ("features labels", "--views 2", 1, "80 images"),
        ("features test_features labels", "", 2, "labels and test_labels go together"),
        ("features test_features test_labels", "", 2, "labels and test_labels go together"),
        ("features teacher_features test_features", "", 2, "teacher_features and test_teacher_features"),
        ("features test_labels", "", 2, "test_features is not"),
        ("features labels", "--preset cpu", 2, "these are: vectors"),
        ("features labels", "--set views=2", 2, "views cannot be set"),
        ("features labels", "--backbone resnet18", 2, "backbone cannot be set"),
        ("features labels", "--teacher resnet50@512", 2, "teacher.backbone cannot be set"),
        ("features labels", "--set teacher.dim=3", 2, "teacher.dim cannot be set"),
        ("features labels", "--set teacher.lr=1", 2, "teacher.lr cannot be set"),
        ("features labels", "--set features.steps=1", 2, "features.steps cannot be set"),
        ("features labels", "--set image=32", 2, "image cannot be set"),
        ("features labels", "--set batch=64 --set per_class=2", 2, "a batch of 64"),
        ("features labels", "--methods attention", 2, "attention does not apply: it needs maps"),
        ("features", "--set batch=500", 2, "128 of 128 classes: --set batch=128"),
        ("features", "--subset 4x4", 2, "there are no labels"),
    ],
)
def test_mistakes_in_words(
    cli: Cli, files: dict[str, Path], tmp_path: Path, given: str, more: str, code: int, expected: str
) -> None:
    line = ["run", *(words(files, *given.split()) if given else []), *small(tmp_path, *more.split())]
    assert_one_line(cli(*line), code, expected)
    assert not (tmp_path / "out").exists()


def test_too_few_classes_and_rows(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    np.save(files["labels"], np.arange(160) % 3)
    line = ["run", *words(files, "features", "labels"), *small(tmp_path)]
    assert_one_line(cli(*line), 1, "labels.npy has 3 classes", "at least 4")
    np.save(files["features"], ALL["features"][:50])
    line = ["run", *words(files, "features"), *small(tmp_path)]
    assert_one_line(cli(*line), 1, "10 rows are searched", "at least 12")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "why"),
    [("--methods lda", "lda does not apply"), ("--backbone vectors", "own vectors (--features)")],
)
def test_vectors_are_not_of_images(cli: Cli, data_dir: Path, tmp_path: Path, more: str, why: str) -> None:
    line = ["run", "--dataset", "tiny", "--data", data_dir, "--results", tmp_path / "out", *more.split()]
    assert_one_line(cli(*line), 2, why)
    assert not (tmp_path / "out").exists()


# --- training ---


def prepared(tmp_path: Path, methods: str, **given: Any) -> tuple[list[Spec], RunContext]:
    words = {"methods": methods, "dims": "6", "seeds": "0", "steps": "5", "set": ("batch=24", "hidden=7")}
    request = Request(vectors=Vectors(**given), data=tmp_path, results=tmp_path / "out", device="cpu", **words)
    plan = resolve(gather(request))
    return list(plan.specs), RunContext(plan.images(), tmp_path, plan.store)


def train(group: list[Spec], space: RunContext) -> dict[str, Record]:
    found = {outcome.spec.id: outcome for outcome in run(group, space)}
    assert all(isinstance(outcome, Record) for outcome in found.values()), found
    return found  # type: ignore[return-value]


METHODS = "untrained,triplet,hinton,fitnet,regression,rkd-da"


def test_a_student_is_the_same_alone_and_in_a_group(tmp_path: Path) -> None:
    for name, array in synthetic(20, 8, 1, views=3).items():
        np.save(tmp_path / f"{name}.npy", array)
    given = {name: tmp_path / f"{name}.npy" for name in ("features", "teacher_features", "labels")}
    specs, space = prepared(tmp_path, METHODS, **given)
    assert {spec.views for spec in specs} == {3}
    (teacher,), group = specs[:1], [spec for spec in specs[1:] if spec.steps]
    alone = RunContext(space.dataset, space.data_dir, Store(tmp_path / "alone"))
    for one in (space, alone):
        train([teacher], one)
    together = train(group, space)
    for spec in reversed(group):
        (record,) = train([spec], alone).values()
        assert (record.evaluation, record.loss) == (together[spec.id].evaluation, together[spec.id].loss)
        mine, theirs = (load_file(one.store.weights(spec)) for one in (alone, space))
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert len({record.weights for record in together.values()}) == len(group)


def test_student_and_teacher_see_one_view_of_each_row(tmp_path: Path) -> None:
    """Every number of the files names its row and view."""
    places = (10 * np.arange(160)[:, None] + np.arange(3)).astype(np.float32)
    for name in ("features", "teacher_features"):
        np.save(tmp_path / f"{name}.npy", np.stack([places, places + (name != "features") / 2], axis=2))
    np.save(tmp_path / "labels.npy", ALL["labels"])
    given = {name: tmp_path / f"{name}.npy" for name in ("features", "teacher_features", "labels")}
    (teacher, student), space = prepared(tmp_path, "rkd-da", **given)
    drawn = open_inputs(space.dataset, [student], space).draw(3)
    mine, theirs = drawn.read(student), drawn.read(teacher)
    row, view = np.divmod(mine[:, 0].astype(int), 10)
    assert np.array_equal(theirs, mine + np.array([0, 0.5])) and mine.dtype == np.float32
    assert set(view) == {0, 1, 2} and np.array_equal(ALL["labels"][row] - ALL["labels"].min(), drawn.labels)


def test_training_reads_nothing_but_its_batches(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 128 rows are the most that is read, calibration with 100 included; the files are longer."""
    monkeypatch.setattr("benchmark.training.initial.CALIBRATION", 100)
    monkeypatch.setattr(module, "BLOCK", 100 * C)
    guard(monkeypatch, 128)
    assert len(ALL["features"]) > 128
    specs, space = prepared(tmp_path, f"features,{METHODS}", **files)
    outcomes = list(
        local(Task(space), [specs[:1], [s for s in specs[1:] if s.steps], [s for s in specs[1:] if not s.steps]])
    )
    assert len(outcomes) == len(specs) and all(isinstance(one, Record) for one in outcomes)


# --- apply and extract ---


def stored(tmp_path: Path, **changes: Any) -> Record:
    spec = tiny_spec(**changes)
    metrics = {"recall@1": 0.5, "map@r": 0.5}
    record = Record(
        id=spec.id, spec=spec, evaluation=Evaluation(l2=metrics, cosine=metrics, queries=1, dropped=0, gallery=1),
        loss=None, parameters=0, seconds={}, data="", weights="", teacher=None, environment={},
    )  # fmt: skip
    Store(tmp_path / "out" / "tiny" / "smoke").save(record)
    return record


def test_heads_that_cannot_be_applied(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    line = ["apply", "--features", files["features"], "--out", tmp_path / "small.npy", "--device", "cpu"]
    line += ["--results", tmp_path / "out", "--run"]
    assert_one_line(cli(*line, "1"), 2, "no runs below", str(tmp_path / "out"))
    whole, head = stored(tmp_path), stored(tmp_path, views=1)
    assert_one_line(cli(*line, "xyz"), 2, "begins with 'xyz'", f"runs/triplet-{whole.id}", f"runs/triplet-{head.id}")
    assert_one_line(cli(*line, ""), 2, "2 runs have", whole.id, head.id)
    for name in (
        whole.id,
        f"triplet-{whole.id}",
        f"tiny/smoke/runs/triplet-{whole.id}.json",
    ):  # as messages name runs, too
        assert_one_line(cli(*line, name), 2, "whole network", "images")
    assert_one_line(cli(*line, head.id), 1, "has no weights at", f"{head.id}.safetensors")
    assert not (tmp_path / "small.npy").exists()


def test_vectors_that_a_head_cannot_read(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    specs, space = prepared(tmp_path, "untrained", **{name: files[name] for name in ("features", "labels")})
    ((record,),) = (list(train(specs, space).values()),)
    space.store.save(record)
    line = ["apply", "--out", tmp_path / "small.npy", "--device", "cpu", "--results", tmp_path / "out"]
    line += ["--run", record.id, "--features"]
    assert_one_line(cli(*line, files["teacher_features"]), 1, "18 numbers", "reads 14")
    assert_one_line(cli(*line, files["labels"]), 1, "labels.npy")
    assert_one_line(cli(*line, tmp_path / "none.npy"), 1, "none.npy")
    np.save(files["test_features"], NANS)
    assert_one_line(cli(*line, files["test_features"]), 1, "row 77")
    np.save(files["test_features"], np.stack([ALL["features"]] * 2, 1))
    assert_one_line(cli(*line, files["test_features"]), 1, "2 views")
    assert not list(tmp_path.glob("small*"))
    assert cli(*line, files["features"]).code == 0
    assert [path.name for path in tmp_path.glob("small*")] == ["small.npy"]


def test_from_images_to_vectors_to_a_table(cli: Cli, data_dir: Path, tmp_path: Path, here: None) -> None:
    line = ["extract", "--dataset", "tiny", "--data", data_dir, "--backbone", "efficientnet_lite0", "--device", "cpu"]
    line += ["--image", "28", "--resize", "32"]
    train = ["--out", tmp_path / "x.npy", "--labels-out", tmp_path / "y.npy", "--views", "3"]
    test = ["--split", "test", "--out", tmp_path / "tx.npy", "--labels-out", tmp_path / "ty.npy"]
    for more in (train, test, ["--out", tmp_path / "centre.npy"]):
        result = cli(*line, *more)
        assert result.code == 0, result.err
    features = np.load(tmp_path / "x.npy")
    assert features.shape == (192, 3, 1280) and features.dtype == np.float16
    assert np.array_equal(features[:, 0], np.load(tmp_path / "centre.npy"))
    assert not np.array_equal(features[:, 1], features[:, 2])
    assert np.load(tmp_path / "tx.npy").shape == (192, 1280)
    assert len(set(np.load(tmp_path / "y.npy")) | set(np.load(tmp_path / "ty.npy"))) == 32
    result = cli(
        *["run", "--features", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--methods", "rkd-d"],
        *["--test-features", tmp_path / "tx.npy", "--test-labels", tmp_path / "ty.npy", *small(tmp_path)],
    )
    assert result.code == 0, result.err
    assert {(r.spec.views, r.evaluation.queries) for r in records(tmp_path)} == {(3, 192)}


@pytest.mark.parametrize(
    ("more", "code", "expected"),
    [
        ("--backbone resnet19", 2, "resnet18"),
        ("--backbone vectors", 2, "own vectors"),
        ("--backbone conv4-8", 1, "no pretrained weights"),
        ("--backbone efficientnet_lite0 --split gallery", 2, "known: test, train"),
        ("--backbone efficientnet_lite0 --image 40 --resize 32", 2, "larger than the decoded image"),
        ("--backbone efficientnet_lite0 --views -1", 2, "--views"),
        ("--backbone timm:vit_tiny_patch16_224 --image 28 --resize 32", 2, "28 px"),
    ],
)
def test_mistakes_in_extract(cli: Cli, data_dir: Path, tmp_path: Path, more: str, code: int, expected: str) -> None:
    line = ["extract", "--dataset", "tiny", "--data", data_dir, "--device", "cpu", "--out", tmp_path / "x.npy"]
    assert_one_line(cli(*line, *more.split()), code, expected)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_in_a_read_only_place(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    specs, space = prepared(tmp_path, "untrained", **{name: files[name] for name in ("features", "labels")})
    (record,) = train(specs, space).values()
    space.store.save(record)
    line = ["apply", "--run", record.id, "--results", tmp_path / "out", "--features", files["features"]]
    assert_one_line(cli(*line, "--out", tmp_path / "file" / "x.npy", "--device", "cpu"), 1, str(tmp_path / "file"))
    shutil.rmtree(tmp_path / "out")
