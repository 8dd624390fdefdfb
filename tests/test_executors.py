"""Where groups run does not matter to what comes of them; what befalls a process is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_spec
from test_lockstep import workspace

from benchmark.machine import cores
from benchmark.spec import Spec, waves
from benchmark.store import Record
from benchmark.training import executors
from benchmark.training.executors import Task, local, processes
from benchmark.training.group import Failure


def groups() -> list[list[Spec]]:
    students = [
        tiny_spec(method, views=2, teacher=None, seed=seed) for method in ("triplet", "contrastive") for seed in (0, 1)
    ]
    (wave,) = waves([*students, tiny_spec("arcface", views=2, lr=1e30)])
    return wave


def dies(*_: Any) -> None:
    os._exit(7)


def test_processes_give_what_one_process_gives(data_dir: Path, tmp_path: Path) -> None:
    one, many = workspace(data_dir, tmp_path / "one"), workspace(data_dir, tmp_path / "many")
    losses: dict[str, float] = {}
    expected = {outcome.spec.id: outcome for outcome in local(Task(one), groups())}
    task = Task(many, watch=lambda group: lambda step, found: losses.update(found))
    found = {outcome.spec.id: outcome for outcome in processes(task, groups())}
    assert found.keys() == expected.keys() and len(found) == 5
    for id, outcome in expected.items():
        if isinstance(outcome, Failure):
            assert outcome.message == found[id].message  # type: ignore[union-attr]
            continue
        other = found[id]
        assert isinstance(other, Record) and other.environment["threads"] == "1" and id in losses
        assert other.metrics == pytest.approx(outcome.metrics, abs=0.01)  # other numbers of threads round differently
        assert many.store.weights(outcome.spec).exists()
    assert sum(isinstance(outcome, Failure) for outcome in found.values()) == 1


def test_as_many_at_a_time_as_the_scheduler_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 8})
    assert cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    assert cores() == 64


def test_a_process_that_dies_fails_its_group(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_work", dies)
    outcomes = list(processes(Task(workspace(data_dir, tmp_path)), groups()[:1]))
    assert [type(outcome) for outcome in outcomes] == [Failure] * len(groups()[0])
    assert all(
        "its process ended with code 7" in outcome.message for outcome in outcomes if isinstance(outcome, Failure)
    )
