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

from benchmark.commands import verify
from benchmark.commands.verify import allowed, judge_rerun, row_of, threads_of
from benchmark.record import Record
from benchmark.training.student import Student

HERE = {"code": "1a2b3c4", "method": "abcd", "device": "cpu AVX512", "threads": "2", "torch": "2.14.1"}
HERE |= {"processor": "some (6-143-8)"}
ROW = [student("rkd-d", recall, seed) for seed, recall in enumerate((0.6, 0.58, 0.6, 0.62))]


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
    ("recall", "judged", "failed"),
    [
        (0.6, "rounding", False),
        (0.6009, "rounding", False),
        (0.62, "within the", False),
        (0.8, "a fault, beyond", True),
    ],
)
def test_other_weights(
    again: dict[str, str], reason: str, names: list[str], recall: float, judged: str, failed: bool
) -> None:
    """What they are called hangs on the metrics alone; the rest is a reason that stands beside it."""
    said, code = judge_rerun(*pair(again, recall=recall), ROW)
    assert said.startswith(f"other weights; {judged}") and code is failed, said
    assert reason in said and all(name in said for name in names) and said.count(", now ") == len(names)
    assert ("fault" in said) == failed


def test_the_spread_by_hand() -> None:
    """Of the other seeds: 58, 60 and 62 %, sd 2, two degrees of freedom; of MAP@R half of it."""
    record, _ = pair({})
    t = 6.2053  # of Student's distribution with 2 degrees of freedom, at 98.75 %
    assert allowed(record, ROW, "recall@1") == pytest.approx(t * 2**0.5 * 2, rel=1e-4)
    assert allowed(record, ROW, "map@r") == pytest.approx(t * 2**0.5, rel=1e-4)
    # A median row of sd 1 counts as three seeds more: a variance of (2 x 4 + 3 x 1) / 5, with 5 degrees of freedom.
    median = [student("fitnet", recall, seed) for seed, recall in enumerate((0.49, 0.5, 0.51))]
    assert allowed(record, ROW + median, "recall@1") == pytest.approx(3.1634 * (2 * 11 / 5) ** 0.5, rel=1e-4)
    # With one other seed that is all there is; without any there is nothing.
    assert allowed(record, ROW[:2] + median, "recall@1") == pytest.approx(4.1765 * 2**0.5, rel=1e-4)
    assert allowed(record, ROW[:1] + median, "recall@1") is None and allowed(record, ROW[:2], "recall@1") is None


def test_a_wrong_record_does_not_widen_what_is_allowed() -> None:
    wrong = [student("rkd-d", 0.9), *ROW[1:]]
    assert allowed(wrong[0], wrong, "recall@1") == allowed(ROW[0], ROW, "recall@1")


def test_a_row_is_of_one_budget_and_generation() -> None:
    """And of any teacher."""
    spec = student("rkd-d", 0.6).spec
    assert spec.teacher is not None
    assert row_of(spec) == row_of(spec.replace(seed=5)) == row_of(spec.replace(teacher=spec.teacher.replace(seed=3)))
    size = {"backbone": spec.teacher.backbone, "dim": spec.teacher.dim}
    first = spec.replace(**size)
    others = spec.replace(dim=32), spec.replace(steps=1600), first, first.replace(teacher=first)
    assert len({row_of(each) for each in (spec, *others)}) == 5


def test_a_run_of_one_seed_is_equal_or_not() -> None:
    record, again = pair({}, recall=0.62)
    said, failed = judge_rerun(record, again, [record])
    assert failed and said.startswith("other weights; not equal: ") and "only equality can be judged" in said
    assert not judge_rerun(record, pair({}, recall=0.6005)[1], [record])[1]


def test_the_same_weights_are_the_same_on_any_machine() -> None:
    record, again = pair({"torch": "2.15.0"}, weights="first")
    assert judge_rerun(record, again, ROW) == ("the same weights, to the bit", False)


def test_the_same_weights_and_other_metrics() -> None:
    """The record was changed, or what measures it; seeds say nothing of that."""
    near, far = (judge_rerun(*pair({}, recall=recall, weights="first"), ROW) for recall in (0.6005, 0.62))
    assert near[0].startswith("the same weights; rounding: ") and not near[1]
    assert far[0].startswith("the same weights; a fault: ") and far[1]


def test_a_teacher_that_was_trained_again() -> None:
    said, failed = judge_rerun(*pair({}, teacher="other"), ROW)
    assert said.startswith("other weights; rounding") and "its teacher was trained again" in said and not failed


def test_what_an_older_record_lacks_is_no_difference() -> None:
    record, again = pair({})
    older = {name: value for name, value in HERE.items() if name not in ("method", "torch")}
    said, _ = judge_rerun(record.model_copy(update={"environment": older}), again, ROW)
    assert "code are the same" in said and "now" not in said
    del older["processor"]
    assert "on which processor" in judge_rerun(record.model_copy(update={"environment": older}), again, ROW)[0]


def test_the_code_that_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files where git knows the commit, of those that a run's numbers depend on; else rooms; nothing where only others have changed."""
    edited = ["cli.py", "data/fetch.py", "methods/base.py", "methods/nst.py", "methods/rkd.py", "report/cells.py"]
    record, again = pair({"code": "5d6e7f8"}, sources={"data/": "b", "training/": "c"})
    kept = record.model_copy(update={"sources": {"data/": "a", "training/": "c"}})
    monkeypatch.setattr(verify, "edited_since", lambda code: edited if code == "1a2b3c4" else [])
    versions = "the code has changed (code 1a2b3c4, now 5d6e7f8; "
    for each in (record, kept):  # the first one is of an older version, without digests
        assert f"{versions}cli.py; data/fetch.py; methods/base.py; methods/rkd.py)" in judge_rerun(each, again, ROW)[0]
    monkeypatch.setattr(verify, "edited_since", lambda code: [f"data/{i}.py" for i in range(13)] + edited)
    assert "files of the package's top" in (many := judge_rerun(kept, again, ROW)[0]) and "14 files of data" in many
    monkeypatch.setattr(verify, "edited_since", lambda code: [])
    assert f"{versions}data/)" in judge_rerun(kept, again, ROW)[0]
    same = kept.model_copy(update={"sources": again.sources})
    assert "code are the same" in judge_rerun(same, again, ROW)[0]


def test_a_metric_that_one_of_them_lacks_is_not_compared() -> None:
    record, again = pair({}, recall=0.61)
    lean = record.evaluation.model_copy(update={"l2": {"recall@1": 0.6}, "cosine": {"recall@1": 0.6}})
    assert "map@r" not in judge_rerun(record.model_copy(update={"evaluation": lean}), again, ROW)[0]
    assert not judge_rerun(record, again.model_copy(update={"evaluation": lean}), ROW)[1]


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
