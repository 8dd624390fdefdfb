"""An executor calls `group.run` on groups and hands on what comes of it; where and in which order is its own affair."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import BenchmarkError
from ..machine import Threads, cores, keep_memory, set_threads
from ..record import read_record
from ..spec import Spec
from .context import RunContext, silent
from .group import Failure, Outcome, run
from .loop import Interrupted, Watch, stoppable
from .streams import compute_features

Group = Sequence[Spec]
WATCH_EVERY = 1.0  # seconds between two messages of a child about its losses


@dataclass(frozen=True)
class Task:
    """The settings that hold for all groups of a command."""

    context: RunContext
    checkpoint_every: float = 120.0  # seconds
    watch: Callable[[Group], Watch] = lambda group: lambda step, losses: None
    threads: Threads | None = None  # chosen for each group; None: what torch has
    counts: Mapping[str, int] = field(default_factory=dict)  # of threads, by id of runs that are to have them again


def local(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """One group after the other, in this process. A group that fails as a whole does not stop the next one."""
    for group in groups:
        settled: set[str] = set()
        count = next((task.counts[spec.id] for spec in group if spec.id in task.counts), None)
        try:
            for outcome in run(group, task.context, task.watch(group), task.checkpoint_every, task.threads, count):
                settled.add(outcome.spec.id)
                yield outcome
        except Interrupted:
            raise
        except BenchmarkError as error:
            yield from _failed(group, settled, str(error))
        except Exception as error:
            yield from _failed(group, settled, f"{type(error).__name__}: {error}", traceback.format_exc())


def _failed(group: Group, settled: set[str], message: str, details: str = "") -> Iterator[Failure]:
    return (Failure(spec, message.splitlines()[0], details) for spec in group if spec.id not in settled)


class _Child(ProcessPoolExecutor):
    """A process with one thread, that runs one group at a time; one that is killed takes no other along."""

    def __init__(self, task: Task) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked child would inherit threads' locks
        self._said: Any = spawn.SimpleQueue()
        self._task = task
        # What the parent shows is the parent's affair, and its callbacks cannot be sent. The context is not sent with each group: it may
        # be larger than what a pipe holds, and a child that is killed reads no further.
        begins = self._said, replace(task.context, progress=silent), task.checkpoint_every
        super().__init__(1, spawn, _begin, begins)

    def begin(self, group: Group) -> Future[list[Outcome]]:
        self._group = group
        progress = self._task.context.progress
        self._hear: dict[str, Callable[..., None]] = {"watch": self._task.watch(group), "progress": progress}
        return self.submit(_work, group)

    def hear(self) -> None:
        while not self._said.empty():
            kind, content = self._said.get()
            self._hear[kind](*content)

    def outcomes(self, future: Future[list[Outcome]]) -> Iterator[Outcome]:
        store, why = self._task.context.store, "its process was killed, as where memory runs out, or crashed"
        try:
            yield from future.result()
        except (BrokenProcessPool, Interrupted):
            for spec in self._group:
                yield read_record(store.path(spec)) if store.finished(spec) else Failure(spec, why)


def processes(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """Run as many groups at a time as there are cores, each in a child process: for steps too small to be shared out among threads.

    Students of a group do not depend on each other, so that the groups of a last round that would leave cores idle are parted.
    Features are computed before, with all threads.

    Raises:
        Interrupted: stopped by the user; the children have written checkpoints.
    """
    compute_features(groups, task.context)
    workers = cores()
    waiting = parted(groups, workers)
    idle: list[_Child] = []
    running: dict[Future[list[Outcome]], _Child] = {}
    with stoppable() as stop, contextlib.ExitStack() as stack:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    child = idle.pop() if idle else stack.enter_context(_Child(task))
                    running[child.begin(waiting.pop(0))] = child
                done, _ = wait(running, 0.1, FIRST_COMPLETED)
                for child in running.values():
                    child.hear()
                if stop.is_set():
                    raise Interrupted("stopped; run the same command again to go on from there")
                for future in done:
                    child = running.pop(future)
                    yield from child.outcomes(future)
                    if not isinstance(future.exception(), BrokenProcessPool):
                        idle.append(child)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # each writes its checkpoints
            raise


def parted(groups: Sequence[Group], workers: int) -> list[Group]:
    """Split as many groups as are over, when the others go round evenly, into parts that keep all workers busy."""
    over = len(groups) % workers
    parts = -(-workers // over) if over else 1
    whole, split = groups[: len(groups) - over], groups[len(groups) - over :]
    return [*whole, *(group[start::parts] for group in split for start in range(min(parts, len(group))))]


def _begin(said: Any, context: RunContext, checkpoint_every: float) -> None:
    """Begin a child's life."""
    global _say, _task
    _say = said.put
    _task = Task(replace(context, progress=lambda *content: _say(("progress", content))), checkpoint_every, _watch)
    os.setpgrp()  # Ctrl-C is for the parent, which then ends its children once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory()
    set_threads(1)


def _work(group: Group) -> list[Outcome]:
    return list(local(_task, [group]))


def _watch(group: Group) -> Watch:
    last = -WATCH_EVERY

    def watch(step: int, losses: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= WATCH_EVERY or step == group[0].steps:
            last = time.monotonic()
            _say(("watch", (step, dict(losses))))

    return watch


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


# Of a child.
_say: Callable[[tuple[str, tuple[Any, ...]]], None]
_task: Task
