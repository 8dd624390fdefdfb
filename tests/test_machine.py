"""How many threads a group gets of the cores that there are."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from benchmark.machine import Threads, prepare_process, share


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(3, 11)), raising=False)


def test_no_more_threads_than_cores_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr("benchmark.machine.cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    prepare_process("cpu")
    assert not asked
    monkeypatch.delenv("OMP_NUM_THREADS")
    prepare_process("cpu")
    assert asked == [2]
    monkeypatch.setattr("benchmark.machine.cores", lambda: 4)
    prepare_process("cpu")
    assert asked == [2]


def test_float32_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    prepare_process("cpu")
    assert not torch.backends.cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "highest"


def test_a_share_is_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.machine.cores", lambda: 2)
    monkeypatch.setattr("time.thread_time", lambda: 0.0)  # as of threads that never have a core
    assert share(0.01) == 0
    monkeypatch.setattr("time.thread_time", time.perf_counter)
    assert share(0.01) == pytest.approx(1, abs=0.2)


BUSY = {8: 10.0, 4: 6.0, 1: 4.0}


class Machine:
    """A made-up one of eight cores, whose clock goes on by what a pass or a step takes with the present number of threads."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 8
        self.seconds = {8: 1.0, 4: 1.2, 1: 4.0}
        self.passes = 0
        self.share = 1.0
        self.said: list[str] = []
        self.threads = Threads(self.said.append, lambda: self.now)

    def work(self) -> None:
        self.now += self.seconds[self.count]

    def scratch(self) -> Callable[[], object]:
        def step() -> None:
            self.passes += 1
            self.work()

        return step

    def begin(self, kept: int | None = None) -> int:
        self.threads.begin(self.scratch, kept)
        return self.count

    def busy(self) -> None:
        self.share, self.seconds = 0.5, dict(BUSY)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    made = Machine()
    monkeypatch.setattr("benchmark.machine.share", lambda: made.share)
    monkeypatch.setattr(torch, "get_num_threads", lambda: made.count)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(made, "count", count))
    return made


def test_a_quiet_machine_has_all_threads(machine: Machine) -> None:
    assert machine.begin() == 8 and not machine.said
    machine.seconds = dict(BUSY)  # by itself alone, as a small network has them
    assert machine.begin() == 8 and not machine.passes
    machine.seconds, machine.share = {8: 1.29, 4: 1.0, 1: 1.0}, 0.5  # not clearly faster
    assert machine.begin() == 8


def test_fewer_where_they_are_clearly_faster(machine: Machine) -> None:
    machine.busy()
    assert machine.begin() == 1
    assert machine.said == ["other work holds the cores: 1 thread, as a pass by 8 threads takes 2.5 times as long"]
    machine.threads.end()
    assert machine.count == 8
    machine.seconds = {8: 3.0, 4: 1.0, 1: 2.0}
    assert machine.begin() == 4


def test_a_resumed_group_has_the_threads_of_its_checkpoint(machine: Machine) -> None:
    machine.busy()
    assert machine.begin(kept=8) == 8 and not machine.said
    machine.threads.end()
    assert machine.begin(kept=4) == 4 and not machine.passes
    assert machine.said == ["4 threads for this group, as it had before; this machine has 8 threads"]
    machine.threads.end()
    assert machine.begin(kept=16) == 16  # more than there are: another number would give other weights
    machine.threads.end()
    assert machine.count == 8


def test_nothing_is_chosen_where_the_user_has_chosen(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    machine.busy()
    assert machine.begin() == 8
    assert machine.begin(kept=1) == 1  # begun before: as it was
    assert not machine.passes
