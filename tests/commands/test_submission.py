"""`benchmark check-submission`: results of another machine pass, and what a hand has changed in them is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, assert_one_line, fields_of

from benchmark.cli import run_command
from benchmark.files import sealed
from benchmark.tuned import Tuned, read_reasons, read_tuned, write_tuned

Cli = Callable[..., Result]
Fields = dict[str, Any]
RUN = ["--dataset", "tiny", "--preset", "smoke", "--device", "cpu", "--methods", "rkd-d,triplet", "--seeds", "0,1"]


def rewritten(path: Path, change: Callable[[Fields], object], seal: bool = True) -> None:
    fields = fields_of(path)
    change(fields)
    path.write_text(
        sealed(fields) if seal else json.dumps({**fields, "digest": json.loads(path.read_text())["digest"]})
    )


def elsewhere(fields: Fields) -> None:
    """Say that it was run on another machine, with code that was committed."""
    fields["environment"] |= {"processor": "A processor of another maker (25-1-1)", "code": "0123456789"}


@pytest.fixture(scope="module")
def contributed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of another machine as they come: records, choices and what is generated, without weights."""
    results = tmp_path_factory.mktemp("contributed")
    where = ["--data", str(data_dir), "--results", str(results)]
    assert run_command(["tune", *RUN[:-2], *where, "--grid", "lr=1e-3,1e-2"]) == 0
    assert run_command(["run", *RUN, *where]) == 0
    folder = results / "tiny" / "smoke"
    for path in folder.glob("*/*.json"):
        rewritten(path, elsewhere)
    shutil.rmtree(folder / "checkpoints")
    assert run_command(["report", "--results", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(contributed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(contributed, tmp_path / "tiny" / "smoke"))


def student(folder: Path, method: str = "rkd-d") -> Path:
    return next(path for path in sorted(folder.glob(f"runs/{method}-*.json")) if fields_of(path)["spec"]["dim"] == 8)


def test_results_of_another_machine_pass(cli: Cli, folder: Path, data_dir: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = cli("check-submission", folder)
    assert said.code == 0 and "no faults" in said.out, said
    again = [cli("check-submission", folder, "--rerun", "1", "--data", data_dir, "--device", "cpu") for _ in range(2)]
    for said in again:
        assert said.code == 0 and "no faults, 0 of 1 reruns failed" in said.out, said
        assert "the same weights, to the bit" in said.out
    drawn = [next(line for line in said.out.splitlines() if line.startswith("again: ")) for said in again]
    assert drawn[0] == drawn[1]
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def better(fields: Fields) -> None:
    """All that a record says of Recall@1, raised by 20 hits of 192 in agreement."""
    classes, metrics = fields["by_class"], fields["evaluation"]["l2"]
    more = 20
    for number, (hits, queries) in enumerate(zip(classes["hits"], classes["queries"], strict=True)):
        classes["hits"][number] += (step := min(more, queries - hits))
        more -= step
    metrics["recall@1"] = round(sum(classes["hits"]) / 192, 6)
    for k in (2, 4, 8):
        metrics[f"recall@{k}"] = max(metrics[f"recall@{k}"], metrics["recall@1"])


def add(fields: Fields, distance: str, name: str, value: float) -> None:
    fields["evaluation"][distance][name] = round(fields["evaluation"][distance][name] + value, 6)


FORGED: dict[str, tuple[Callable[[Fields], object], bool, str]] = {
    "metric": (lambda fields: add(fields, "l2", "recall@1", 1 / 192), False, "its digest is another"),
    "metric and digest": (lambda fields: add(fields, "l2", "recall@1", -1 / 192), True, "by_class does not give its metrics"),
    "precision": (lambda fields: add(fields, "l2", "map@r", -0.001), True, "by_class does not give its metrics"),
    "fraction": (lambda fields: add(fields, "cosine", "recall@8", 0.0026), True, "no whole number of its 192 queries"),
    "no classes": (lambda fields: fields.update(by_class=None), True, "no results by class"),
    "gallery": (lambda fields: fields["evaluation"].update(gallery=100), True, "has 100 images to search in, and the card 192"),
    "loss": (lambda fields: fields.update(loss=None), True, "has a loss though nothing was trained, or none though it was"),
    "teacher": (lambda fields: fields.update(teacher="0" * 16), True, "was taught by other weights"),
    "code": (lambda fields: fields["environment"].update(code="0123456789+dirty"), True, "code that was not committed"),
    "images": (lambda fields: fields.update(data="0" * 16), True, "records are of several sets of images"),
    "setting": (lambda fields: fields["spec"].update(lr=0.5), True, "its spec has the id"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_a_hand_changed_is_refused(cli: Cli, folder: Path, name: str) -> None:
    """Also where tables were made anew of it."""
    change, seal, words = FORGED[name]
    rewritten(student(folder), change, seal)
    cli("report", "--results", folder)
    said = cli("check-submission", folder)
    assert said.code == 1 and words in said.out, said
    (line,) = (line for line in said.out.splitlines() if words in line)
    assert "rkd-d" in line or name == "images"


def test_tables_that_are_not_of_the_records_are_refused(cli: Cli, folder: Path) -> None:
    table = folder / "comparison.csv"
    table.write_text(table.read_text() + "\n")
    path = next(folder.glob("tuning/rkd-d-*.json"))
    path.write_text(json.dumps(fields_of(path)))
    said = cli("check-submission", folder)
    assert said.code == 1 and "comparison.csv differs" in said.out and "has no digest" in said.out
    assert "2 faults\n" in said.out


def test_numbers_that_agree_with_each_other_are_told_by_a_run(cli: Cli, folder: Path, data_dir: Path) -> None:
    rewritten(student(folder), better)
    assert cli("report", "--results", folder).code == 0
    assert cli("check-submission", folder).code == 0
    said = cli("check-submission", folder, "--rerun", "5", "--data", data_dir, "--device", "cpu")
    assert (
        said.code == 1
        and "no faults, 1 of 5 reruns failed" in said.out
        and "a fault: metrics differ by up to 10.42" in said.out
    )


def test_runs_that_are_missing_are_told(cli: Cli, folder: Path) -> None:
    student(folder, "triplet").unlink()
    teacher = next(path for path in folder.glob("runs/triplet-*.json") if fields_of(path)["spec"]["dim"] == 16)
    path = student(folder)
    rewritten(path, lambda fields: None)
    path.write_text(json.dumps({name: value for name, value in fields_of(path).items() if name != "digest"}))
    teacher.unlink()
    assert cli("report", "--results", folder).code == 0
    said = cli("check-submission", folder)
    assert said.code == 1 and "has no digest" in said.out
    assert "triplet conv4-8-8: has no run of seed" in said.out
    assert "of which there is no record (and 1 more)\n" in said.out and "4 faults\n" in said.out


def test_settings_of_ones_own_are_told(cli: Cli, folder: Path, data_dir: Path) -> None:
    """And choices that their records do not give."""
    words = [*RUN[:-4], "--methods", "rkd-d", "--seeds", "0,1", "--data", data_dir, "--results", folder.parents[1]]
    assert cli("run", *words, "--set", "lr=0.5").code == 0
    for path in folder.glob("runs/*.json"):
        rewritten(path, elsewhere)
    own = folder / "tuned.toml"
    (chosen,) = read_tuned(own)["rkd-d"]
    other = {1e-3: 1e-2, 1e-2: 1e-3}[chosen.values["lr"]]
    assert cli("report", "--results", folder).code == 0
    said = cli("check-submission", folder)
    assert said.code == 1 and "is neither as the preset says nor as it was tuned, in lr (and 1 more)\n" in said.out, (
        said
    )
    write_tuned(own, {**read_tuned(own), "rkd-d": [Tuned({"lr": other})]}, read_reasons(own))
    said = cli("check-submission", folder)
    assert f"rkd-d has {{'lr': {other}}}, and its records in tuning/ give {chosen.values}" in said.out, said


def test_words_that_are_wrong(cli: Cli, folder: Path) -> None:
    assert_one_line(cli("check-submission", folder.parent), 2, "name the folder of a data set and preset")
    assert_one_line(cli("check-submission", folder, "--rerun", "99"), 2, "has 5 runs that train something")
