"""In this process, one group after the other: by a GPU, or by all cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..group import Outcome, failure_of, run
from ..loop import Interrupted
from ..tracking import Tracked
from . import Executor, Group, Task


def local(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """One group after the other. A group that fails as a whole does not stop the next one."""
    for group in groups:
        settled: set[str] = set()
        count = next((task.counts[spec.id] for spec in group if spec.id in task.counts), None)
        try:
            with Tracked(group, task.context, task.watch(group)) as told:
                for outcome in run(group, task.context, told.watch, task.checkpoint_every, task.threads, count):
                    settled.add(outcome.spec.id)
                    told.end(outcome)
                    yield outcome
        except Interrupted:
            raise
        except Exception as error:
            yield from (failure_of(spec, error) for spec in group if spec.id not in settled)


EXECUTOR = Executor(local, lambda request, device, groups: 1)
