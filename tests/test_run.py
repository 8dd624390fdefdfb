"""A method that is at fault is one failure with one clear line; the others of its group are finished."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result

from benchmark import methods
from benchmark.methods.rkd import RKDDistance


@pytest.fixture
def finished(tmp_path: Path) -> Callable[[], list[str]]:
    """The methods that have records."""
    return lambda: sorted(path.stem.rpartition("-")[0] for path in tmp_path.glob("*/*/runs/*.json"))


def test_one_that_cannot_be_made(
    cli: Callable[..., Result],
    smoke: list[str],
    finished: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = methods.load

    def broken(name: str) -> Any:
        def make(*args: Any, **params: Any) -> Any:
            raise TypeError("missing 1 required argument")

        return make if name == "rkd-d" else load(name)

    monkeypatch.setattr(methods, "load", broken)
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
