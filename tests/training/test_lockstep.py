"""The contract of training in lockstep: what a student becomes depends on nobody else, and not on being interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_spec
from safetensors.torch import load_file

from benchmark import methods
from benchmark.data import cards
from benchmark.data.layouts import load_images
from benchmark.methods.base import Features
from benchmark.networks.encoder import Encoder
from benchmark.record import Record
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.training.context import RunContext
from benchmark.training.group import Failure, Outcome, run
from benchmark.training.loop import Watch
from benchmark.training.student import rate

METHODS = [name for name, entry in methods.catalogue().items() if entry.trains]


def workspace(data_dir: Path, folder: Path) -> RunContext:
    return RunContext(load_images(cards.load_card("tiny", data_dir), data_dir), data_dir, Store(folder))


def train(
    specs: Sequence[Spec], space: RunContext, watch: Watch = lambda step, losses: None, every: float = 1e9
) -> list[Outcome]:
    return list(run(specs, space, watch, every))


def weights(space: RunContext, spec: Spec) -> dict[str, torch.Tensor]:
    return load_file(space.store.weights(spec))


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_is_the_same_alone_and_in_a_group(data_dir: Path, tmp_path: Path, precision: str) -> None:
    together = workspace(data_dir, tmp_path / "together")
    alone = workspace(data_dir, tmp_path / "alone")
    group = [tiny_spec(method, precision=precision) for method in METHODS]
    group += [tiny_spec("rkd-da", dim=9, precision=precision), tiny_spec("rkd-da", lr=1e-3, precision=precision)]
    teacher = next(spec.teacher for spec in group if spec.teacher is not None)
    for space in (together, alone):
        train([teacher], space)
    records = {o.id: o for o in train(group, together) if isinstance(o, Record)}
    assert len(records) == len(group)
    # The state of the process must not matter either.
    torch.manual_seed(random.randrange(10**6))
    np.random.seed(random.randrange(10**6))  # noqa: NPY002
    for spec in random.sample(group, len(group)):
        (record,) = train([spec], alone)
        assert isinstance(record, Record)
        assert record.evaluation == records[spec.id].evaluation and record.loss == records[spec.id].loss
        assert_equal(weights(alone, spec), weights(together, spec))


def test_students_of_one_network_and_seed_start_equal_and_differ_after(data_dir: Path, tmp_path: Path) -> None:
    space = workspace(data_dir, tmp_path)
    group = [tiny_spec("triplet", normalize=True), tiny_spec("contrastive"), tiny_spec("triplet", seed=1)]
    for spec in (group[0], group[2]):
        train([spec], space)
    train([group[1]], space)
    first, other_method, other_seed = (weights(space, spec) for spec in group)
    assert not torch.equal(first["head.weight"], other_method["head.weight"])
    assert torch.equal(first["centre"], other_method["centre"])  # calibrated on equal weights and images
    assert not torch.equal(first["centre"], other_seed["centre"])


COMMAND = "run --dataset tiny --preset smoke --device cpu --seeds 0 --methods fitnet,hinton,triplet"


def start(data_dir: Path, results: Path, *more: str, steps: int = 40) -> subprocess.Popen[str]:
    words = [*COMMAND.split(), "--steps", str(steps), "--data", str(data_dir), "--results", str(results), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def final_weights(results: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.stem: load_file(path) for path in sorted(results.rglob("*.safetensors"))}


def test_killed_at_random_moments_and_resumed(data_dir: Path, tmp_path: Path) -> None:
    whole = start(data_dir, tmp_path / "whole")
    assert whole.communicate()[0] and whole.returncode == 0
    moments = random.Random(time.time_ns())
    kills = 0
    for _ in range(3):
        process = start(data_dir, tmp_path / "killed", "--checkpoint-every", "0")
        deadline = time.monotonic() + 60
        while not list((tmp_path / "killed").rglob("*.pt")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.0))
        if process.poll() is None:
            kills += 1
        process.kill()
        process.communicate()
    assert kills, "no process lived long enough to be killed"
    last = start(data_dir, tmp_path / "killed")
    assert last.communicate()[0] and last.returncode == 0
    expected, found = final_weights(tmp_path / "whole"), final_weights(tmp_path / "killed")
    assert expected.keys() == found.keys()
    for id in expected:
        assert_equal(found[id], expected[id])
    assert not list((tmp_path / "killed").rglob("*.pt")) and not list((tmp_path / "killed").rglob("*.partial"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_checkpoints_and_says_how_to_go_on(
    data_dir: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    process = start(data_dir, tmp_path, "--set", "teacher.steps=2", steps=100000)
    deadline = time.monotonic() + 60
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if "/100000" in line or time.monotonic() > deadline:
            break
    os.kill(process.pid, sent)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(lines) + rest
    assert "run the same command again to go on" in rest and "Traceback" not in rest
    assert list(tmp_path.rglob("*.pt"))


def test_students_at_different_steps_wait_for_each_other(data_dir: Path, tmp_path: Path) -> None:
    """A checkpoint of one student only, as a crash between two writes leaves it."""
    specs = [tiny_spec("triplet", steps=8), tiny_spec("contrastive", steps=8)]
    whole = workspace(data_dir, tmp_path / "whole")
    train(specs, whole)
    space = workspace(data_dir, tmp_path / "split")

    def stop_at_five(step: int, losses: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(specs, space, stop_at_five, every=0)
    space.checkpoint(specs[1]).unlink()
    train(specs, space)
    for spec in specs:
        assert_equal(weights(space, spec), weights(whole, spec))


def test_a_run_whose_method_was_edited_begins_anew(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, space, seen = tiny_spec("triplet", steps=8), workspace(data_dir, tmp_path), []

    def stop_at_five(step: int, losses: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([spec], space, stop_at_five, every=0)
    monkeypatch.setattr("benchmark.training.context.edition", lambda name: "edited")
    train([spec], space, lambda step, losses: seen.append(step))
    assert seen == list(range(1, 9)) and not list(space.store.checkpoints.glob("*.pt"))


def test_an_interrupted_evaluation_loses_no_training(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec()
    whole, space = workspace(data_dir, tmp_path / "whole"), workspace(data_dir, tmp_path / "stopped")
    train([spec], whole)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.training.evaluator.Evaluator.measure", stop)
        with pytest.raises(KeyboardInterrupt):
            train([spec], space)
    steps: list[int] = []
    monkeypatch.setattr("benchmark.training.student.Student.train_step", lambda self, *_: steps.append(self.step))
    train([spec], space)
    assert not steps  # all of them are in the checkpoint
    assert_equal(weights(space, spec), weights(whole, spec))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_diverges_fails_alone(data_dir: Path, tmp_path: Path, method: str) -> None:
    space = workspace(data_dir, tmp_path)
    bad = tiny_spec(method, lr=1e30)
    good = tiny_spec("contrastive", teacher=bad.teacher)
    if bad.teacher is not None:
        train([bad.teacher], space)
    outcomes = {o.spec.id: o for o in train([bad, good], space)}
    failure = outcomes[bad.id]
    assert isinstance(failure, Failure) and isinstance(outcomes[good.id], Record)
    assert "not finite at step" in failure.message and "lr=1e+30" in failure.message
    assert not space.store.done(bad) and not space.store.weights(bad).exists()
    assert not list(space.store.checkpoints.glob("*.pt"))


def test_what_one_student_meets_does_not_stop_the_others(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, batch: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(methods.load("arcface"), "forward", broken)
    outcomes = train([tiny_spec("arcface"), tiny_spec("contrastive")], workspace(data_dir, tmp_path))
    assert [type(outcome) for outcome in outcomes] == [Failure, Record]
    assert isinstance(outcomes[0], Failure) and "ZeroDivisionError: by zero" in outcomes[0].message
    assert "Traceback" in outcomes[0].details


def test_a_damaged_checkpoint_is_named(data_dir: Path, tmp_path: Path) -> None:
    space = workspace(data_dir, tmp_path)
    spec, other = tiny_spec(), tiny_spec("contrastive")
    space.store.checkpoints.mkdir(parents=True)
    space.checkpoint(spec).write_bytes(b"not a checkpoint")
    failure, record = train([spec, other], space)
    assert isinstance(failure, Failure) and f"{space.checkpoint(spec)} cannot be read" in failure.message
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, 0.853553, 0.5, 0.146447]),
        ("step", [1, 1, 0.1, 0.01]),
    ],
)
def test_schedules_by_hand(schedule: str, expected: list[float]) -> None:
    spec = tiny_spec(steps=4, schedule=schedule, milestones=(0.5, 0.75), decay=0.1)
    assert [rate(spec, step) for step in range(4)] == pytest.approx(expected, abs=1e-5)


def test_one_cycle_warms_up_and_ends_near_zero() -> None:
    spec = tiny_spec(steps=1000)
    rates = [rate(spec, step) for step in range(1000)]
    assert max(rates) == pytest.approx(1, abs=0.02) and rates.index(max(rates)) in range(95, 105)
    assert rates[0] < 0.02 and rates[-1] < 1e-4


def test_the_learning_rate_reaches_the_parts(data_dir: Path, tmp_path: Path) -> None:
    from benchmark.training.initial import make_student
    from benchmark.training.streams import open_inputs

    spec = tiny_spec("proxy-anchor", head_lr=3.0, schedule="constant")
    space = workspace(data_dir, tmp_path)
    student = make_student(spec, {}, open_inputs(space.dataset, [spec], space), space.dataset, space.device)
    pixels = torch.randint(0, 255, (12, 28, 28, 3), dtype=torch.uint8)
    student.train_step(pixels, None, torch.arange(4).repeat(3), torch.arange(12), {})
    rates = [group["lr"] for group in student.optimizer.param_groups]
    assert rates == pytest.approx([1e-2, 3e-2, 3.0])  # trunk, head, proxies at 100 times the head's rate
    assert sum(p.numel() for p in student.optimizer.param_groups[2]["params"]) == 6 * len(space.dataset.train.names)


def test_one_students_activations_at_a_time(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a student's forward pass begins, no other student's graph is alive."""
    space = workspace(data_dir, tmp_path)
    group = [tiny_spec(method) for method in ("triplet", "contrastive", "arcface")]
    alive: list[weakref.ref[torch.Tensor]] = []
    forward = Encoder.forward
    checked = []

    def watched(self: Encoder, images: torch.Tensor, needs: frozenset[str] = frozenset({"embedding"})) -> Features:
        if torch.is_grad_enabled():
            checked.append(all(ref() is None for ref in alive))
        features = forward(self, images, needs)
        if torch.is_grad_enabled():
            alive.append(weakref.ref(features.embedding))
        return features

    monkeypatch.setattr(Encoder, "forward", watched)
    train(group, space)
    assert len(checked) == 3 * 6 and all(checked)
