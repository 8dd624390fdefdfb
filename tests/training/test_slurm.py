"""What submitit runs gives what one process gives; a Slurm script says what was asked for."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_one_line
from test_ray import assert_same, records, watched

from benchmark.store import Store
from benchmark.training.executors import slurm as executor

FEW = ["--methods", "hinton,rkd-d,rkd-a"]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Store]:
    return lambda name: Store(tmp_path / name / "tiny" / "smoke")


@pytest.fixture
def words(data_dir: Path) -> list[str]:
    return f"run --dataset tiny --preset smoke --device cpu --seeds 0 --data {data_dir}".split()


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_jobs_give_what_one_process_gives(
    cli: Any, words: list[str], tmp_path: Path, folder: Callable[[str], Store], cluster: str
) -> None:
    on_slurm = ["--executor", "slurm", "--slurm", f"cluster={cluster}", "--parts", "2"]
    assert cli(*words, *FEW, "--results", tmp_path / "serial").code == 0
    ran = cli(*words, *FEW, "--results", tmp_path / "jobs", *on_slurm)
    assert ran.code == 0, ran
    assert ": 10/10" in ran.out
    assert_same(folder("serial"), folder("jobs"), runs=4)
    assert not [*folder("jobs").checkpoints.glob("jobs-*")]


def test_jobs_that_are_stopped_write_checkpoints(
    cli: Any, words: list[str], tmp_path: Path, folder: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [*FEW, "--steps", "4000", "--checkpoint-every", "1000", "--results", tmp_path, "--parts", "1"]
    watched(
        monkeypatch, lambda specs, step: signal.raise_signal(signal.SIGINT) if specs[0].teacher and step > 1 else None
    )
    stopped = cli(*words, *more, "--executor", "slurm", "--slurm", "cluster=local")
    assert_one_line(stopped, 130, "stopped; run the same command again")
    assert len([*folder(".").checkpoints.glob("*.pt")]) == 3 and len(records(folder("."))) == 1


def test_a_job_without_a_result_is_a_failure(
    cli: Any, words: list[str], tmp_path: Path, folder: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a node has other software: its Python does not know the suite.
    monkeypatch.setattr(executor._Job, "__reduce__", lambda job: (int, ("no job",)), raising=False)
    ran = cli(*words, *FEW, "--results", tmp_path, "--executor", "slurm", "--slurm", "cluster=local")
    assert ran.code == 1 and "its job ended without a result" in ran.out and "no job" in ran.out, ran
    assert not records(folder("."))


def test_a_dry_run_shows_the_parts(cli: Any, words: list[str], tmp_path: Path) -> None:
    asked = [word for pair in ("partition=gpu", "time=90", "cpus=3", "gpus=1") for word in ("--slurm", pair)]
    dry = cli(*words, *FEW, "--results", tmp_path / "new", "--executor", "slurm", *asked, "--dry-run", "--parts", "3")
    assert dry.code == 0 and "wave 2: slurm, workers: 1, parts: 3" in dry.out, dry
    assert not (tmp_path / "new").exists()


def test_what_slurm_cannot_do_is_a_line(cli: Any, words: list[str], tmp_path: Path) -> None:
    def refused(*more: str, code: int = 2) -> tuple[Any, int]:
        return cli(*words, *FEW, "--results", tmp_path, *more), code

    on_slurm = ["--executor", "slurm", "--slurm"]
    assert_one_line(*refused("--slurm", "time=3"), "--slurm is for --executor slurm")
    assert_one_line(*refused("--address", "local"), "--address is for --executor ray")
    assert_one_line(*refused(*on_slurm, "time"), "--slurm time: write KEY=VALUE")
    assert_one_line(*refused(*on_slurm, "queue=fast"), "--slurm:", "queue")
    assert_one_line(*refused(*on_slurm, "cluster=moon"), "--slurm cluster=moon: write slurm, local, debug")
    assert not (tmp_path / "tiny").exists()
    assert_one_line(*refused("--executor", "slurm", code=1), "nothing could be submitted", "srun")
