"""What is said of a record that was trained again: whether other weights are rounding or a fault."""

from __future__ import annotations

from typing import Any

import pytest
from test_tables import student

from benchmark.commands.verify import verdict

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
