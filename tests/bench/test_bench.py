"""What `benchmark bench` prints is measured: both forms, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, assert_one_line

from benchmark import timing
from benchmark.bench import executors, loss, measure, performance, report, retrieval, training
from benchmark.errors import BenchmarkError
from benchmark.methods.base import distances
from benchmark.methods.rkd import angle_loss, distance_loss

WHERE = performance.Environment(device="cpu", threads="2", torch="2", code="0123456789")


def rows_of(cli: Callable[..., Result], section: str) -> list[dict[str, Any]]:
    """What `bench SECTION --json` prints of that section alone."""
    found = json.loads(cli("bench", section, "--json").out)["sections"]
    assert list(found) == [section] and found[section]["environment"]["threads"]
    rows: list[dict[str, Any]] = found[section]["rows"]
    return rows


def test_loss(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "PLAIN", (160,))
    monkeypatch.setattr(loss, "OURS", (160, 96))
    first, second = rows_of(cli, "loss")
    assert first["batch"] == 160 and second["batch"] == 96 and "plain [s]" not in second
    assert first["times faster"] == pytest.approx(first["plain [s]"] / first["ours [s]"])
    # The published form holds the teacher's n x n x 512 differences.
    assert first["plain [MB]"] > 160 * 160 * 512 * 4 / 1e6 and first["plain [MB]"] > first["ours [MB]"] > 0


def test_both_forms_are_one_loss() -> None:
    student, teacher = torch.randn(16, 4, dtype=torch.float64), torch.randn(16, 6, dtype=torch.float64)
    ours = angle_loss(distances(student), distances(teacher))
    assert loss.plain_angle_loss(student, teacher).item() == pytest.approx(ours.item(), rel=1e-9)


USUAL = ("faiss, bare search", "ours", "AccuracyCalculator")


def test_retrieval(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 400, "PLAIN_ROWS": 300, "SMALL": 1000, "MILLION": 3000, "QUERIES": 20}.items():
        monkeypatch.setattr(retrieval, name, value)
    rows = rows_of(cli, "retrieval")
    assert [(row["rows"], row["Recall@"], row["way"]) for row in rows[:-2]] == [
        (n, at, way)
        for n, at, ways in (
            (400, "1 10 100 1000", USUAL),
            (400, "1", USUAL),
            (300, "1 10 100 1000", (*USUAL, "plain")),
        )
        for way in ways
    ]
    assert rows[0]["times the bare search"] == 1 and rows[1]["times ours"] == 1
    assert rows[2]["times ours"] == pytest.approx(rows[2]["seconds"] / rows[1]["seconds"])
    exact, listed = rows[-2:]
    assert exact["neighbours found"] == 1 and 0 < listed["neighbours found"] <= 1
    assert exact["a million queries [h]"] == pytest.approx(exact["seconds"] * 3000 / 20 / 3600)


def test_all_ways_find_the_same() -> None:
    """Recall@1 of ours and of the plain way; precision at 1 is its name in pytorch-metric-learning."""
    ours, plain, calculator = (
        retrieval.form(name, 300, 16, (1, 10))() for name in ("ours", "plain", "AccuracyCalculator")
    )
    assert ours.cosine["recall@1"] == pytest.approx(plain[0], abs=1e-6)  # type: ignore[attr-defined, index]
    assert ours.cosine["recall@1"] == pytest.approx(calculator["precision_at_1"], abs=1e-6)  # type: ignore[attr-defined, index]
    short = retrieval.form("AccuracyCalculator", 300, 16, (1,))()
    assert {name: float(value) for name, value in short.items()} == pytest.approx(calculator, abs=1e-6)  # type: ignore[attr-defined]
    assert ours.cosine["map@r"] == pytest.approx(calculator["mean_average_precision_at_r"], abs=1e-6)  # type: ignore[attr-defined, index]


def test_report(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "REPEATS", 1)
    rows = {row["command"]: row for row in rows_of(cli, "report")}
    made = rows["benchmark --help"]
    assert made["times python"] == pytest.approx(made["seconds"] / rows["python"]["seconds"])
    assert rows["benchmark list methods"]["memory [MB]"] < rows["python, import torch"]["memory [MB]"]


SMALL: dict[str, Any] = {"batch": 8, "backbone": "conv4-8", "image": 32, "resize": 36}


def test_training(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = training.TEACHER.replace(dim=8, **SMALL)
    monkeypatch.setattr(training, "TEACHER", teacher)
    monkeypatch.setattr(training, "STUDENT", training.STUDENT.replace(dim=4, teacher=teacher, steps=3, **SMALL))
    monkeypatch.setattr(training, "STUDENTS", 2)
    rows = {row["what"]: row for row in rows_of(cli, "training")}
    plain, ours, bare = (
        rows[name]
        for name in (
            "plain loop, 2 students one after the other: 2 times one",
            "lockstep, 2 students",
            "bare passes of the same networks",
        )
    )
    assert plain["plain / this"] == 1 and bare["this / bare"] == 1
    assert ours["plain / this"] == pytest.approx(plain["seconds"] / ours["seconds"])
    assert ours["this / bare"] == pytest.approx(ours["seconds"] / bare["seconds"])
    parts = [row["seconds"] for name, row in rows.items() if name.startswith("of lockstep") and "losses" not in name]
    assert 0 < sum(parts) < ours["seconds"] and ours["memory [MB]"] > 0


def test_executors(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is left out, which tests of its own start."""
    monkeypatch.setattr(executors, "GRID", "run --yes --dataset tiny --preset smoke --seeds 0 --set views=2")
    monkeypatch.setattr(executors, "METHODS", ("triplet", "rkd-d"))
    monkeypatch.setattr(executors, "WAYS", {name: executors.WAYS[name] for name in list(executors.WAYS)[:2]})
    monkeypatch.setattr(executors, "STEPS", 2)
    monkeypatch.setattr(executors, "ROUNDS", 1)
    local, processes, hand = rows_of(cli, "executors")
    assert local["times faster than one process"] == hand["times by hand"] == 1
    assert processes["times by hand"] == pytest.approx(processes["seconds"] / hand["seconds"])
    monkeypatch.setattr(executors, "METHODS", ("none",))
    assert_one_line(cli("bench", "executors"), 1, "a measured command failed", "unknown method")


def test_plain_loop_has_our_distance_loss() -> None:
    student, teacher = torch.randn(16, 4, dtype=torch.float64), torch.randn(16, 6, dtype=torch.float64)
    ours = distance_loss(distances(student), distances(teacher))
    assert loss.plain_distance_loss(student, teacher).item() == pytest.approx(ours.item(), rel=1e-6)


def test_a_section_takes_the_place_of_its_earlier_self(tmp_path: Path) -> None:
    row = {"what": "lockstep, 8 students", "plain / this": 4.5, "this / bare": 1.02}
    performance.write_performance(tmp_path, {"training": performance.Section(environment=WHERE, rows=[row])})
    other = {"batch": 512.0, "times faster": 9.0, "times less memory": 40.0}
    performance.write_performance(tmp_path, {"loss": performance.Section(environment=WHERE, rows=[other])})
    page = (tmp_path / "performance.md").read_text()
    assert "code 0123456789" in page and "4.5" in page and "1.02" in page and "512" in page
    performance.write_performance(
        tmp_path, {"training": performance.Section(environment=WHERE, rows=[{**row, "plain / this": 6.0}])}
    )
    page = (tmp_path / "performance.md").read_text()
    assert (
        "4.5" not in page
        and "512" in page
        and performance.read_performance(tmp_path / "performance.json")["training"].rows
        == [{**row, "plain / this": 6.0}]
    )


def test_numbers_are_shown_by_three_digits() -> None:
    assert [performance.shown(value) for value in ("x", 2.0, 0.012345, 12345.6, math.pi)] == [
        "x", "2", "0.0123", "12,346", "3.14",
    ]  # fmt: skip


def test_committed_page_is_what_its_record_gives() -> None:
    results = Path(__file__).parents[2] / "results"
    record = performance.read_performance(results / "performance.json")
    assert {"training", "loss", "retrieval", "report"} <= record.keys() <= performance.TITLES.keys()
    assert (results / "performance.md").read_text() == performance.performance_page(record)


def test_a_damaged_record_is_one_line(cli: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "performance.json").write_text("{}")
    made = cli("bench", "loss", "--to", str(tmp_path))
    assert made.code == 1 and "is no record of a benchmark" in made.err
    section = {"environment": {"threads": "2"}, "rows": []}
    (tmp_path / "performance.json").write_text(json.dumps({"sections": {"loss": section}}))
    assert_one_line(cli("bench", "loss", "--to", tmp_path), 1, "is no record of a benchmark")


def test_nothing_is_measured_for_a_folder_that_cannot_be_written(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "loss_rows", lambda: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    assert_one_line(cli("bench", "loss", "--to", tmp_path / "file"), 1, "cannot write to")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare_to_die() -> Callable[[], object]:
    return die


def test_a_measured_process_that_is_killed_is_an_error_of_ours() -> None:
    with pytest.raises(BenchmarkError, match="was killed"):
        measure.apart(die)
    with pytest.raises(BenchmarkError, match="was killed"):
        measure.cost(prepare_to_die, (), ())


INTERRUPTED = """
import os, signal, time
from pathlib import Path
from benchmark.bench.measure import apart

def wait(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(1000)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    apart(wait, "worker")
"""


def test_an_interrupt_ends_the_measured_process_too(tmp_path: Path) -> None:
    """As `timeout` sends it: to the command, and once more to all of its processes."""
    (tmp_path / "script.py").write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE
    )
    worker = tmp_path / "worker"
    while not (worker.exists() and worker.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(worker.read_text()), 0)


def hold(megabytes: int) -> Callable[[], object]:
    return lambda: b"x" * (megabytes * 2**20)


def test_what_a_function_holds_is_its_peak() -> None:
    assert 40 < measure.cost(hold, (48,), (1,)).peak / 2**20 < 60


def test_the_first_time_does_not_count() -> None:
    calls: list[int] = []
    times = timing.repeated(lambda: calls.append(1), most=3)
    assert len(calls) == 4 and len(times.seconds) == 3 and times.spread >= 0


def test_slow_functions_are_repeated_twice() -> None:
    assert len(timing.repeated(lambda: None, enough=0.0).seconds) == 2


def test_times_are_medians() -> None:
    times = timing.Times((4.0, 1.0, 2.0))
    assert times.typical == 2 and times.spread == 1.5
