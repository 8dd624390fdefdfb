"""Where groups run: an executor a file, and a file is all that another takes. What comes of a group does not depend on it.

An executor calls `group.run` on groups and hands on what comes of it; where and in which order is its own affair.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError, unknown
from ...protocol.request import Shared
from ...spec import Spec

if TYPE_CHECKING:
    import torch

    from ...machine import Threads
    from ..context import RunContext
    from ..group import Outcome
    from ..loop import Watch

Group = Sequence[Spec]


@dataclass(frozen=True)
class Task:
    """The settings that hold for all groups of a command."""

    context: RunContext
    checkpoint_every: float = 120.0  # seconds
    watch: Callable[[Group], Watch] = lambda group: lambda step, losses: None
    threads: Threads | None = None  # chosen for each group; None: what torch has
    counts: Mapping[str, int] = field(default_factory=dict)  # of threads, by id of runs that are to have them again
    request: Shared = field(default_factory=Shared)  # which names machines


@dataclass(frozen=True)
class Executor:
    """How groups run at one kind of place; each module here has one, `EXECUTOR`.

    Args:
        run: yields what comes of each run. Raises `Interrupted` when the user stops it: checkpoints are written.
        workers: how many groups run at a time, by the request, on devices of a kind.
    """

    run: Callable[[Task, Sequence[Group]], Iterator[Outcome]]
    workers: Callable[[Shared, torch.device, Sequence[Group]], int]


def executor_names() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load_executor(name: str) -> Executor:
    """The executor of a name. Raises a UsageError where there is none, or its extra is not installed."""
    if name not in executor_names():
        raise unknown("executor", name, executor_names())
    try:
        module = importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        extra = f"pip install 'embedding-distillation-benchmark[{name}]'"
        raise UsageError(f"--executor {name} wants {error.name}, which is not installed: {extra}") from None
    executor: Executor = module.EXECUTOR
    return executor


def assigned(name: str | None, device: torch.device, groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups by the name of their executor.

    Without a name it is what the machine has: groups that train whole networks use all cores, one after the other; those that train
    heads on features share them out.
    """
    shares: dict[str, list[Group]] = {}
    for group in groups:
        usual = "processes" if group[0].on_features and device.type == "cpu" else "local"
        shares.setdefault(name or usual, []).append(group)
    return dict(sorted(shares.items()))


def parted(groups: Sequence[Group], workers: int, parts: int | None = None) -> list[Group]:
    """Split groups, whose students do not depend on each other.

    Args:
        parts: of each group; without it only as many groups are split as are over when the others go round evenly, into as many parts
            as keep all workers busy.
    """
    over = len(groups) if parts else len(groups) % workers
    parts = parts or (-(-workers // over) if over else 1)
    whole, split = groups[: len(groups) - over], groups[len(groups) - over :]
    return [*whole, *(group[start::parts] for group in split for start in range(min(parts, len(group))))]
