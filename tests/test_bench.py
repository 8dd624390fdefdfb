"""What `benchmark bench` prints is measured: both forms, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from conftest import Result

from benchmark.bench import loss, report, retrieval
from benchmark.methods.base import distances
from benchmark.methods.rkd import angle_loss


def test_loss(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "PLAIN", (160,))
    monkeypatch.setattr(loss, "OURS", (160, 96))
    first, second = json.loads(cli("bench", "loss", "--json").out)
    assert first["batch"] == 160 and second["batch"] == 96 and "plain [s]" not in second
    assert first["times faster"] == pytest.approx(first["plain [s]"] / first["ours [s]"])
    # The published form holds the teacher's n x n x 512 differences.
    assert first["plain [MB]"] > 160 * 160 * 512 * 4 / 1e6 and first["plain [MB]"] > first["ours [MB]"] > 0


def test_both_forms_are_one_loss() -> None:
    student, teacher = torch.randn(16, 4, dtype=torch.float64), torch.randn(16, 6, dtype=torch.float64)
    ours = angle_loss(distances(student), distances(teacher))
    assert loss.plain(student, teacher).item() == pytest.approx(ours.item(), rel=1e-9)


def test_retrieval(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 400, "PLAIN_ROWS": 300, "SMALL": 50, "MANY": 3000, "QUERIES": 20, "LISTS": 8}.items():
        monkeypatch.setattr(retrieval, name, value)
    rows = json.loads(cli("bench", "retrieval", "--json").out)
    assert [row["way"] for row in rows[:3]] == ["faiss, bare search", "ours", "AccuracyCalculator"]
    assert rows[0]["times the bare search"] == 1 and rows[1]["times ours"] == 1
    assert rows[2]["times ours"] == pytest.approx(rows[2]["seconds"] / rows[1]["seconds"])
    exact, listed = rows[-2:]
    assert exact["neighbours found"] == 1 and 0 < listed["neighbours found"] <= 1
    assert exact["a million in a million [h]"] == pytest.approx(exact["seconds"] * 1e6 / 20 * 1e6 / 3000 / 3600)


def test_all_ways_find_the_same() -> None:
    """Recall@1 of ours and of the plain way; precision at 1 is its name in pytorch-metric-learning."""
    ours, plain, calculator = (retrieval.form(name, 300, 16)() for name in ("ours", "plain", "AccuracyCalculator"))
    assert ours.cosine["recall@1"] == pytest.approx(plain[0], abs=1e-6)  # type: ignore[attr-defined, index]
    assert ours.cosine["recall@1"] == pytest.approx(calculator["precision_at_1"], abs=1e-6)  # type: ignore[attr-defined, index]
    assert ours.cosine["map@r"] == pytest.approx(calculator["mean_average_precision_at_r"], abs=1e-6)  # type: ignore[attr-defined, index]


def test_report(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "REPEATS", 1)
    monkeypatch.setattr(report, "RECORDS", 30)
    rows = {row["command"]: row for row in json.loads(cli("bench", "report", "--json").out)}
    made = rows["benchmark report, 30 records"]
    assert made["times python"] == pytest.approx(made["seconds"] / rows["python"]["seconds"])
    assert rows["benchmark list methods"]["memory [MB]"] < rows["python, import torch"]["memory [MB]"]
    assert len({one.id for one in report.records(1000)}) == 1000
