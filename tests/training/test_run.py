"""A method that is at fault is one failure with one clear line; the others of its group are finished."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result

from benchmark import methods
from benchmark.errors import DataError
from benchmark.methods.hinton import Hinton
from benchmark.methods.rkd import RKDDistance
from benchmark.training.evaluator import Evaluator


@pytest.fixture
def finished(tmp_path: Path) -> Callable[[], list[str]]:
    """The methods that have records."""
    return lambda: sorted(path.stem.rpartition("-")[0] for path in tmp_path.glob("*/*/runs/*.json"))


def cannot_be_made(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    load = methods.load

    def make(*args: Any, **params: Any) -> Any:
        raise TypeError("missing 1 required argument")

    monkeypatch.setattr(methods, "load", lambda name: make if name == broken else load(name))


def test_one_that_cannot_be_made(
    cli: Callable[..., Result],
    smoke: list[str],
    finished: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cannot_be_made(monkeypatch, "rkd-d")
    found = cli(*smoke, "--methods", "rkd-d,rkd-a")
    assert found.code == 1
    assert "failed: rkd-d conv4-8-8 raw seed 0: TypeError: missing 1 required argument" in found.out
    assert finished() == ["rkd-a", "triplet"]  # and the teacher


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (torch.zeros(3), "the loss is a tensor of shape [3], not a tensor with one number"),
        (0.5, "the loss is of type float, not a tensor with one number"),
        (torch.tensor(float("nan"), requires_grad=True), "the loss is nan at step 1 of 10; nothing was updated yet"),
    ],
    ids=["vector", "number", "nan"],
)
def test_one_whose_loss_is_none(
    cli: Callable[..., Result],
    smoke: list[str],
    finished: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    loss: Any,
    says: str,
) -> None:
    monkeypatch.setattr(RKDDistance, "forward", lambda self, batch: loss)
    found = cli(*smoke, "--methods", "rkd-d,rkd-a")
    assert found.code == 1 and says in found.out and "Traceback" not in found.out + found.err
    assert finished() == ["rkd-a", "triplet"]


def test_one_that_cannot_be_prepared(
    cli: Callable[..., Result], smoke: list[str], finished: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(self: Hinton, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        raise ValueError("no such class")

    monkeypatch.setattr(Hinton, "prepare", prepare)
    found = cli(*smoke, "--methods", "hinton,rkd-a")
    assert found.code == 1 and "failed: hinton conv4-8-8 seed 0: ValueError: no such class" in found.out
    assert finished() == ["rkd-a", "triplet"]


def test_one_that_cannot_be_scored_on_the_way(
    cli: Callable[..., Result],
    smoke: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of weights that overflowed in the very update before."""
    score = Evaluator.__call__

    def overflowed(self: Evaluator, student: Any) -> Any:
        if student.spec.method == "rkd-d":
            raise DataError("not finite")
        return score(self, student)

    monkeypatch.setattr(Evaluator, "__call__", overflowed)
    words = [word for word in smoke if word not in ("run", "--seeds", "0")]
    found = cli("tune", *words, "--methods", "rkd-d,rkd-a", "--grid", "lr=1e-3", "--measure-only")
    assert found.code == 1 and "failed: not finite" in found.out
    assert {path.stem.rpartition("-")[0] for path in tmp_path.glob("*/*/tuning/*.json")} == {"rkd-a", "triplet"}


@pytest.mark.parametrize("views", [0, 2])
def test_what_builds_on_a_failure_is_not_run_and_the_others_are(
    cli: Callable[..., Result],
    smoke: list[str],
    finished: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    views: int,
) -> None:
    """A generation whose teacher diverged does not keep those of other methods from theirs; nor a teacher of heads the baseline."""
    cannot_be_made(monkeypatch, "multi-similarity" if views else "rkd-d")
    if views:
        more = ["--methods", "rkd-a,triplet", "--set", "views=2", "--set", "teacher.views=0"]
        found = cli(*smoke, *more, "--set", "teacher.method=multi-similarity")
        lost, kept = 1, ["triplet"]
    else:
        found = cli(*smoke, "--methods", "rkd-d,rkd-a", "--generations", 2)
        lost, kept = 2, ["ensemble", "rkd-a", "rkd-a", "triplet"]
    assert found.code == 1 and "Traceback" not in found.out + found.err
    assert found.out.count("which it builds on, did not finish") == lost
    assert finished() == kept


def test_a_failed_run_goes_on_from_its_checkpoint(
    cli: Callable[..., Result], smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that met another process's memory; what others wrote meanwhile stays."""
    steps: list[float] = []
    forward = RKDDistance.forward

    def interrupted(self: RKDDistance, batch: Any) -> torch.Tensor:
        steps.append(batch.progress)
        if batch.progress >= 0.5:
            raise MemoryError("out of memory")
        return forward(self, batch)

    words = [*smoke, "--methods", "rkd-d", "--dims", 8, "--checkpoint-every", 0]
    with monkeypatch.context() as patch:
        patch.setattr(RKDDistance, "forward", interrupted)
        assert cli(*words).code == 1
    monkeypatch.setattr(
        RKDDistance, "forward", lambda self, batch: steps.append(batch.progress) or forward(self, batch)
    )
    assert cli(*words).code == 0
    assert (
        steps == sorted(steps) and len(set(steps)) == len(steps) - 1
    )  # the step that failed is the first of the second run
    assert not list(tmp_path.glob("*/*/checkpoints/*.pt"))
