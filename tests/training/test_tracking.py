"""How students trained: kept in their records, and told to trackers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_one_line, fields_of, tiny_spec
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_lockstep import assert_equal, train, weights, workspace

from benchmark.record import MOST_POINTS, History, Record, read_record
from benchmark.store import Store
from benchmark.training.loop import Interrupted
from benchmark.training.student import is_kept, rate
from benchmark.training.tracking import TRACKERS, check_tracker, tensorboard


def test_a_history_is_thinned_and_ends_with_the_last_step() -> None:
    for steps in (1, 7, 199, 200, 201, 399, 400, 401, 8000, 12_345):
        kept = [step for step in range(1, steps + 1) if is_kept(step, steps)]
        assert len(kept) <= MOST_POINTS and kept[-1] == steps and len(kept) > min(steps, MOST_POINTS) / 2
    assert History.of([]) is None
    long = History.of([(1_234_567, 0.123456789, 1.23456789e-7, 3.0)])
    assert long is not None and long.step == (1_234_567,) and long.loss == (0.123457,) and long.rate == (1.23457e-7,)
    with pytest.raises(ValueError, match="do not grow"):
        History.of([(2, 0.1, 0.1, 1.0), (1, 0.1, 0.1, 2.0)])


def test_a_record_keeps_how_its_student_trained(data_dir: Path, tmp_path: Path) -> None:
    space = workspace(data_dir, tmp_path)
    losses: dict[int, float] = {}
    spec, untrained = tiny_spec(lr=1e-7), tiny_spec("untrained", steps=0)
    train([spec], space, lambda step, latest: losses.update({step: latest[spec.id]}))
    train([untrained], space)
    assert read_record(space.store.path(untrained)).history is None
    kept = read_record(space.store.path(spec))
    assert kept.history is not None and kept.history.step == (1, 2, 3, 4, 5, 6)
    assert kept.history.loss == pytest.approx([losses[step] for step in kept.history.step], rel=1e-5)
    assert kept.history.rate == pytest.approx([1e-7 * rate(spec, step) for step in range(6)], rel=1e-5)
    assert list(kept.history.seconds) == sorted(kept.history.seconds)
    assert kept.history.seconds[-1] == pytest.approx(kept.seconds["train"], rel=1e-4)
    # As older versions wrote it.
    path = space.store.path(spec)
    path.write_text(json.dumps({key: value for key, value in fields_of(path).items() if key != "history"}))
    assert read_record(path).history is None


def test_a_stopped_student_has_the_history_of_one_that_was_not(data_dir: Path, tmp_path: Path) -> None:
    def stop(step: int, losses: object) -> None:
        if step == 4:
            raise Interrupted("as by the user")

    spec, whole, halved = tiny_spec(), workspace(data_dir, tmp_path / "whole"), workspace(data_dir, tmp_path / "halved")
    train([spec], whole)
    with pytest.raises(Interrupted):
        train([spec], halved, stop, 0)
    train([spec], halved)
    one, other = (read_record(space.store.path(spec)).history for space in (whole, halved))
    assert one is not None and other is not None and (one.step, one.loss) == (other.step, other.loss)
    assert_equal(weights(whole, spec), weights(halved, spec))


@pytest.mark.parametrize("executor", [[], ["--executor", "processes"]])
def test_tensorboard_reads_what_a_run_tells(cli: Any, smoke: list[str], tmp_path: Path, executor: list[str]) -> None:
    ran = cli(*smoke, "--methods", "hinton,rkd-d", "--track", "tensorboard", *executor)
    assert ran.code == 0, ran
    again = cli(*smoke, "--methods", "hinton,rkd-d", "--track", "tensorboard", *executor)
    assert again.code == 0 and "nothing was left to track" in again.out and "nothing was left" not in ran.out
    store = Store(tmp_path / "tiny" / "smoke")
    records = [*store]
    assert len(records) == 3
    assert {path.name for path in (store.folder / "tensorboard").iterdir()} == {
        f"{record.spec.method}-{record.id}" for record in records
    }
    for record in records:
        assert_told(store.folder / "tensorboard" / f"{record.spec.method}-{record.id}", record)


def assert_told(folder: Path, record: Record) -> None:
    events, history = EventAccumulator(str(folder)), record.history
    events.Reload()
    assert history is not None
    for name, values in (("loss", history.loss), ("learning rate", history.rate)):
        told = events.Scalars(name)
        assert [event.step for event in told] == list(history.step)
        assert [event.value for event in told] == pytest.approx(values, rel=1e-4)
    assert all(event.value > 0 for event in events.Scalars("images a second"))
    (recall,) = events.Scalars("recall@1")
    assert recall.step == record.spec.steps and recall.value == pytest.approx(record.metrics["recall@1"], abs=1e-5)


def test_mlflow_reads_what_a_run_tells(cli: Any, smoke: list[str], tmp_path: Path) -> None:
    ran = cli(*smoke, "--methods", "rkd-d", "--track", "mlflow")
    assert ran.code == 0, ran
    store = Store(tmp_path / "tiny" / "smoke")
    client = MlflowClient(f"sqlite:///{store.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny/smoke")
    assert experiment is not None
    told = {run.data.tags["id"]: run for run in client.search_runs([experiment.experiment_id])}
    records = {record.id: record for record in store}
    assert told.keys() == records.keys()
    for id, record in records.items():
        run, history = told[id], record.history
        assert history is not None and run.info.run_name == record.spec.label and run.info.status == "FINISHED"
        assert run.data.params["method"] == record.spec.method and float(run.data.params["lr"]) == record.spec.lr
        losses = sorted(client.get_metric_history(run.info.run_id, "loss"), key=lambda metric: metric.step)
        assert [metric.step for metric in losses] == list(history.step)
        assert [metric.value for metric in losses] == pytest.approx(history.loss, rel=1e-4)
        assert run.data.metrics["recall at 1"] == pytest.approx(record.metrics["recall@1"])


def test_a_tracker_that_fails_is_a_line(cli: Any, smoke: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nosuch://server")
    ran = cli(*smoke, "--methods", "rkd-d", "--track", "mlflow")
    said = " ".join(ran.out.split())
    assert ran.code == 1 and "--track mlflow failed" in said and "Traceback" not in ran.out + ran.err, ran


def test_wandb_has_files_of_each_run_and_sends_nothing(
    cli: Any, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    ran = cli(*smoke, "--methods", "rkd-d", "--track", "wandb")
    assert ran.code == 0, ran
    store = Store(tmp_path / "tiny" / "smoke")
    for record in store:
        (file,) = (store.folder / "wandb").glob(f"offline-run-*-{record.id}/run-{record.id}.wandb")
        written = file.read_bytes()
        for name in ("loss", "learning rate", "recall@1", record.spec.label):
            assert name.encode() in written, name


def test_trackers_are_in_the_help_and_may_need_no_package(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cli("run", "--help").out
    assert all(name in told for name in TRACKERS)
    monkeypatch.setitem(TRACKERS, "lines", ("", tensorboard))
    check_tracker("lines")


def test_what_cannot_be_tracked_is_a_line(
    cli: Any, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_one_line(cli(*smoke, "--track", "tensorbord"), 2, "unknown tracker", "'tensorboard'")
    monkeypatch.setattr(sys, "path", [])
    for package in ("tensorboard", "wandb"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in repr(finder)])
    assert_one_line(cli(*smoke, "--track", "tensorboard"), 2, "benchmark[track]'")
    assert_one_line(cli(*smoke, "--track", "wandb"), 2, "wandb")
    assert not any(tmp_path.iterdir())
