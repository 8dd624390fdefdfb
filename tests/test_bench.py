"""What `benchmark bench` prints is measured: both forms, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from conftest import Result

from benchmark.bench import loss
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
