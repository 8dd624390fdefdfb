"""A Ray cluster of three nodes on this machine gives what one process gives, to the bit; a node that dies takes nothing along."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_one_line, fields_of
from rich.console import Console

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from benchmark.protocol.experiment import gather, resolve
from benchmark.protocol.request import Request
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.training import worker
from benchmark.training.driver import Driver
from benchmark.training.executors import Task
from benchmark.training.executors.ray import EXECUTOR
from benchmark.training.group import Failure

HOME = "127.0.0.1"
STORE = 80 * 2**20  # bytes
PASSED = {"seconds", "environment"}  # fields of a record that tell how it went, not what came of it


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two more nodes of a core each, at the loopback address alone."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # else Ray takes this machine's outer address
        node = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": HOME}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        stack.callback(cluster.shutdown)
        for _ in range(2):
            cluster.add_node(**node)
        stack.callback(ray.shutdown)
        yield cluster


def outcome(store: Store) -> dict[str, Any]:
    """The records of a folder, without what is of time and machine, by file."""
    paths = sorted(store.records.glob("*.json"))
    return {path.name: {k: v for k, v in fields_of(path).items() if k not in PASSED} for path in paths}


def weights(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.checkpoints.glob("*.safetensors")}


def assert_same(one: Store, other: Store, runs: int) -> None:
    assert len(outcome(one)) == runs and outcome(one) == outcome(other)
    assert weights(one) == weights(other) and len(weights(one)) >= runs
    left = [path.name for path in other.checkpoints.iterdir() if path.suffix in (".pt", ".lock", ".partial")]
    assert not left and not [*other.failures.glob("*")]


def test_three_nodes_and_the_death_of_one_give_the_serial_records(
    cluster: Cluster, cli: Any, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"run --dataset tiny --preset smoke --device cpu --data {data_dir}".split()
    on_ray = ["--executor", "ray", "--address", cluster.address]
    serial = cli(*words, "--results", tmp_path / "serial")
    dry = cli(*words, "--results", tmp_path / "ray", *on_ray, "--dry-run")
    assert "wave 2: ray, workers: 3, parts: 4" in dry.out and not (tmp_path / "ray").exists()
    shared = cli(*words, "--results", tmp_path / "ray", *on_ray)
    assert (serial.code, shared.code) == (0, 0), shared
    stores = [Store(tmp_path / name / "tiny" / "smoke") for name in ("serial", "ray")]
    assert_same(*stores, runs=19)
    assert "/10  " in shared.out  # progress of the students, from the nodes
