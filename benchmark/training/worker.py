"""Parts of a command for workers in other processes, here or on machines that share its folders."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BenchmarkError
from ..files import PARTIAL
from ..machine import prepare_process, set_threads
from ..provenance import sources
from ..store import Store
from .context import RunContext, silent
from .executors import Group, Task
from .executors.local import local
from .group import Failure, Outcome
from .loop import Watch

WATCH_EVERY = 1.0  # seconds between two messages of a worker about its losses
VARIABLES = "BENCHMARK_"  # begins the names of what tells processes of plugins and own networks


@dataclass(frozen=True)
class Parcel:
    """The things that each part of a command needs on another machine."""

    context: RunContext
    checkpoint_every: float  # seconds
    variables: Mapping[str, str]  # of the environment
    folder: Path  # where relative paths begin
    mark: Path  # a file in the folder of results: who sees it sees that folder, not one of the same name

    def check(self) -> None:
        """Raise a BenchmarkError where this machine cannot do what the one that sent it can."""
        host, data = socket.gethostname(), self.context.data_dir
        if not self.mark.exists():
            raise BenchmarkError(
                f"the worker {host} cannot see the results folder {self.mark.parent.parent}; all machines have to share it"
            )
        if not data.is_dir():
            raise BenchmarkError(f"the worker {host} cannot see the data folder {data}; all machines have to share it")
        if sources() != self.context.sources:
            raise BenchmarkError(f"the worker {host} has another version of the suite's code than this command")


@contextlib.contextmanager
def packed(task: Task) -> Iterator[Parcel]:
    """A task without what is of this process alone. What the parent shows is the parent's affair, and its callbacks cannot be sent."""
    context = task.context
    store = Store(context.store.folder.absolute(), context.store.kind)
    away = replace(context, progress=silent, store=store, data_dir=context.data_dir.absolute())
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    with tempfile.NamedTemporaryFile(dir=store.checkpoints, prefix="shared.", suffix=PARTIAL) as mark:
        yield Parcel(away, task.checkpoint_every, variables, Path.cwd(), Path(mark.name))


def perform(parcel: Parcel, group: Group, say: Callable[[str, tuple[object, ...]], None]) -> list[Outcome]:
    """Run a part in a process of its own, by one thread of torch.

    Args:
        say: is told of `watch` and `progress`, with their arguments.

    Raises:
        Interrupted: it was told to stop; checkpoints are written.
    """
    os.environ.update(parcel.variables)
    with contextlib.suppress(OSError):  # absolute paths do not need it
        os.chdir(parcel.folder)
    try:
        parcel.check()
        device = prepare_process(parcel.context.device.type)
    except BenchmarkError as error:
        return [Failure(spec, str(error)) for spec in group]
    set_threads(1)
    context = replace(parcel.context.on(device), progress=lambda *content: say("progress", content))
    return list(local(Task(context, parcel.checkpoint_every, now_and_then(say)), [group]))


def now_and_then(say: Callable[[str, tuple[object, ...]], None]) -> Callable[[Group], Watch]:
    """A `watch` of groups that says what it is told once a second, and of the last step."""

    def begin(group: Group) -> Watch:
        last = -WATCH_EVERY

        def watch(step: int, losses: Mapping[str, float]) -> None:
            nonlocal last
            if time.monotonic() - last >= WATCH_EVERY or step == group[0].steps:
                last = time.monotonic()
                say("watch", (step, dict(losses)))

        return watch

    return begin
