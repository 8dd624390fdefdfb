"""In child processes, as many at a time as there are cores or GPUs: for steps too small to be shared out among threads."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import torch
from joblib import cpu_count as cores

from ...machine import prepare_process, set_threads
from ...protocol.request import Shared
from ...record import read_record
from ..context import RunContext, silent
from ..group import Failure, Outcome
from ..loop import Interrupted, stoppable
from ..streams import compute_features
from ..worker import now_and_then
from . import Executor, Group, Task
from .local import local


class _Child(ProcessPoolExecutor):
    """A process with one thread, that runs one group at a time; one that is killed takes no other along."""

    def __init__(self, task: Task, device: torch.device, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked child would inherit threads' locks
        self._said: Any = spawn.SimpleQueue()
        self._task = task
        self.device = device
        # What the parent shows is the parent's affair, and its callbacks cannot be sent. The context is not sent with each group: it may
        # be larger than what a pipe holds, and a child that is killed reads no further.
        begins = self._said, replace(task.context.on(device), progress=silent), task.checkpoint_every, threads
        super().__init__(1, spawn, _begin, begins)

    def begin(self, group: Group) -> Future[list[Outcome]]:
        self._group = group
        progress = self._task.context.progress
        self._hear: dict[str, Callable[..., None]] = {"watch": self._task.watch(group), "progress": progress}
        with _main_unread():
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


@contextlib.contextmanager
def _main_unread() -> Iterator[None]:
    """Children that begin within do not run the script again that began all: they need nothing of it, and it may have no guard."""
    main = vars(sys.modules["__main__"])
    kept = {name: value for name, value in main.items() if name in ("__file__", "__spec__")}
    main.update(dict.fromkeys(kept))
    try:
        yield
    finally:
        main.update(kept)


def processes(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """Run as many groups at a time as there are cores or GPUs, each in a child process.

    Features are computed before, with all threads.

    Raises:
        Interrupted: stopped by the user; the children have written checkpoints.
    """
    compute_features(groups, task.context)
    free, waiting = _devices(task.context.device), list(groups)
    threads = max(1, cores() // len(free))
    idle: list[_Child] = []
    running: dict[Future[list[Outcome]], _Child] = {}
    with stoppable() as stop, contextlib.ExitStack() as stack:
        try:
            while waiting or running:
                while waiting and (idle or free):
                    child = idle.pop() if idle else stack.enter_context(_Child(task, free.pop(0), threads))
                    running[child.begin(waiting.pop(0))] = child
                done, _ = wait(running, 0.1, FIRST_COMPLETED)
                for child in running.values():
                    child.hear()
                if stop.is_set():
                    raise Interrupted("stopped; run the same command again to go on from there")
                for future in done:
                    child = running.pop(future)
                    yield from child.outcomes(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        free.append(child.device)
                    else:
                        idle.append(child)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # each writes its checkpoints
            raise


def _devices(device: torch.device) -> list[torch.device]:
    """A device a worker: each core, or each GPU unless one of them is named."""
    if device.type == "cpu" or device.index is not None:
        return [device] * (cores() if device.type == "cpu" else 1)
    return [torch.device(device.type, index) for index in range(torch.cuda.device_count())]


def _workers(request: Shared, device: torch.device, groups: Sequence[Group]) -> int:
    return len(_devices(device))


def _begin(said: Any, context: RunContext, checkpoint_every: float, threads: int) -> None:
    """Begin a child's life."""
    global _say, _task
    _say = said.put
    _task = Task(
        replace(context, progress=lambda *content: _tell("progress", content)), checkpoint_every, now_and_then(_tell)
    )
    os.setpgrp()  # Ctrl-C is for the parent, which then ends its children once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_process(str(context.device))
    set_threads(threads)


def _tell(kind: str, content: tuple[object, ...]) -> None:
    _say((kind, content))


def _work(group: Group) -> list[Outcome]:
    return list(local(_task, [group]))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


# Of a child.
_say: Callable[[tuple[str, tuple[Any, ...]]], None]
_task: Task

EXECUTOR = Executor(processes, _workers)
