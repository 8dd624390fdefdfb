"""From the command to a loss it is not far: whoever looks for where a number comes from passes few functions."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

import benchmark
from benchmark.methods.rkd import RKDDistance

MOST = 12  # frames of ours, the loss included


def test_few_functions_lie_between_the_command_and_a_loss(
    cli: Callable[..., Result], smoke: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = str(Path(benchmark.__file__).parent)
    passed: list[list[str]] = []
    forward = RKDDistance.forward

    def watched(self: RKDDistance, batch: Any) -> Any:
        stack = [frame for frame in traceback.extract_stack() if frame.filename.startswith(package)]
        passed.append([frame.name for frame in stack] + ["forward"])
        return forward(self, batch)

    monkeypatch.setattr(RKDDistance, "forward", watched)
    assert cli(*smoke, "--methods", "rkd-d", "--steps", "2", "--set", "teacher.steps=2").code == 0
    assert passed and all(frames[0] == "run_command" and len(frames) <= MOST for frames in passed), passed[0]
