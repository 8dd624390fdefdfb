"""What is said of a record that was trained again: equal to the bit, rounding or a fault; and the exit code that goes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, fields_of
from made_records import student

from benchmark.commands.verify import threads_of, verdict
from benchmark.record import Record
from benchmark.training.student import Student

HERE = {"code": "1a2b3c4", "method": "abcd", "device": "cpu AVX512", "threads": "2", "torch": "2.14.1"}


@pytest.mark.parametrize(
    ("again", "reason", "names"),
    [
        ({}, "machine, threads, libraries and code are the same", []),
        ({"code": "5d6e7f8"}, "the code has changed", ["code 1a2b3c4, now 5d6e7f8"]),
        ({"method": "bcde"}, "the code has changed", ["method abcd, now bcde"]),
        ({"device": "cpu AVX2"}, "the machine, threads or libraries are others", ["device cpu AVX512, now cpu AVX2"]),
        ({"threads": "4"}, "the machine, threads or libraries are others", ["threads 2, now 4"]),
        (
            {"torch": "2.15.0", "code": "5d6e7f8"},
            "the machine, threads or libraries are others",
            ["torch 2.14.1, now 2.15.0", "code 1a2b3c4, now 5d6e7f8"],
        ),
    ],
)
@pytest.mark.parametrize(
    ("recall", "judged", "failed"), [(0.6, "rounding", False), (0.6025, "rounding", False), (0.61, "a fault", True)]
)
def test_other_weights(
    again: dict[str, str], reason: str, names: list[str], recall: float, judged: str, failed: bool
) -> None:
    """What they are called hangs on the metrics alone; the rest is a reason that stands beside it."""
    said, code = verdict(*pair(again, recall=recall), tolerance=0.5)
    assert said.startswith(f"other weights; {judged}: metrics differ by up to") and code is failed, said
    assert f"up to {100 * (recall - 0.6):.2f} points, 0.5 are allowed" in said and reason in said
    assert all(name in said for name in names) and said.count(", now ") == len(names)
    assert ("fault" in said) == failed


def test_the_same_weights_are_the_same_on_any_machine() -> None:
    record, again = pair({"torch": "2.15.0"}, weights="first")
    assert verdict(record, again, 0.5) == ("the same weights, to the bit", False)
    assert verdict(record, again, 0.0) == ("the same weights, to the bit", False)


def test_the_same_weights_and_other_metrics() -> None:
    """The record was changed, or what measures it."""
    near, far = (verdict(*pair({}, recall=recall, weights="first"), 0.5) for recall in (0.601, 0.7))
    assert near[0].startswith("the same weights; rounding: ") and not near[1]
    assert far[0].startswith("the same weights; a fault: ") and far[1]


def test_a_teacher_that_was_trained_again() -> None:
    said, failed = verdict(*pair({}, teacher="other"), 0.5)
    assert said.startswith("other weights; rounding") and "its teacher was trained again" in said and not failed


def test_what_an_older_record_lacks_is_no_difference() -> None:
    record, again = pair({})
    older = {name: value for name, value in HERE.items() if name not in ("method", "torch")}
    said, _ = verdict(record.model_copy(update={"environment": older}), again, 0.5)
    assert "code are the same" in said and "now" not in said


def test_a_metric_that_one_of_them_lacks_is_not_compared() -> None:
    record, again = pair({}, recall=0.61)
    lean = record.evaluation.model_copy(update={"l2": {"recall@1": 0.6}, "cosine": {"recall@1": 0.6}})
    assert verdict(record.model_copy(update={"evaluation": lean}), again, 0.5)[1]
    assert not verdict(record, again.model_copy(update={"evaluation": lean}), 0.5)[1]


def pair(changes: dict[str, str], recall: float = 0.6, **fields: Any) -> tuple[Record, Record]:
    """A record, and the same run in an environment that has changed."""
    record = student("rkd-d", 0.6).model_copy(update={"environment": HERE, "weights": "first", "teacher": "its"})
    again = {"environment": HERE | changes, "weights": "second", "evaluation": student("rkd-d", recall).evaluation}
    return record, record.model_copy(update=again | fields)


@pytest.mark.parametrize(("written", "first"), [("2", 2), ("2, 1", 2), ("", 0), ("many", 0), ("0", 0), (None, 0)])
def test_the_threads_of_a_record(written: str | None, first: int) -> None:
    environment = {} if written is None else {"threads": written}
    assert threads_of(student("rkd-d", 0.6).model_copy(update={"environment": environment})) == first


def test_a_run_is_done_again_by_the_threads_that_it_began_with(
    cli: Callable[..., Result], smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also its teacher; and where this machine has others that is said."""
    used: list[int] = []
    step = Student.train_step
    monkeypatch.setattr(
        Student, "train_step", lambda self, *given: (used.append(torch.get_num_threads()), step(self, *given))[1]
    )
    assert cli(*smoke, "--methods", "rkd-d", "--steps", "2", "--set", "teacher.steps=2").code == 0
    assert used == [torch.get_num_threads()] * 4
    for path in tmp_path.glob("*/*/runs/*.json"):
        fields = fields_of(path)
        fields["environment"]["threads"] = "3, 2" if "rkd-d" in path.name else "2"
        path.write_text(json.dumps(fields))
    for path in tmp_path.glob("*/*/checkpoints/*"):
        path.unlink()
    used.clear()
    before = torch.get_num_threads()
    id = next(tmp_path.glob("*/*/runs/rkd-d-*.json")).stem.rpartition("-")[2]
    data = smoke[smoke.index("--data") + 1]
    result = cli("verify", "--results", tmp_path, "--rerun", id, "--data", data, "--device", "cpu")
    assert used == [2, 2, 3, 3] and torch.get_num_threads() == before, result
    for count in (2, 3):
        assert f"{count} threads for this group, as it had before; this machine has {before} thread" in result.out
