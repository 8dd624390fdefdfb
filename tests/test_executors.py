"""Where groups run does not matter to what comes of them; what befalls a process is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_spec
from test_lockstep import workspace

from benchmark.machine import Threads
from benchmark.spec import Spec, waves
from benchmark.store import Record
from benchmark.training import executors, group
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


def test_a_process_that_dies_fails_its_group(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_work", dies)
    outcomes = list(processes(Task(workspace(data_dir, tmp_path)), groups()[:1]))
    assert [type(outcome) for outcome in outcomes] == [Failure] * len(groups()[0])
    assert all(
        "its process ended with code 7" in outcome.message for outcome in outcomes if isinstance(outcome, Failure)
    )


def test_a_group_goes_on_with_the_threads_of_its_checkpoint(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen on a busy machine before any weights are made, and written into its record, each change too; what comes after the group
    has all of them again."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made: list[int] = []
    make = group.make_student
    monkeypatch.setattr(group, "make_student", lambda *given: (made.append(torch.get_num_threads()), make(*given))[1])
    busy = iter([0.5, 1.0, 0.5])
    monkeypatch.setattr("benchmark.machine.share", lambda: next(busy))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        space, spec = workspace(data_dir, tmp_path), tiny_spec(steps=8)
        said: list[str] = []
        threads = Threads(said.append)
        monkeypatch.setattr(Threads, "_fastest", lambda self: (1, 2.0))  # of a busy machine

        def stop_at_five(step: int, losses: object) -> None:
            if step == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(local(Task(space, 0, lambda specs: stop_at_five, threads), [[spec]]))
        assert torch.get_num_threads() == 2 and made == [1]
        (record,) = local(Task(space, threads=threads), [[spec]])
        assert isinstance(record, Record) and record.environment["threads"] == "1"
        assert torch.get_num_threads() == 2 and made == [1, 1] and len(said) == 2
        (quiet,) = local(Task(space, threads=threads), [[spec]])
        assert isinstance(quiet, Record) and quiet.environment["threads"] == "2"
        monkeypatch.setattr(Threads, "_fastest", lambda self: (2, 1.0))
        with pytest.raises(KeyboardInterrupt):
            list(local(Task(space, 0, lambda specs: stop_at_five, threads), [[spec]]))
        torch.set_num_threads(1)
        (record,) = local(Task(space), [[spec]])  # as by OMP_NUM_THREADS=1
        assert isinstance(record, Record) and record.environment["threads"] == "2, 1"
    finally:
        torch.set_num_threads(before)


def test_a_checkpoint_by_other_threads_than_the_groups_begins_anew(data_dir: Path, tmp_path: Path) -> None:
    """As of two groups that were stopped, one of them on a busy machine, and are one now."""
    said: list[str] = []
    space = workspace(data_dir, tmp_path)
    space.progress = lambda what, done, of: said.append(what)
    first, second = tiny_spec(), tiny_spec("contrastive")

    def stop_at_three(step: int, losses: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    before = torch.get_num_threads()
    try:
        for spec, count in ((first, 1), (second, 2)):
            torch.set_num_threads(count)
            with pytest.raises(KeyboardInterrupt):
                list(group.run([spec], space, stop_at_three, 0))
        torch.set_num_threads(1)
        records = list(group.run([first, second], space))
    finally:
        torch.set_num_threads(before)
    assert [record.environment["threads"] for record in records if isinstance(record, Record)] == ["1", "1"]
    assert said == [f"{second.label}: its checkpoint is of other threads; it starts again from step 0"]
