"""An executor takes groups and yields outcomes; where and in which order they run is its own affair."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..errors import BenchmarkError
from ..machine import Threads
from ..machine import cores as available_cores
from ..spec import Spec
from .context import Workspace, silent
from .estimate import scratch_pass
from .group import Begin, Failure, Outcome, run
from .loop import Interrupted, Watch
from .streams import compute_features

Group = Sequence[Spec]
WATCH_EVERY = 1.0  # seconds between two messages of a child about its losses


@dataclass(frozen=True)
class Task:
    """What holds for all groups of a command."""

    workspace: Workspace
    checkpoint_every: float = 120.0  # seconds
    watch: Callable[[Group], Watch] = lambda group: lambda step, losses: None
    threads: Threads | None = None  # chosen for each group; None: what torch has
    counts: Mapping[str, int] = field(default_factory=dict)  # of threads, by id of runs that are to have them again


def local(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """One group after the other, in this process. A group that fails as a whole does not stop the next one."""
    for group in groups:
        finished = set()
        watch, begin = _chosen(task, group)
        try:
            for outcome in run(group, task.workspace, watch, task.checkpoint_every, begin):
                finished.add(outcome.spec.id)
                yield outcome
        except Interrupted:
            raise
        except BenchmarkError as error:
            yield from _failed(group, finished, str(error))
        except Exception as error:
            yield from _failed(group, finished, f"{type(error).__name__}: {error}", traceback.format_exc())
        finally:
            if task.threads is not None:
                task.threads.end()


def _chosen(task: Task, group: Group) -> tuple[Watch, Begin]:
    """A group's `watch` and `begin`, by which the number of its threads is chosen."""
    watch, threads = task.watch(group), task.threads
    asked = next((task.counts[spec.id] for spec in group if spec.id in task.counts), None)
    if threads is None or group[0].on_features or task.workspace.device.type != "cpu":
        return watch, lambda kept: None

    def begin(kept: int | None) -> None:
        count = kept if asked is None else asked
        threads.begin(lambda: scratch_pass(group[0], task.workspace.device), count, stays=asked is not None)

    def stepped(step: int, losses: Mapping[str, float]) -> None:
        threads.stepped()
        watch(step, losses)

    return stepped, begin


def _failed(group: Group, finished: set[str], message: str, details: str = "") -> Iterator[Failure]:
    return (Failure(spec, message.splitlines()[0], details) for spec in group if spec.id not in finished)


def processes(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """A child process a group, as many at a time as there are cores, each with one thread: for steps too small to be shared out.

    Students of a group do not depend on each other, so that groups are parted where there are fewer of them than cores. Features
    are computed before, with all threads.

    Raises:
        Interrupted: stopped by the user; the children have written checkpoints.
    """
    compute_features(groups, task.workspace)
    cores = available_cores()
    waiting = [part for group in groups for part in _parts(group, -(-cores // len(groups)))]
    children: dict[Connection, _Child] = {}
    try:
        while waiting or children:
            while waiting and len(children) < cores:
                child = _start(task, waiting.pop(0))
                children[child.connection] = child
            for ready in wait(list(children)):
                child = children[ready]  # type: ignore[index]
                try:
                    kind, content = child.connection.recv()
                except EOFError:
                    del children[child.connection]
                    child.process.join()
                    why = f"its process ended with code {child.process.exitcode}"
                    yield from _failed(child.group, child.finished, why)
                    continue
                if kind == "watch":
                    child.watch(*content)
                elif kind == "progress":
                    task.workspace.progress(*content)
                elif kind == "interrupted":
                    raise Interrupted(content)
                else:
                    child.finished.add(content.spec.id)
                    yield content
                    child.connection.send("saved")
    finally:  # after an interruption: each writes its checkpoints
        for child in children.values():
            child.process.terminate()
        for child in children.values():
            child.process.join()
            child.connection.close()  # only now: until then it may still have something to say


def _parts(group: Group, most: int) -> list[Group]:
    return [group[start::most] for start in range(min(most, len(group)))]


@dataclass
class _Child:
    group: Group
    process: BaseProcess
    connection: Connection
    watch: Watch
    finished: set[str]


def _start(task: Task, group: Group) -> _Child:
    context = multiprocessing.get_context("spawn")  # a forked child would inherit threads' locks
    ours, theirs = context.Pipe()
    # What the parent shows is the parent's affair, and its callbacks cannot be sent.
    workspace = replace(task.workspace, progress=silent)
    process = context.Process(target=_work, args=(theirs, group, workspace, task.checkpoint_every), daemon=True)
    process.start()
    theirs.close()
    return _Child(group, process, ours, task.watch(group), set())


def _work(connection: Connection, group: Group, workspace: Workspace, checkpoint_every: float) -> None:
    """A child's life: run a group, and send what comes of it."""
    import torch

    from ..machine import keep_memory

    os.setpgrp()  # Ctrl-C is for the parent, which then ends its children once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory()
    torch.set_num_threads(1)
    last = -WATCH_EVERY

    def watch(step: int, losses: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= WATCH_EVERY or step == group[0].steps:
            last = time.monotonic()
            connection.send(("watch", (step, dict(losses))))

    def progress(*content: Any) -> None:
        connection.send(("progress", content))

    mine = Task(replace(workspace, progress=progress), checkpoint_every, lambda group: watch)
    try:
        for outcome in local(mine, [group]):
            connection.send(("outcome", outcome))
            connection.recv()  # the parent has saved it
    except Interrupted as stopped:
        connection.send(("interrupted", str(stopped)))
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone, or has been interrupted and listens no more


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
