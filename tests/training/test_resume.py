"""What a stopped run goes on from: nothing that has changed since. Such a run starts again from step 0, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_spec
from safetensors.torch import load_file, save
from test_lockstep import assert_equal, train, weights, workspace

from benchmark.data.splits import Contents
from benchmark.spec import Spec
from benchmark.training.context import RunContext

TRUNK = tiny_spec("contrastive", backbone="conv4-5", dim=10, steps=3, seed=7)


def stopped(specs: list[Spec], space: RunContext) -> None:
    def stop_at_five(step: int, losses: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(specs, space, stop_at_five, every=0)


def steps_of(specs: list[Spec], space: RunContext) -> tuple[list[int], list[str]]:
    """The steps that are done, and what is said."""
    steps: list[int] = []
    said: list[str] = []
    space.progress = lambda what, done, of: said.append(what) if not of else None
    train(specs, space, lambda step, losses: steps.append(step))
    return steps, said


def another_network(space: RunContext, spec: Spec) -> None:
    """Weights as another machine gives them."""
    state = {name: tensor * 1.01 for name, tensor in load_file(space.store.weights(spec)).items()}
    space.store.save_weights(spec, save(state))


def other_teacher(space: RunContext, spec: Spec) -> None:
    assert spec.teacher is not None
    another_network(space, spec.teacher)


def other_trunk(space: RunContext, spec: Spec) -> None:
    another_network(space, TRUNK)


def other_images(space: RunContext, spec: Spec) -> None:
    """Of the same names and sizes."""
    dataset = space.dataset
    assert isinstance(dataset.train.images, np.ndarray) and dataset.gallery is None
    train = replace(dataset.train, images=255 - dataset.train.images)
    contents = Contents(space.data_dir, {"train": train, "test": dataset.query}, "", space.cache)
    space.dataset = replace(dataset, train=train, contents=contents)


def an_older_version(space: RunContext, spec: Spec) -> None:
    path = space.checkpoint(spec)
    state = torch.load(path, weights_only=True)
    del state["basis"], state["threads"]
    torch.save(state, path)


def nothing(space: RunContext, spec: Spec) -> None:
    pass


IMAGES = tiny_spec("rkd-d", steps=8)
HEADS = tiny_spec("rkd-d", steps=8, views=2, trunk=TRUNK)
CHANGES: list[tuple[Spec, Callable[[RunContext, Spec], None], str]] = [
    (IMAGES, other_teacher, "of other weights of triplet"),
    (HEADS, other_teacher, "of other teacher's features and weights of triplet"),
    (HEADS, other_trunk, "of other features and weights of contrastive"),
    (IMAGES, other_images, "of other images"),
    (HEADS, other_images, "of other images"),
    (IMAGES, an_older_version, "of an older version"),
    (IMAGES, nothing, ""),
    (HEADS, nothing, ""),
]


@pytest.mark.parametrize(("spec", "change", "says"), CHANGES)
def test_a_run_goes_on_from_what_it_knew_alone(
    data_dir: Path, tmp_path: Path, spec: Spec, change: Callable[[RunContext, Spec], None], says: str
) -> None:
    space, whole = workspace(data_dir, tmp_path / "stopped"), workspace(data_dir, tmp_path / "whole")
    for each in (space, whole):
        train([parent for parent in spec.parents if parent.steps], each)
    stopped([spec], space)
    change(space, spec)
    if change is not an_older_version:
        change(whole, spec)
    steps, said = steps_of([spec], space)
    if says:
        assert steps == list(range(1, 9))
        assert len(said) == 1 and said[0].startswith(f"{spec.label}: its checkpoint is {says}"), said
        assert said[0].endswith("it starts again from step 0")
    else:
        assert steps == [5, 6, 7, 8] and not said
    train([spec], whole)
    assert_equal(weights(space, spec), weights(whole, spec))
    assert not list(space.store.checkpoints.glob("*.pt"))


def test_a_checkpoint_of_a_method_that_was_edited_is_told_and_goes(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, spec = workspace(data_dir, tmp_path), tiny_spec("triplet", steps=8)
    stopped([spec], space)
    before = space.checkpoint(spec)
    monkeypatch.setattr("benchmark.training.context.edition", lambda name: "edited")
    stopped([spec], space)
    assert not before.exists()
    steps, said = steps_of([spec], space)
    assert steps == [5, 6, 7, 8] and not said  # told when it was dropped, and not again
