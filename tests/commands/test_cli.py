"""The real command line, end to end, and every mistake a user can make: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, assert_one_line
from PIL import Image

from benchmark import methods
from benchmark.cli import app
from benchmark.errors import unknown
from benchmark.record import read_record
from benchmark.spec import Spec
from benchmark.store import Store

Cli = Callable[..., Result]


def pictures(folder: Path, classes: int = 12, each: int = 6, size: int = 40, first: int = 0) -> Path:
    """A folder of coloured noise, one sub-folder a class."""
    rng = np.random.default_rng(0)
    for label in range(first, first + classes):
        colour = rng.integers(0, 256, 3)
        (folder / f"class {label}").mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(colour + rng.normal(0, 40, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class {label}" / f"{i}.png")
    return folder


def own(folder: Path, tmp_path: Path) -> list[Any]:
    """The words of a small run on an own folder; its results are in `tmp_path / "out"`."""
    return [
        *["run", "--preset", "smoke", "--device", "cpu", "--seeds", "0", "--dataset"],
        folder,
        "--results",
        tmp_path / "out",
    ]


def test_from_nothing_to_the_tables_and_again_in_no_time(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    result = cli(*smoke)
    assert result.code == 0, result.err
    folder = tmp_path / "tiny" / "smoke"
    records = list(Store(folder))
    expected = {"triplet", "untrained", "hinton", "fitnet", "attention", "regression", "rkd-d", "rkd-a", "rkd-da"}
    assert {record.spec.method for record in records} == expected and len(
        records
    ) == 10  # the teacher is a triplet run too
    for record in records:
        assert record.evaluation.queries == 192 and 0 <= record.metrics["recall@1"] <= record.metrics["recall@8"] <= 1
        assert (record.loss is None) == (record.spec.method == "untrained")
        assert {"code", "torch", "device"} <= record.environment.keys()
        assert str(tmp_path) not in record.model_dump_json()
    assert "0 done, 10 to run" in result.out and "192 training images" in result.out and "comparison.md" in result.out
    for name in ("runs.csv", "comparison.csv", "comparison.md"):
        assert "rkd-da" in (folder / name).read_text()

    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    again = cli(*smoke)
    assert again.code == 0 and "10 done, 0 to run" in again.out
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()} == before

    # One more method is trained on the teacher that is there.
    more = cli(*smoke, "--methods", "rkd-da", "--set", "rkd-da.angle_weight=1")
    assert more.code == 0 and "1 done, 1 to run" in more.out and "trained again" not in more.out

    # Without its weights the teacher is trained again, and becomes what it was.
    teacher = next(record for record in records if record.spec.dim == 16)
    content = Store(folder).path(teacher.spec).read_text()
    Store(folder).weights(teacher.spec).unlink()
    third = cli(*smoke, "--methods", "rkd-da", "--set", "rkd-da.angle_weight=3")
    assert third.code == 0 and "1 of those done, teachers included, to train again" in third.out
    assert Store(folder).path(teacher.spec).read_text() == content
    assert "its weights differ" not in third.out


def test_report_regenerates_the_tables_from_records_alone(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    assert cli(*smoke, "--methods", "triplet,rkd-d").code == 0
    folder = tmp_path / "tiny" / "smoke"
    before = {name: (folder / name).read_bytes() for name in ("runs.csv", "comparison.csv", "comparison.md")}
    for name in before:
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoints")
    assert cli("report", "--results", tmp_path).code == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_dry_run_writes_nothing(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    result = cli(*smoke, "--dry-run", "--dims", "4,8", "--methods", "relational")
    assert result.code == 0 and "rkd-da" in result.out and "hinton" not in result.out
    assert list(tmp_path.iterdir()) == []


def test_the_subset_is_a_data_set_of_its_own(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    assert cli(*smoke, "--subset", "8x6", "--methods", "rkd-d").code == 0
    records = list(Store(tmp_path / "tiny-8x6" / "smoke"))
    assert len(records) == 2 and all(r.evaluation.queries == 48 and r.spec.subset == "8x6" for r in records)


def test_flags_reach_the_spec(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    words = "--methods rkd-da --dims 5 --seeds 3 --steps 4 --backbone conv4-6 --teacher conv4-7@9 --set lr=2e-3"
    more = "--set teacher.steps=3 --set rkd-da.angle_weight=1 --set normalize=true --set precision=bf16"
    assert (
        cli(*smoke[: smoke.index("--seeds")], *smoke[smoke.index("--seeds") + 2 :], *words.split(), *more.split()).code
        == 0
    )
    student = next(r.spec for r in Store(tmp_path / "tiny" / "smoke") if r.spec.teacher)
    teacher = student.teacher
    assert teacher is not None
    assert (student.dim, student.seed, student.steps, student.backbone, student.lr) == (5, 3, 4, "conv4-6", 2e-3)
    assert student.params == {"distance_weight": 1.0, "angle_weight": 1.0} and student.normalize
    assert (teacher.backbone, teacher.dim, teacher.steps, teacher.seed) == ("conv4-7", 9, 3, 0)


def test_own_folder(cli: Cli, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "my photos")
    words = own(folder, tmp_path)
    assert cli(*words, "--methods", "triplet,rkd-da").code == 0
    (results,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"my photos-[0-9a-f]{6}", results.name)  # so that two folders of one name are not mixed up
    records = list(Store(results / "smoke"))
    assert len(records) == 3 and all(r.spec.data and r.evaluation.queries == 36 for r in records)
    assert "run --like runs/RECORD.json --dataset YOURS`" in (results / "smoke" / "comparison.md").read_text()
    student = next(record.id for record in records if record.spec.method == "rkd-da")
    again = ["verify", "--results", tmp_path / "out", "--rerun", student, "--device", "cpu"]
    assert_one_line(cli(*again), 2, "say where they are, by --dataset")
    rerun = cli(*again, "--dataset", folder)
    assert rerun.code == 0 and "the same weights, to the bit" in rerun.out, rerun.out + rerun.err
    # Other images, other runs: nothing is taken for done.
    (folder / "class 1" / "0.png").unlink()
    assert "0 done, 3 to run" in cli(*words, "--methods", "triplet,rkd-da", "--dry-run").out


def test_query_and_gallery_folders(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "shop" / "train", 6)
    pictures(tmp_path / "shop" / "query", 4, 2, first=6)
    pictures(tmp_path / "shop" / "gallery", 4, 3, first=6)
    words = own(tmp_path / "shop", tmp_path)
    result = cli(*words, "--methods", "regression")
    assert result.code == 0, result.err
    (results,) = (tmp_path / "out").iterdir()
    records = list(Store(results / "smoke"))
    assert {(r.evaluation.queries, r.evaluation.gallery) for r in records} == {(8, 12)}


def test_tune_uses_training_classes_only_and_its_choice_is_used(
    cli: Cli, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.training.context import RunContext
    from benchmark.tuned import read_tuned

    monkeypatch.setattr("benchmark.tuned.PUBLISHED", tmp_path / "published")
    path = tmp_path / "tiny" / "smoke" / "tuned.toml"
    seen = []
    images = RunContext.images
    monkeypatch.setattr(
        RunContext, "images", lambda self, split, *rest: (seen.append(split), images(self, split, *rest))[1]
    )
    words = [word for word in smoke if word not in ("--seeds", "0")]
    words[0] = "tune"
    result = cli(*words, "--methods", "rkd-da,triplet", "--grid", "lr=1e-3,1e-2", "--steps", "8")
    assert result.code == 0, result.err
    records = list(Store(tmp_path / "tiny" / "smoke", "tuning"))
    assert len(records) == 5 and all(r.spec.evaluation == "validation" for r in records)
    assert all(r.spec.teacher is None or r.spec.teacher.evaluation == "validation" for r in records)
    assert [point.step for point in next(r for r in records if r.spec.steps == 8).curve] == [1, 2, 4]
    names = {name for split in seen for name in split.names}
    from benchmark.data import cards
    from benchmark.data.layouts import load_images

    dataset = load_images(cards.load_card("tiny"), Path(smoke[smoke.index("--data") + 1]))
    assert names <= set(dataset.train.names) and not names & set(dataset.query.names)

    def settings(file: Path) -> dict[str, Any]:
        return {method: choice.values for method, (choice,) in read_tuned(file).items()}

    chosen = settings(path)
    for method in ("rkd-da", "triplet"):
        tried = [r for r in records if r.spec.method == method and r.spec.dim == 8]
        assert chosen[method]["lr"] == max(tried, key=lambda r: r.metrics["map@r"]).spec.lr
    assert "python -m benchmark tune --dataset tiny" in path.read_text()
    assert str(tmp_path) not in path.read_text()
    assert cli(*smoke, "--methods", "rkd-da").code == 0
    student = next(r.spec for r in Store(tmp_path / "tiny" / "smoke") if r.spec.method == "rkd-da")
    assert student.lr == chosen["rkd-da"]["lr"] and student.evaluation == "test"

    again = [*words, "--methods", "rkd-da", "--grid", f"lr={chosen['rkd-da']['lr'] / 2}", "--steps", "8"]
    assert cli(*again, "--measure-only").code == 0
    assert settings(path) == chosen
    result = cli(*again)
    assert "replaces lr=" in result.out and settings(path)["rkd-da"]["lr"] == chosen["rkd-da"]["lr"] / 2
    assert settings(path)["triplet"] == chosen["triplet"]

    # The package's own settings change only where that is asked for, and those among the results have the last word.
    published = tmp_path / "published" / "smoke-tiny.toml"
    assert not published.exists()
    assert cli(*words, "--methods", "triplet", "--grid", "lr=1e-3", "--steps", "8", "--publish").code == 0
    assert settings(published) == {"triplet": {"lr": 1e-3}} and settings(path)["triplet"]["lr"]
    assert "as tuned, from" in cli(*smoke, "--methods", "rkd-da,triplet", "--dry-run").out
    plain = cli(*smoke[:-1], tmp_path / "elsewhere", "--methods", "triplet", "--dry-run")
    assert str(published) in plain.out and "0.001" in plain.out


def test_tune_by_random_search(cli: Cli, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("benchmark.tuned.PUBLISHED", tmp_path / "published")
    path = tmp_path / "tiny" / "smoke" / "tuned.toml"
    words = ["tune", *(word for word in smoke[1:] if word not in ("--seeds", "0"))]
    result = cli(*words, "--trials", "3", "--methods", "rkd-da,triplet", "--steps", "8")
    assert result.code == 0, result.err
    folder = tmp_path / "tiny" / "smoke"
    found = [record for record in Store(folder, "tuning") if record.spec.dim == 8]
    runs = {name: {r.spec.lr: r for r in found if r.spec.method == name} for name in ("rkd-da", "triplet")}
    assert runs["rkd-da"].keys() == runs["triplet"].keys() and len(runs["triplet"]) == 3  # the same rates for both
    assert len({r.spec.params["angle_weight"] for r in runs["rkd-da"].values()}) == 3

    document = tomllib.loads(path.read_text())
    for method, own in (("rkd-da", "angle_weight"), ("triplet", "margin")):
        best = max(runs[method].values(), key=lambda r: r.metrics["map@r"])
        expected = {"lr": best.spec.lr, "weight_decay": best.spec.weight_decay, own: best.spec.params[own]}
        assert document["method"][method] == expected
        (default,) = (r for r in runs[method].values() if r.spec.lr == 3e-3)  # of the preset
        entry = methods.entry(method)
        assert default.spec.params == {key: value for key, value in entry.defaults.items() if key not in entry.later}
        settled = document["chosen"][method]["settled_after"]
        assert 1 <= settled <= 3 and (settled > 1) == (best is not default)
        assert document["chosen"][method] == {
            "by": "python -m benchmark tune --dataset tiny --preset smoke --methods rkd-da,triplet --steps 8 --trials 3",
            "validation_map_at_r": round(best.metrics["map@r"], 4),
            "validation_map_at_r_default": round(default.metrics["map@r"], 4),
            "values_finished": 3,
            "settled_after": settled,
        }
        assert f"{100 * default.metrics['map@r']:.2f}" in result.out and f"{own}={expected[own]}" in result.out

    table = (folder / "tuning.csv").read_bytes()
    assert {"lr", "weight_decay", "params.angle_weight", "params.margin"} <= set(
        table.decode().split("\n")[0].split(",")
    )
    (folder / "tuning.csv").unlink()
    assert cli("report", "--results", folder).code == 0 and (folder / "tuning.csv").read_bytes() == table

    # More trials are those that are done, and new ones.
    more = cli(*words, "--trials", "5", "--methods", "rkd-da,triplet", "--steps", "8", "--dry-run")
    assert more.code == 0 and "7 done, 4 to run" in more.out

    # A guided search begins with the same draws, and goes on from what is done.
    guided = [*words, "--methods", "triplet", "--steps", "8", "--sampler", "tpe", "--trials"]
    first = cli(*guided, "6", "--dry-run")
    assert first.code == 0 and "the first 4 of 6 trials" in first.out and "3 done, 1 to run" in first.out
    said = cli(*guided, "6")
    assert said.code == 0, said.err
    assert "3 done, 1 to run" in said.out and "4 done, 2 to run" in said.out
    chosen = tomllib.loads(path.read_text())["chosen"]["triplet"]
    assert chosen["by"].endswith("--trials 6 --sampler tpe") and chosen["values_finished"] == 6
    again = cli(*guided, "6")
    assert again.code == 0 and "6 done, 0 to run" in again.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--preset smoke --grid lr=1,2 --trials 3", ["--grid", "--trials", "exclude"]),
        ("--preset smoke --trials 0", ["--trials", "at least 1"]),
        ("--preset smoke --trials many", ["--trials", "many"]),
        ("--preset bare --trials 3", ["'bare'", "no [search]", "--grid"]),
        ("--preset reserved --trials 3", ["dim cannot be set", "--dims"]),
        ("--preset smoke --trials 3 --set lr=1e-3", ["lr is both set and tuned"]),
        ("--preset smoke --trials 3 --set rkd-da.angle_weight=1", ["rkd-da.angle_weight is both set and tuned"]),
        ("--preset smoke --grid steps=1,2 --steps 3", ["steps is both set and tuned"]),
    ],
)  # fmt: skip
def test_mistakes_in_a_search(
    cli: Cli, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    from benchmark.tuned import PRESETS

    smoke, search = (PRESETS / "smoke.toml").read_text().split("[search]")
    (tmp_path / "smoke.toml").write_text(f"{smoke}[search]{search}")
    (tmp_path / "bare.toml").write_text(smoke)
    (tmp_path / "reserved.toml").write_text(f"{smoke}[search]\ndim = [4, 8]\n")
    monkeypatch.setattr("benchmark.tuned.PRESETS", tmp_path)
    words = f"tune --dataset tiny --data {data_dir} --results {tmp_path / 'out'} {words}"
    assert_one_line(cli(*words.split()), 2, *expected)
    assert not (tmp_path / "out").exists()


def test_what_another_method_searches_may_be_set(cli: Cli, smoke: list[str]) -> None:
    words = ["tune", *(word for word in smoke[1:] if word not in ("--seeds", "0")), "--trials", "2", "--dry-run"]
    result = cli(*words, "--methods", "rkd-d,attention", "--set", "rkd-d.weight=2", "--set", "teacher.lr=1e-3")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("grid", "expected"),
    [("lr", "KEY=VALUE"), ("dim=4,8", "--dims"), ("seed=1,2", "--seeds"), ("rkd-d.lr=1,2", "same for every method"), ("lrr=1", "'lr'")],
)  # fmt: skip
def test_mistakes_in_a_grid(cli: Cli, data_dir: Path, tmp_path: Path, grid: str, expected: str) -> None:
    words = ["tune", "--dataset", "tiny", "--data", data_dir, "--results", tmp_path / "out", "--grid", grid]
    assert_one_line(cli(*words), 2, expected)
    assert not (tmp_path / "out").exists()


def test_nothing_to_tune(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    words = f"tune --dataset tiny --preset smoke --data {data_dir} --results {tmp_path / 'out'}".split()
    for chosen, more in (("untrained", []), ("pca,untrained", []), ("pca", ["--dry-run"])):
        assert_one_line(cli(*words, "--methods", chosen, *more), 2, chosen, "nothing to tune")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["datasets", "methods", "backbones", "presets"])
def test_list(cli: Cli, what: str) -> None:
    rows = json.loads(cli("list", what, "--json").out)
    assert {"name"} <= rows[0].keys()
    table = cli("list", what)
    assert table.code == 0 and all(row["name"] in table.out for row in rows)


def test_list_methods_knows_all_four_kinds_it_has(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "methods", "--json").out)}
    assert rows.keys() == methods.catalogue().keys()
    assert rows["rkd-da"]["kind"] == "relational" and rows["rkd-da"]["defaults"] == {
        "distance_weight": 1.0,
        "angle_weight": 2.0,
        "angle_triplets": 0,
    }


def test_evaluate_command(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[0.0, 0], [0, 1], [5, 5], [5, 6], [0, 5]], np.float32))
    np.save(tmp_path / "y.npy", np.array([0, 0, 1, 1, 2]))
    words = ["evaluate", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--at", "1,2"]
    result = json.loads(cli(*words, "--json", "--metric", "l2").out)
    assert (
        result["l2"]["recall@1"] == 1 and result["queries"] == 4 and result["dropped"] == 1 and "cosine" not in result
    )
    assert "100.00" in cli(*words).out
    assert_one_line(cli("evaluate", "--embeddings", tmp_path / "z.npy", "--labels", tmp_path / "y.npy"), 1, "z.npy")
    assert_one_line(cli(*words[:-1], "1,x"), 2, "--at")


def test_evaluate_holds_an_index_against_the_exact_one(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1000, 5)))
    np.save(tmp_path / "y.npy", np.arange(1000) % 10)
    words = ["evaluate", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--metric", "l2"]
    result = json.loads(cli(*words, "--index", "hnsw", "--json").out)
    exact, graph = result["l2"], result["l2, hnsw"]
    assert graph["share"] > 0.9 and graph["faster"] > 0 and 4 * 5 < graph["item"] < 1000
    assert graph["recall@1"] == pytest.approx(exact["recall@1"], abs=0.05)
    assert "10 nearest found, %" in cli(*words, "--index", "hnsw").out
    assert "10 nearest found, %" not in cli(*words).out
    np.save(tmp_path / "x.npy", np.zeros((999, 5)))
    np.save(tmp_path / "y.npy", np.arange(999) % 10)
    assert_one_line(cli(*words, "--index", "ivf-pq"), 2, "at least 1,000 rows")
    assert_one_line(cli(*words, "--index", "ivf"), 2, "ivf-pq")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--dataset tinny", ["'tinny'", "'tiny'"]),
        ("--dataset no/such/folder", ["no/such/folder"]),
        ("--dataset tiny --preset smok", ["'smok'", "'smoke'"]),
        ("--dataset tiny --preset paper", ["not for 'tiny'", "smoke"]),
        ("--dataset tiny --methods rkd-daa", ["'rkd-daa'", "'rkd-da'"]),
        ("--dataset tiny --methods relatoinal", ["'relatoinal'", "'relational'"]),
        ("--dataset tiny --backbone conv5", ["'conv5'", "conv4-W"]),
        ("--dataset tiny --teacher resnet81", ["'resnet81'", "'resnet18'"]),
        ("--dataset tiny --set lrr=1", ["'lrr'", "'lr'"]),
        ("--dataset tiny --set rkd-da.angel_weight=1", ["angel_weight", "angle_weight"]),
        ("--dataset tiny --set rkd-ad.angle_weight=1", ["'rkd-ad'", "'rkd-d'"]),
        ("--dataset tiny --methods triplet --set rkd-d.weight=2", ["'rkd-d'", "chosen"]),
        ("--dataset tiny --methods ,", ["--methods is empty"]),
        ("--dataset tiny --teacher conv4-8@8,9", ["NAME@DIM", "'8,9'"]),
        ("--dataset tiny --set dim=16", ["dim cannot be set", "--dims"]),
        ("--dataset tiny --set seed=3", ["--seeds"]),
        ("--dataset tiny --set evaluation=validation", ["benchmark tune"]),
        ("--dataset tiny --set params=1", ["params cannot be set"]),
        ("--dataset tiny --set teacher.teacher=x", ["teacher.teacher cannot be set"]),
        ("--dataset tiny --set rkd-d.weight=nan", ["nan"]),
        ("--dataset tiny --set lr", ["KEY=VALUE"]),
        ("--dataset tiny --set lr=fast", ["lr", "'fast'"]),
        ("--dataset tiny --set untrained.lr=0.1", ["untrained.lr cannot be set", "not trained"]),
        ("--dataset tiny --methods pca,triplet --set pca.hidden=8", ["pca.hidden cannot be set", "not trained"]),
        ("--dataset tiny --set lr=-1", ["lr", "greater than 0"]),
        ("--dataset tiny --set triplet.margin=wide", ["triplet.margin", "float"]),
        ("--dataset tiny --dims 0", ["dim", "greater than or equal to 1"]),
        ("--dataset tiny --dims x", ["--dims", "1,2,4"]),
        ("--dataset tiny --seeds -1", ["seed"]),
        ("--dataset tiny --subset 8by6", ["8x6"]),
        ("--dataset tiny --steps x", ["steps"]),
        ("--dataset tiny --nonsense", ["nonsense"]),
        ("--preset smoke", ["dataset"]),
    ],
)  # fmt: skip
def test_mistakes_in_words(cli: Cli, data_dir: Path, tmp_path: Path, words: str, expected: list[str]) -> None:
    result = cli("run", *words.split(), "--data", data_dir, "--results", tmp_path / "out")
    assert_one_line(result, 2, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["name-1", "name-1" * 100_000, "zzz", ""])
@pytest.mark.parametrize("names", [0, 1, 8, 9, 2000])
def test_a_long_choice_is_not_listed(given: str, names: int) -> None:
    known = [f"name-{number}" for number in range(names)]
    said = str(unknown("method", given, known)).removeprefix(f"unknown method {given!r}; ")
    assert len(re.findall(r"name-\d+", said)) <= 8
    if said.startswith("known: ") and names > 8:
        assert said.endswith(f" and {names - 8} more (benchmark list methods)")


@pytest.mark.parametrize("command", sorted(name for name in app if not name.startswith("-")))
def test_help_loses_nothing_of_what_is_written(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """No mark of Markdown, of HTML or of rich stands for anything but itself."""
    monkeypatch.setenv("COLUMNS", "400")
    words = re.findall(r"[^\s│]+", cli(command, "--help").out)
    written = (app[command].default_command.__doc__ or "").replace("Parameters\n    ----------", "")
    options = app[command].assemble_argument_collection(parse_docstring=True)
    helped = {option.name: " ".join((option.parameter.help or "").split()) for option in options if not option.children}
    assert all(helped.values()), helped
    written += "\n".join(["", *helped.values()])
    for line in filter(None, map(str.strip, written.splitlines())):
        parts = line.split()
        assert (
            any(words[at : at + len(parts)] == parts for at in range(len(words)))
            or (len(parts) == 1 and f"--{line.replace('_', '-')}" in words)
            or line.upper() in words
        ), line


@pytest.mark.parametrize("option", ["--methods", "--seeds", "--dims"])
def test_an_empty_word_is_not_the_default(cli: Cli, smoke: list[str], tmp_path: Path, option: str) -> None:
    assert_one_line(cli(*smoke, option, ""), 2, option)
    assert not list(tmp_path.iterdir())


def test_results_that_are_a_file(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    result = cli("run", "--dataset", "tiny", "--data", data_dir, "--results", tmp_path / "out", "--dry-run")
    assert_one_line(result, 2, "out is a file; name a folder")


def test_a_gpu_that_is_not_there(cli: Cli, smoke: list[str], tmp_path: Path) -> None:

    words = [word if word != "cpu" else "cuda" for word in smoke]
    if not torch.cuda.is_available():
        assert_one_line(cli(*words), 2, "--device cpu")
    assert_one_line(cli(*[word if word != "cpu" else "gpu" for word in smoke]), 2, "'gpu'")


def test_a_batch_that_cannot_be_filled(
    cli: Cli, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before a network is built."""
    monkeypatch.setattr("benchmark.training.trial.check_size", lambda *_: pytest.fail("built"))
    result = cli(*smoke, "--set", "batch=64", "--set", "per_class=3", "--methods", "triplet")
    assert_one_line(result, 2, "a batch of 64, 3 images of a class at most, is more than the training set has")
    assert not list(tmp_path.iterdir())


def test_other_work_on_the_cores_is_told(cli: Cli, smoke: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.machine.share", lambda: 0.3)
    result = cli(*smoke, "--methods", "triplet", "--steps", "2")
    assert "other work holds 70% of the cores, which can make this many times slower: wait for it\n" in result.out
    monkeypatch.setattr("benchmark.machine.share", lambda: 0.9)
    assert "other work" not in cli(*smoke, "--methods", "triplet", "--steps", "3").out


def test_queries_without_partners_are_found_before_training(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    pictures(folder / "train", 6)
    pictures(folder / "test", 4, 1, first=6)
    words = own(folder, tmp_path)
    assert_one_line(cli(*words), 1, "no query has another image of its class")
    assert not (tmp_path / "out").exists()


def test_images_that_a_network_cannot_read(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    assert_one_line(cli(*smoke, "--set", "image=8"), 2, "conv4", "8 px")
    assert_one_line(cli(*smoke, "--backbone", "timm:vit_tiny_patch16_224"), 2, "vit_tiny_patch16_224", "28 px")
    assert not list(tmp_path.iterdir())


def test_missing_data(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = cli(
        "run",
        "--dataset",
        "cars",
        "--preset",
        "cpu",
        "--data",
        tmp_path / "data",
        "--results",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    assert_one_line(result, 1, "cars")
    assert not (tmp_path / "out").exists()


def test_a_corrupt_image_is_named(cli: Cli, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    (folder / "class 3" / "2.png").write_bytes(b"\x89PNG nothing more")
    words = own(folder, tmp_path)
    assert_one_line(cli(*words, "--methods", "triplet"), 1, str(Path("class 3") / "2.png"))
    assert not (tmp_path / "out").exists()
    # Those that train and those that are searched, at once.
    (folder / "class 0" / "0.png").write_bytes(b"nothing")
    first, last = str(Path("class 0") / "0.png"), str(Path("class 3") / "2.png")
    assert_one_line(
        cli(*words, "--methods", "triplet"), 1, f"2 of {len(list(folder.rglob('*.png')))} images", first, last
    )


def test_a_class_with_one_image(cli: Cli, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    for image in sorted((folder / "class 0").iterdir())[1:]:
        image.unlink()
    assert_one_line(cli("run", "--dataset", folder, "--preset", "smoke", "--results", tmp_path / "out"), 1, "class 0")


def test_no_permission_to_write(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # a folder below a file cannot be made, by root neither
    words = [word if word != str(tmp_path) else str(tmp_path / "file" / "out") for word in smoke]
    assert_one_line(cli(*words, "--methods", "triplet"), 1, str(tmp_path / "file"))


def test_weights_that_cannot_be_had(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    assert_one_line(cli(*smoke, "--set", "pretrained=true"), 1, "no pretrained weights for conv4-8", "pretrained=false")
    assert not list(tmp_path.rglob("*.json"))


def test_a_record_that_is_not_json(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    assert cli(*smoke, "--methods", "triplet").code == 0
    broken = tmp_path / "tiny" / "smoke" / "runs" / "rkd-d-0123456789.json"
    broken.write_text("{")
    assert_one_line(cli(*smoke, "--methods", "rkd-d"), 1, str(broken), "delete it")  # before it trains anything
    assert_one_line(cli("report", "--results", tmp_path), 1, str(broken), "delete it")


def test_report_without_results(cli: Cli, tmp_path: Path) -> None:
    result = cli("report", "--results", tmp_path / "nothing")
    assert_one_line(result, 2, str(tmp_path / "nothing"))


def test_paper_on_a_cpu_wants_to_be_confirmed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.data.source import Source
    from benchmark.data.splits import Contents, DataSet, Split
    from benchmark.training import trial

    labels = np.repeat(np.arange(150), 5)
    split = Split(np.zeros((750, 8, 8), np.uint8), labels, tuple(map(str, range(150))))
    contents = Contents(tmp_path, {"train": split}, "", tmp_path)
    monkeypatch.setattr(Source, "images", property(lambda self: DataSet(self.card, split, split, None, contents)))
    monkeypatch.setattr(trial, "check_networks", lambda specs, device, download: None)
    words = ["run", "--dataset", "cars", "--preset", "paper", "--device", "cpu", "--results", tmp_path / "out"]
    result = cli(*words)
    assert result.code == 2 and "--yes" in result.err and "--preset cpu is made for this machine" in result.out
    assert not (tmp_path / "out").exists()


def test_the_module_runs_and_knows_its_exit_codes() -> None:
    good = subprocess.run([sys.executable, "-m", "benchmark", "list", "presets"], capture_output=True, text=True)
    bad = subprocess.run([sys.executable, "-m", "benchmark", "list", "presents"], capture_output=True, text=True)
    assert good.returncode == 0 and "smoke" in good.stdout
    assert bad.returncode == 2 and bad.stderr.startswith("benchmark: ") and bad.stderr.count("\n") == 1


def test_cub_from_a_mirror_to_the_table(cli: Cli, tmp_path: Path) -> None:
    """A small archive in the official layout, with a card of its own beside it."""
    root = tmp_path / "CUB_200_2011"
    rng = np.random.default_rng(0)
    images, labels = [], []
    for label in range(1, 13):
        folder = root / "images" / f"{label:03}.Bird_{label}"
        folder.mkdir(parents=True)
        for i in range(5):
            mode = "L" if i == 0 else "RGB"  # some are grey in the real set
            pixels = rng.integers(0, 256, (30, 44) if mode == "L" else (30, 44, 3)).astype(np.uint8)
            Image.fromarray(pixels, mode).save(folder / f"Bird_{i}.jpg")
            images.append(f"{len(images) + 1} {folder.name}/Bird_{i}.jpg")
            labels.append(f"{len(labels) + 1} {label}")
    (root / "images.txt").write_text("\n".join(images) + "\n")
    (root / "image_class_labels.txt").write_text("\n".join(labels) + "\n")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tarfile.open(mirror / "CUB_200_2011.tgz", "w:gz") as archive:
        archive.add(root, "CUB_200_2011")
    shutil.rmtree(root)
    (mirror / "cub.toml").write_text(
        'name = "cub"\ntitle = "CUB, reduced"\nlicence = "-"\ncitation = "-"\nlayout = "cub"\nfolder = "CUB_200_2011"\n'
        "counts.train = { images = 30, classes = 6 }\ncounts.test = { images = 30, classes = 6 }\n"
        '[[archives]]\nname = "CUB_200_2011.tgz"\n'
    )
    words = [
        "run",
        "--dataset",
        "cub",
        "--preset",
        "smoke",
        "--device",
        "cpu",
        "--seeds",
        "0",
        "--data",
        tmp_path / "data",
    ]
    result = cli(*words, "--results", tmp_path / "out", "--mirror", mirror, "--methods", "triplet,rkd-da")
    assert result.code == 0, result.err
    assert "30 training images of 6 classes" in result.out
    (results,) = (tmp_path / "out").iterdir()
    folder = results / "smoke"
    assert "rkd-da" in (folder / "comparison.md").read_text()
    assert all(record.evaluation.queries == 30 and record.spec.data for record in Store(folder))
    again = cli(*words, "--results", tmp_path / "out", "--methods", "triplet,rkd-da")
    assert again.code == 0 and "3 done, 0 to run" in again.out


def test_an_archive_that_writes_outside(cli: Cli, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (tmp_path / "evil").write_text("")
    with tarfile.open(mirror / "CUB_200_2011.tgz", "w:gz") as archive:
        archive.add(tmp_path / "evil", "../evil")
    (mirror / "cub.toml").write_text(
        'name = "cub"\ntitle = "reduced"\nlicence = "-"\ncitation = "-"\nlayout = "cub"\nfolder = "CUB_200_2011"\n'
        "counts.train = { images = 30, classes = 6 }\ncounts.test = { images = 30, classes = 6 }\n"
        '[[archives]]\nname = "CUB_200_2011.tgz"\n'
    )
    result = cli("fetch", "--dataset", "cub", "--data", tmp_path / "data", "--mirror", mirror)
    assert_one_line(result, 1, "../evil")
    assert not list((tmp_path / "data").glob("[!.]*"))


def test_a_record_is_run_again(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    """`--like` runs what a record holds, whatever was set; other seeds are the one thing that can be asked for."""
    assert (
        cli(*smoke, "--methods", "rkd-d", "--steps", "3", "--set", "rkd-d.weight=2", "--set", "teacher.steps=2").code
        == 0
    )
    folder = tmp_path / "tiny" / "smoke"
    path = next(folder.glob("runs/rkd-d-*.json"))
    data = smoke[smoke.index("--data") + 1]
    like = ["run", "--like", path, "--data", data, "--device", "cpu"]
    assert "1 done, 0 to run" in cli(*like, "--results", tmp_path).out
    again = cli(*like, "--results", tmp_path / "again")
    assert again.code == 0, again.err
    here, there = read_record(path), read_record(tmp_path / "again/tiny/smoke/runs" / path.name)
    assert there.weights == here.weights and there.teacher == here.teacher
    assert cli(*like, "--seeds", "0,5", "--results", tmp_path).code == 0
    seeds = {
        record.spec.seed: record.spec
        for record in Store(folder)
        if record.spec.method == "rkd-d" and record.spec.steps == 3
    }
    assert seeds.keys() == {0, 5} and seeds[5].replace(seed=0) == here.spec

    for more in (["--methods", "rkd-a"], ["--set", "lr=1"], ["--dims", "4"], ["--subset", "2x2"]):
        assert_one_line(cli(*like, *more), 2, "--like is a whole run")
    assert_one_line(cli("run", "--like", tmp_path / "none.json"), 2, "there is no such file")
    validation = json.loads(path.read_text())
    validation.pop("digest")
    validation["spec"]["evaluation"] = "validation"
    spec = Spec.model_validate(validation["spec"])
    (tmp_path / f"rkd-d-{spec.id}.json").write_text(json.dumps(validation | {"id": spec.id}))
    assert_one_line(cli("run", "--like", tmp_path / f"rkd-d-{spec.id}.json"), 2, "scored on validation classes")
    (tmp_path / "no.json").write_text("{}")
    assert_one_line(cli("run", "--like", tmp_path / "no.json"), 1, "is not a record")
