"""What is said of a record that was trained again: whether other weights are rounding or a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, fields_of
from test_tables import student

from benchmark.commands.verify import threads_of, verdict
from benchmark.training.student import Student

HERE = {"code": "1a2b3c4", "method": "abcd", "device": "cpu AVX512", "threads": "2", "torch": "2.14.1"}


@pytest.mark.parametrize(
    ("again", "begins", "names"),
    [
        ({}, "a fault, as machine, threads, libraries and code are the same", []),
        ({"code": "5d6e7f8"}, "a fault, or what the code has changed", ["code 1a2b3c4, now 5d6e7f8"]),
        ({"method": "bcde"}, "a fault, or what the code has changed", ["method abcd, now bcde"]),
        ({"device": "cpu AVX2"}, "rounding, as the machine", ["device cpu AVX512, now cpu AVX2"]),
        ({"threads": "4"}, "rounding, as the machine", ["threads 2, now 4"]),
        ({"torch": "2.15.0", "code": "5d6e7f8"}, "rounding, as the machine", ["torch 2.14.1, now 2.15.0"]),
    ],
)
def test_other_weights(again: dict[str, str], begins: str, names: list[str]) -> None:
    said = verdict(*pair(again), worst=0.25, tolerance=0.5)
    assert said.startswith(f"other weights; {begins}"), said
    assert "metrics differ by up to 0.25 points, 0.5 are allowed" in said
    assert all(name in said for name in names) and said.count(", now ") == len(names)


def test_the_same_weights_are_the_same_on_any_machine() -> None:
    record, again = pair({"torch": "2.15.0"}, weights="same")
    assert verdict(record.model_copy(update={"weights": "same"}), again, 0.0, 0.5) == "the same weights, to the bit"


def test_a_teacher_that_was_trained_again() -> None:
    said = verdict(*pair({}, teacher="other"), 0.25, 0.5)
    assert said.startswith("other weights; which may be the teacher's") and "was trained again" in said


def test_what_an_older_record_lacks_is_no_difference() -> None:
    record, again = pair({})
    older = {name: value for name, value in HERE.items() if name not in ("method", "torch")}
    said = verdict(record.model_copy(update={"environment": older}), again, 0.25, 0.5)
    assert "a fault" in said and "now" not in said


def pair(changes: dict[str, str], **fields: Any) -> tuple[Any, Any]:
    """A record, and the same run in an environment that has changed."""
    record = student("rkd-d", 0.6).model_copy(update={"environment": HERE, "weights": "first", "teacher": "its"})
    again = {"environment": HERE | changes, "weights": "second", **fields}
    return record, record.model_copy(update=again)


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
