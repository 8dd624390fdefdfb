"""Where groups run does not matter to what comes of them; what befalls a process is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import assert_one_line, tiny_spec
from test_lockstep import assert_equal, start, weights, workspace

from benchmark.machine import Threads
from benchmark.record import Record
from benchmark.spec import Spec, waves
from benchmark.store import Store
from benchmark.training import group
from benchmark.training.context import RunContext
from benchmark.training.executors import Task, parted
from benchmark.training.executors import processes as children
from benchmark.training.executors.local import local
from benchmark.training.executors.processes import processes
from benchmark.training.group import Failure
from benchmark.training.worker import packed, perform


def groups(steps: int = 6) -> list[list[Spec]]:
    students = [
        tiny_spec(method, views=2, teacher=None, seed=seed, steps=steps)
        for method in ("triplet", "contrastive")
        for seed in (0, 1)
    ]
    (wave,) = waves([*students, tiny_spec("arcface", views=2, lr=1e30, steps=steps)])
    return wave


def dies(*_: Any) -> None:
    os._exit(7)


def stop_at(step: int) -> Callable[[int, object], None]:
    def watch(done: int, losses: object) -> None:
        if done == step:
            raise KeyboardInterrupt

    return watch


def test_processes_give_what_one_process_gives(data_dir: Path, tmp_path: Path) -> None:
    one, many = workspace(data_dir, tmp_path / "one"), workspace(data_dir, tmp_path / "many")
    losses: dict[str, float] = {}
    expected = {outcome.spec.id: outcome for outcome in local(Task(one), groups())}
    task = Task(many, watch=lambda group: lambda step, latest: losses.update(latest))
    outcomes = {outcome.spec.id: outcome for outcome in processes(task, groups())}
    assert outcomes.keys() == expected.keys() and len(outcomes) == 5
    for id, outcome in expected.items():
        if isinstance(outcome, Failure):
            assert outcome.message == outcomes[id].message  # type: ignore[union-attr]
            continue
        other = outcomes[id]
        assert isinstance(other, Record) and other.environment["threads"] == "1" and id in losses
        assert other.metrics == pytest.approx(outcome.metrics, abs=0.01)  # other numbers of threads round differently
        assert many.store.finished(outcome.spec)
    assert sum(isinstance(outcome, Failure) for outcome in outcomes.values()) == 1


@pytest.mark.parametrize("kept", [{}, {"__file__": "notebook.py", "__spec__": None}])
def test_main_is_afterwards_as_it_was(monkeypatch: pytest.MonkeyPatch, kept: dict[str, Any]) -> None:
    """A notebook has no file: one of None would be told to every library that asks for it."""
    main = ModuleType("__main__")
    for name in ("__file__", "__spec__"):
        vars(main).pop(name, None)
    vars(main).update(kept)
    before = dict(vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with children._main_unread():
        assert getattr(main, "__file__", None) is None
    assert vars(main) == before


def test_two_groups_do_not_train_in_one_process_at_a_time(data_dir: Path, tmp_path: Path) -> None:
    """As an executor with threads would have it: the second group fails, and the first one is what it is alone."""
    whole, two = workspace(data_dir, tmp_path / "whole"), workspace(data_dir, tmp_path / "two")
    first, second = ([tiny_spec("contrastive", seed=seed, teacher=None)] for seed in (0, 1))
    list(local(Task(whole), [first]))
    with ThreadPoolExecutor(1) as pool:

        def watch(step: int, losses: Mapping[str, float]) -> None:
            if step == 2:
                other.extend(pool.submit(lambda: list(local(Task(two), [second]))).result())

        other: list[Any] = []
        list(local(Task(two, watch=lambda group: watch), [first]))
    (failure,) = other
    assert isinstance(failure, Failure) and failure.message.startswith("two groups cannot train in one process")
    assert_equal(weights(two, first[0]), weights(whole, first[0]))
    (later,) = local(Task(two), [second])
    assert isinstance(later, Record)


@pytest.mark.parametrize(
    ("sizes", "workers", "parts"),
    [
        ([4, 4, 4], 2, [4, 4, 2, 2]),
        ([4], 2, [2, 2]),
        ([4, 4], 2, [4, 4]),
        ([3, 3, 5], 4, [2, 1, 2, 1, 3, 2]),
        ([5], 4, [2, 1, 1, 1]),
        ([1], 4, [1]),
        ([2, 9, 9], 1, [2, 9, 9]),
    ],
)
def test_groups_are_parted_where_cores_would_idle(sizes: list[int], workers: int, parts: list[int]) -> None:
    numbers = iter(range(sum(sizes)))
    groups = [[tiny_spec(seed=next(numbers)) for _ in range(size)] for size in sizes]
    given = parted(groups, workers)
    assert [len(part) for part in given] == parts
    assert sorted(spec.seed for part in given for spec in part) == list(range(sum(sizes)))
    assert all(any(set(part) <= set(group) for group in groups) for part in given)


def test_groups_are_parted_as_asked_for() -> None:
    groups = [[tiny_spec(seed=seed) for seed in range(size)] for size in (5, 1)]
    assert [[spec.seed for spec in part] for part in parted(groups, 2, 3)] == [[0, 3], [1, 4], [2], [0]]


def test_a_run_says_where_it_would_run_and_what_cannot_be(cli: Any, smoke: list[str]) -> None:
    dry = cli(*smoke, "--methods", "triplet,rkd-d,rkd-a", "--executor", "processes", "--parts", 2, "--dry-run")
    lines = [line for line in dry.out.splitlines() if line.startswith("wave ")]
    assert lines == [
        f"wave {wave}: processes, workers: {children.cores()}, parts: 2, runs in a part: up to 1" for wave in (1, 2)
    ]
    tuned = ["tune", *smoke[1:5], "--methods", "triplet", "--trials", "4", *smoke[-4:]]
    dry = cli(*tuned, "--executor", "processes", "--parts", 4, "--dry-run")
    assert f"processes, workers: {children.cores()}, parts: 4, runs in a part: up to 1" in dry.out, dry
    assert_one_line(cli(*smoke, "--executor", "procesess"), 2, "unknown executor", "'processes'")
    assert_one_line(cli(*smoke, "--parts", "0"), 2, "--parts wants 1 or more")


def test_parts_in_processes_are_what_one_command_gives(cli: Any, smoke: list[str], tmp_path: Path) -> None:
    words = [*smoke[:-2], "--methods", "triplet,hinton,rkd-d", "--set", "teacher.steps=5"]
    folders = [tmp_path / "one", tmp_path / "many"]
    for folder, more in zip(folders, ([], ["--executor", "processes", "--parts", "3"]), strict=True):
        assert cli(*words, "--results", folder, *more).code == 0
    one, many = ([*Store(folder / "tiny" / "smoke")] for folder in folders)
    assert len(one) == 4 and [record.weights for record in one] == [record.weights for record in many]
    assert [record.metrics for record in one] == [record.metrics for record in many]


def test_an_executor_without_its_package_is_a_line(
    cli: Any, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "benchmark.training.executors.ray", raising=False)
    assert_one_line(cli(*smoke, "--executor", "ray"), 2, "pip install 'embedding-distillation-benchmark[ray]'")
    assert not any(tmp_path.iterdir())


def test_a_worker_says_what_it_cannot_see(data_dir: Path, tmp_path: Path) -> None:
    """On a machine that lacks a folder of this one, or has other code; it writes nothing."""
    space = workspace(data_dir, tmp_path / "results")
    space.store.checkpoints.mkdir(parents=True)
    spec = tiny_spec()
    with packed(Task(space)) as parcel:
        elsewhere = replace(parcel.context, data_dir=tmp_path / "none")
        other = replace(parcel.context, sources={**parcel.context.sources, "training/": "0"})
        cannot = {
            f"cannot see the results folder {tmp_path / 'results'}": replace(
                parcel, mark=parcel.mark.with_name("none")
            ),
            f"cannot see the data folder {tmp_path / 'none'}": replace(parcel, context=elsewhere),
            "has another version of the suite's code": replace(parcel, context=other),
        }
        for why, sent in cannot.items():
            (failure,) = perform(sent, [spec], lambda kind, content: None)
            assert isinstance(failure, Failure) and failure.spec == spec and why in failure.message
        assert not space.store.done(spec)
        (record,) = perform(parcel, [spec], lambda kind, content: None)
        assert isinstance(record, Record) and space.store.finished(spec)
    assert not parcel.mark.exists()


def test_a_process_that_dies_fails_its_group(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_work", dies)
    outcomes = list(processes(Task(workspace(data_dir, tmp_path)), groups()[:1]))
    assert [type(outcome) for outcome in outcomes] == [Failure] * len(groups()[0])
    assert all("its process was killed" in outcome.message for outcome in outcomes if isinstance(outcome, Failure))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_is_killed_takes_no_other_along(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    """Four students in two children; a third pair goes on in a new one."""
    monkeypatch.setattr(children, "cores", lambda: 2)
    killed: list[int] = []

    def watch(specs: object) -> Callable[[int, Mapping[str, float]], None]:
        def kill(step: int, losses: Mapping[str, float]) -> None:
            if not killed:
                pid = multiprocessing.active_children()[0].pid
                assert pid
                killed.append(pid)
                os.kill(pid, sent)

        return kill

    seeds = [
        [tiny_spec(method, views=2, seed=seed, steps=100) for method in ("triplet", "arcface")] for seed in range(3)
    ]
    space = workspace(data_dir, tmp_path)
    outcomes = list(processes(Task(space, watch=watch), seeds))
    lost = [outcome.spec for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(outcomes) == 6 and lost and lost in seeds
    # What it had done is not lost.
    kept = [outcome for outcome in processes(Task(space), [lost]) if isinstance(outcome, Record)]
    assert len(kept) == 2


@pytest.mark.parametrize("sent", [signal.SIGKILL])
def test_a_parent_that_dies_takes_its_children_with_it(data_dir: Path, tmp_path: Path, sent: signal.Signals) -> None:
    process = start(data_dir, tmp_path, "--set", "views=2", "--set", "teacher.steps=2", steps=10**6)
    assert process.stdout is not None
    for line in process.stdout:
        if f"/{10**6}" in line:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = [int(word) for thread in children.parent.parent.glob("*/children") for word in thread.read_text().split()]
    assert pids
    process.send_signal(sent)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As on a machine of two cores, where the user has chosen nothing."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def machine(monkeypatch: pytest.MonkeyPatch, *, busy: bool) -> None:
    """One thread is best where it is busy."""
    monkeypatch.setattr("benchmark.machine.share", lambda: 0.5 if busy else 1.0)
    monkeypatch.setattr(Threads, "_choose", lambda self, why: torch.set_num_threads(1))


def again(space: RunContext, spec: Spec) -> None:
    space.store.path(spec).unlink()


def test_a_group_goes_on_with_the_threads_of_its_checkpoint(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    """Chosen on a busy machine before any weights are made, and written into its record, each change too; what comes after the group
    has all of them again."""
    made: list[int] = []
    make = group.make_student
    monkeypatch.setattr(group, "make_student", lambda *given: (made.append(torch.get_num_threads()), make(*given))[1])
    space, spec = workspace(data_dir, tmp_path), tiny_spec(steps=8)
    said: list[str] = []
    threads = Threads(said.append)
    machine(monkeypatch, busy=True)
    with pytest.raises(KeyboardInterrupt):
        list(local(Task(space, 0, lambda specs: stop_at(5), threads), [[spec]]))
    assert torch.get_num_threads() == 2 and made == [1]

    machine(monkeypatch, busy=False)
    (record,) = local(Task(space, threads=threads), [[spec]])
    assert isinstance(record, Record) and record.environment["threads"] == "1"
    assert torch.get_num_threads() == 2 and made == [1, 1]
    assert said == ["1 thread for this group, as it had before; this machine has 2 threads"]
    stopped = weights(space, spec)
    again(space, spec)
    torch.set_num_threads(1)
    list(local(Task(space), [[spec]]))
    assert_equal(stopped, weights(space, spec))

    torch.set_num_threads(2)
    again(space, spec)
    (quiet,) = local(Task(space, threads=threads), [[spec]])
    assert isinstance(quiet, Record) and quiet.environment["threads"] == "2"
    again(space, spec)
    with pytest.raises(KeyboardInterrupt):
        list(local(Task(space, 0, lambda specs: stop_at(5), threads), [[spec]]))
    torch.set_num_threads(1)
    (record,) = local(Task(space), [[spec]])  # as where nothing is chosen
    assert isinstance(record, Record) and record.environment["threads"] == "2, 1"


def test_a_checkpoint_by_other_threads_than_the_groups_begins_anew(data_dir: Path, tmp_path: Path) -> None:
    """As of two groups that were stopped, one of them on a busy machine, and are one now."""
    said: list[str] = []
    space = workspace(data_dir, tmp_path)
    space.progress = lambda what, done, of: said.append(what)
    first, second = tiny_spec(), tiny_spec("contrastive")
    before = torch.get_num_threads()
    try:
        for spec, count in ((first, 1), (second, 2)):
            torch.set_num_threads(count)
            with pytest.raises(KeyboardInterrupt):
                list(group.run([spec], space, stop_at(3), 0))
        torch.set_num_threads(1)
        records = list(group.run([first, second], space))
    finally:
        torch.set_num_threads(before)
    assert [record.environment["threads"] for record in records if isinstance(record, Record)] == ["1", "1"]
    assert said == [f"{second.label}: its checkpoint is of other threads; it starts again from step 0"]
