"""On a Ray cluster whose nodes share the folders of data and results: a task a part.

A part whose worker or node dies is run again elsewhere, from its checkpoint; runs of it that are finished stay so.
"""

from __future__ import annotations

import collections
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch
from joblib import cpu_count as cores
from ray.exceptions import RayError
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import BenchmarkError
from ...protocol.request import Shared
from ...record import read_record
from ..group import Failure, Outcome
from ..loop import Interrupted, stoppable
from ..streams import compute_features
from ..worker import Parcel, packed, perform
from . import Executor, Group, Task

AGAIN = 3  # times that a part is run again
POLL = 0.2  # seconds
ENDING = 120.0  # seconds that tasks have to write their checkpoints


def connect(address: str) -> None:
    """Join the cluster, once for all waves of a command. Raises a BenchmarkError where there is none."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to strangers
    own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        why = f"--address {address}: no Ray cluster answers ({said})"
        raise BenchmarkError(f"{why}; ray start --head begins one, --address local one of this machine") from None


def _needs(device: torch.device) -> dict[str, int]:
    """Resources of a part."""
    return {"num_cpus": 1, "num_gpus": int(device.type == "cuda")}


def _workers(request: Shared, device: torch.device, groups: Sequence[Group]) -> int:
    connect(request.address)
    named = [("CPU", "num_cpus"), ("GPU", "num_gpus")]
    needs = {resource: count for resource, name in named if (count := _needs(device)[name])}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = sum(min(int(node.get(name, 0)) // count for name, count in needs.items()) for node in nodes)
    if not workers:
        raise BenchmarkError(f"no node of the Ray cluster has a {' and a '.join(needs)}")
    return workers


class _Cluster:
    """The parts that a cluster has in hand."""

    def __init__(self, task: Task, parcel: Parcel) -> None:
        self._task = task
        self._parcel = ray.put(parcel)
        # On this node, which the command cannot do without.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._said = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self._remote = ray.remote(_part).options(max_retries=0, **_needs(task.context.device))
        self._watches: list[Any] = []
        self._reasons: dict[int, list[str]] = collections.defaultdict(list)  # of deaths, by part
        self.running: dict[Any, tuple[int, Group]] = {}

    def begin(self, part: Group) -> None:
        self._watches.append(self._task.watch(part))
        self._submit(len(self._watches) - 1, part)

    def _submit(self, number: int, part: Group) -> None:
        self.running[self._remote.remote(self._parcel, number, part, self._said.actor)] = number, part

    def hear(self) -> None:
        for number, kind, content in self._said.get_nowait_batch(self._said.qsize()):
            (self._watches[number] if kind == "watch" else self._task.context.progress)(*content)

    def outcomes(self, ref: Any) -> Iterator[Outcome]:
        """Outcomes of a task that has ended; none yet where it is run again."""
        number, part = self.running.pop(ref)
        try:
            outcomes = ray.get(ref)
        except RayError as error:  # as where its node is told to end, or dies
            outcomes = self._again(number, part, " ".join(str(getattr(error, "cause", error)).split(". ")[0].split()))
        yield from outcomes
        if self._reasons[number] and number not in (waiting for waiting, _ in self.running.values()):
            # What it had finished before its worker died.
            told, store = {outcome.spec.id for outcome in outcomes}, self._task.context.store
            yield from (read_record(store.path(spec)) for spec in part if spec.id not in told and store.finished(spec))

    def _again(self, number: int, part: Group, why: str) -> list[Outcome]:
        reasons, store = self._reasons[number], self._task.context.store
        reasons.append(why)
        left = [spec for spec in part if not store.finished(spec)]
        if len(reasons) > AGAIN:
            message = f"its worker died {len(reasons)} times, at last so: {why}"
            return [Failure(spec, message, "\n".join(reasons)) for spec in left]
        if left:
            for spec in left:  # until it is finished
                store.fail(spec, why, "\n".join(reasons))
            said = f"run again elsewhere, {len(reasons)} of at most {AGAIN} times"
            self._task.context.say(f"a worker died ({why}); its {len(left)} runs are {said}")
            self._submit(number, part)
        return []

    def end(self) -> None:
        """Have all tasks write their checkpoints and end."""
        refs = list(self.running)
        for ref in refs:
            ray.cancel(ref)
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=ENDING)

    def close(self) -> None:
        self._said.shutdown()


def _part(parcel: Parcel, number: int, part: Group, said: Any) -> list[Outcome]:
    """Run a part on a node."""

    def say(kind: str, content: tuple[object, ...]) -> None:
        said.put_nowait.remote((number, kind, content))  # which nobody waits for

    return perform(parcel, part, say)


def _run(task: Task, groups: Sequence[Group]) -> Iterator[Outcome]:
    """Have the cluster run all parts, as many at a time as it has room for. Features are computed before, by this process."""
    compute_features(groups, task.context)
    connect(task.request.address)
    with stoppable() as stop, packed(task) as parcel:
        cluster = _Cluster(task, parcel)
        try:
            for part in groups:
                cluster.begin(part)
            while cluster.running:
                done, _ = ray.wait(list(cluster.running), timeout=POLL)
                cluster.hear()
                if stop.is_set():
                    raise Interrupted("stopped; run the same command again to go on from there")
                for ref in done:
                    yield from cluster.outcomes(ref)
        except BaseException:
            cluster.end()
            raise
        finally:
            cluster.close()


EXECUTOR = Executor(_run, _workers)
