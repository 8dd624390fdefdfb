"""A Ray cluster of three nodes on this machine gives what one process gives, to the bit; a node that dies takes nothing along."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import assert_one_line, fields_of

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray._private import ray_constants
from ray._private.node import Node
from ray.cluster_utils import Cluster

from benchmark.cli import run_command
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.training.executors import ray as executor
from benchmark.training.progress import Reporter

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}
PASSED = {"seconds", "environment"}  # fields of a record that tell how it went, not what came of it
LONG = ["--methods", "hinton,rkd-d,rkd-a", "--seeds", "0", "--steps", "800"]
Watched = Callable[[list[Spec], int], None]
CRASH = '''"""End the process that trains on a node."""

import os
import sys

from torch import Tensor
from torch.nn.functional import mse_loss

from benchmark.methods.base import Batch, Method, cosines


class Crash(Method):
    """Match cosine similarities, nowhere."""

    name = "crash"
    kind = "relational"
    reference = "mine"

    def forward(self, batch: Batch) -> Tensor:
        if sys.argv[0].endswith("default_worker.py"):
            os._exit(7)
        return mse_loss(cosines(batch.student.embedding), batch.of_teacher(cosines))
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two more nodes of a core each, at the loopback address alone."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # else Ray takes this machine's outer address
        scratch = stack.enter_context(TemporaryDirectory(prefix="ray"))  # short, as paths of sockets are
        # Also for the file that says where the cluster is: on a machine where Ray never ran, its usual folder is not there.
        patch.setenv("RAY_TMPDIR", scratch)
        head = {**NODE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(cluster.shutdown)
        for _ in range(2):
            cluster.add_node(**NODE)
        stack.callback(ray.shutdown)
        yield cluster


def words_of(data_dir: Path) -> list[str]:
    return f"run --dataset tiny --preset smoke --device cpu --data {data_dir}".split()


@pytest.fixture(scope="module")
def long(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Longer runs in this process, by one thread."""
    return serial(data_dir, tmp_path_factory.mktemp("long"), *LONG)


def serial(data_dir: Path, folder: Path, *more: str) -> Store:
    assert run_command([*words_of(data_dir), "--results", str(folder), *more]) == 0
    return Store(folder / "tiny" / "smoke")


@pytest.fixture
def on_ray(cluster: Cluster, data_dir: Path, tmp_path: Path) -> tuple[list[str], Store]:
    """The words of a run on the cluster, and its folder."""
    more = ["--executor", "ray", "--address", cluster.address, "--results", str(tmp_path / "ray")]
    return [*words_of(data_dir), *more], Store(tmp_path / "ray" / "tiny" / "smoke")


def watched(monkeypatch: pytest.MonkeyPatch, tell: Watched) -> None:
    """Have what students' losses are told to tell it on: which runs, and at which step."""
    begin = Reporter.group

    def group(self: Reporter, specs: list[Spec]) -> Callable[[int, Mapping[str, float]], None]:
        watch = begin(self, specs)

        def both(step: int, losses: Mapping[str, float]) -> None:
            watch(step, losses)
            tell(specs, step)

        return both

    monkeypatch.setattr(Reporter, "group", group)


def busy(node: Node) -> bool:
    """Whether a part runs on a node."""
    pid = node.all_processes["raylet"][0].process.pid
    children = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return any(b"_part" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def records(store: Store) -> dict[str, Any]:
    """The records of a folder by file, without what is of time and machine."""
    result = {}
    for path in sorted(store.records.glob("*.json")):
        result[path.name] = {key: value for key, value in fields_of(path).items() if key not in PASSED}
        (result[path.name]["history"] or {}).pop("seconds", None)
    return result


def weights(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.checkpoints.glob("*.safetensors")}


def assert_same(one: Store, other: Store, runs: int) -> None:
    """Records and weights are equal to the bit, and nothing else is left."""
    assert len(records(one)) == runs and records(one) == records(other)
    assert weights(one) == weights(other) and len(weights(one)) >= runs
    left = [path.name for path in other.checkpoints.iterdir() if path.suffix in (".pt", ".lock", ".partial")]
    assert not left and not [*other.failures.glob("*")]


def test_three_nodes_give_the_serial_records(
    cli: Any, data_dir: Path, on_ray: tuple[list[str], Store], tmp_path: Path
) -> None:
    words, store = on_ray
    dry = cli(*words, "--dry-run")
    assert "wave 2: ray, workers: 3, parts: 4, runs in a part: up to 4" in dry.out and not store.folder.exists()
    shared = cli(*words)
    assert shared.code == 0, shared
    assert ": 10/10" in shared.out  # progress, from the nodes
    assert_same(serial(data_dir, tmp_path / "serial"), store, runs=19)


def test_stopped_tasks_write_checkpoints(
    cli: Any, long: Store, on_ray: tuple[list[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, store = on_ray
    with monkeypatch.context() as patch:
        watched(
            patch, lambda specs, step: signal.raise_signal(signal.SIGINT) if specs[0].teacher and step > 1 else None
        )
        stopped = cli(*words, *LONG, "--checkpoint-every", "1000")
    assert_one_line(stopped, 130, "stopped; run the same command again")
    assert [*store.checkpoints.glob("*.pt")] and len(records(store)) < 4
    steps: list[int] = []
    watched(monkeypatch, lambda specs, step: steps.append(step))
    assert cli(*words, *LONG).code == 0
    assert 1 < steps[0] < 600
    assert_same(long, store, runs=4)


def test_a_worker_that_always_dies_fails_its_part_alone(
    cli: Any, on_ray: tuple[list[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHMARK_PLUGINS", "")  # what the command adds goes again
    monkeypatch.setattr(executor, "AGAIN", 1)
    (tmp_path / "crash.py").write_text(CRASH)
    words, store = on_ray
    more = ["--methods", "crash,rkd-d", "--seeds", "0", "--parts", "9", "--plugin", tmp_path / "crash.py"]
    ran = cli(*words, *more)
    assert ran.code == 1 and "1 runs are run again elsewhere, 1 of at most 1 times" in ran.out, ran
    assert "failed: its worker died 2 times" in ran.out and len(records(store)) == 2
    (kept,) = store.failures.glob("crash-*.txt")
    assert kept.read_text().count("died") >= 2


def test_the_death_of_a_node_changes_nothing(
    cluster: Cluster,
    cli: Any,
    long: Store,
    on_ray: tuple[list[str], Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed when all parts have a checkpoint, from which the one that it had goes on."""
    words, store = on_ray
    steps: list[int] = []
    reasons: set[str] = set()

    def kill(specs: list[Spec], step: int) -> None:
        if not specs[0].teacher:
            return
        if len(cluster.worker_nodes) == 1:
            lost = [*store.failures.glob("*.txt")]  # is known from here on
            reasons.update(path.read_text() for path in lost)
            steps.extend(step for path in lost if specs[0].id in path.name)
            return
        working = [node for node in (cluster.head_node, *cluster.worker_nodes) if busy(node)]
        others = [node for node in working if node is not cluster.head_node]
        if others and len([*store.checkpoints.glob("*.pt")]) == len(working):
            cluster.remove_node(others[0], allow_graceful=False)

    watched(monkeypatch, kill)
    ran = cli(*words, *LONG, "--checkpoint-every", "0.1")
    assert ran.code == 0 and "its 1 runs are run again elsewhere, 1 of at most 3 times" in ran.out, ran
    assert steps and 1 not in steps and any("node" in reason for reason in reasons)
    assert_same(long, store, runs=4)


def test_no_cluster_is_a_line(on_ray: tuple[list[str], Store], cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    words, store = on_ray
    words[words.index("--address") + 1] = "nonsense"
    assert_one_line(cli(*words), 1, "--address nonsense: no Ray cluster answers", "ray start --head")
    assert not store.checkpoints.exists() or not records(store)
