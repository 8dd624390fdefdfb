"""Heads on frozen features: what is cached, what is resumed, and that the contract of training in lockstep holds there too."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_spec
from test_lockstep import assert_equal, final_weights, start, train, weights, workspace

from benchmark import methods
from benchmark.costs import paid
from benchmark.data.cache import features, view
from benchmark.errors import DataError
from benchmark.networks.weights import load_encoder
from benchmark.record import Record
from benchmark.spec import Spec, Stream
from benchmark.training.evaluator import Evaluator
from benchmark.training.initial import make_student
from benchmark.training.measure import remeasure
from benchmark.training.streams import compute_features, open_inputs

METHODS = [name for name, entry in methods.catalogue().items() if entry.trains and "maps" not in entry.needs]
TRUNK = tiny_spec("contrastive", backbone="conv4-4", dim=5, steps=4, seed=3)


def head(method: str = "triplet", **changes: object) -> Spec:
    return tiny_spec(method, **{"views": 3, "trunk": TRUNK, **changes})


def parents(*specs: Spec) -> list[Spec]:
    return list(dict.fromkeys(parent for spec in specs for parent in spec.parents))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))


def test_a_head_is_the_same_alone_and_in_a_group(data_dir: Path, tmp_path: Path) -> None:
    together, alone = workspace(data_dir, tmp_path / "together"), workspace(data_dir, tmp_path / "alone")
    group = [head(method) for method in METHODS]
    group += [
        head("rkd-da", dim=9),
        head("rkd-da", hidden=7),
        head("triplet", trunk=None, hidden=7),
        head("rkd-d", head="plain"),
    ]
    for space in (together, alone):
        for parent in parents(*group):
            train([parent], space)
    records = {o.id: o for o in train(group, together) if isinstance(o, Record)}
    assert len(records) == len(group)
    for spec in reversed(group):
        (record,) = train([spec], alone)
        assert isinstance(record, Record) and record.evaluation == records[spec.id].evaluation
        assert_equal(weights(alone, spec), weights(together, spec))
        assert not any(name.startswith("trunk.") for name in weights(alone, spec))


def test_a_head_stopped_and_resumed(data_dir: Path, tmp_path: Path) -> None:
    group = [head(name) for name in ("rkd-da", "hinton", "triplet", "crd", "csd", "fitnet+rkd-da")]
    whole, stopped = workspace(data_dir, tmp_path / "whole"), workspace(data_dir, tmp_path / "stopped")

    def stop(step: int, losses: object) -> None:
        if step == 4:
            raise KeyboardInterrupt

    for space in (whole, stopped):
        for parent in parents(*group):
            train([parent], space)
    train(group, whole)
    with pytest.raises(KeyboardInterrupt):
        train(group, stopped, stop, every=0)
    train(group, stopped)
    for spec in group:
        assert_equal(weights(stopped, spec), weights(whole, spec))


def test_teacher_and_student_see_the_same_crop(data_dir: Path, tmp_path: Path) -> None:
    """The features that a step draws are the two trunks' on one crop, computed anew."""
    space = workspace(data_dir, tmp_path)
    spec = head("rkd-d")
    for parent in parents(spec):
        train([parent], space)
    inputs = open_inputs(space.dataset, [spec], space)
    assert spec.teacher is not None
    drawn = inputs.draw(2)
    assert len(set(drawn.index)) == spec.batch and np.array_equal(drawn.labels, space.dataset.train.labels[drawn.index])
    images = space.images(space.dataset.train, spec.stream)
    from benchmark.networks.weights import load_encoder

    def nearest(run: Spec, cached: np.ndarray) -> list[int]:
        trunk = load_encoder(run, space.store, space.device).trunk
        assert trunk is not None
        found = []
        for row, mine in zip(drawn.index, cached, strict=True):
            crops = np.concatenate([view(images, number, spec, row, row + 1) for number in (1, 2, 3)])
            with torch.no_grad():
                pooled = trunk(torch.from_numpy(crops))[0].numpy()
            errors = np.abs(pooled - mine.astype(np.float32)).max(axis=1)
            assert errors.min() < 2e-3 * max(1, np.abs(pooled).max())
            found.append(int(errors.argmin()))
        return found

    student, teacher = nearest(TRUNK, drawn.read(spec)), nearest(spec.teacher, drawn.read(spec.teacher))
    assert student == teacher and len(set(student)) == 3


STOPPED = ("--set", "views=2", "--set", "teacher.steps=2")
STEPS = 400  # more than a child takes until it is stopped


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of a command that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(data_dir, folder, *STOPPED, steps=STEPS)
    assert process.communicate()[0] and process.returncode == 0
    return final_weights(folder)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_goes_on_where_it_was(
    data_dir: Path, tmp_path: Path, whole: dict[str, dict[str, torch.Tensor]], sent: signal.Signals
) -> None:
    """Children write checkpoints when their parent is stopped, and are gone after it."""
    process = start(data_dir, tmp_path, *STOPPED, steps=STEPS)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("fitnet") and f"/{STEPS}" in line:
            break
    os.kill(process.pid, sent)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again to go on" in rest and "Traceback" not in rest, rest
    assert list(tmp_path.rglob("*.pt"))
    last = start(data_dir, tmp_path, *STOPPED, steps=STEPS)
    assert last.communicate()[0] and last.returncode == 0
    weights = final_weights(tmp_path)
    assert whole.keys() == weights.keys() and len(whole) == 4
    for id in whole:
        assert_equal(weights[id], whole[id])


STREAM = Stream(dataset="x", resize=6, image=4, views=2)
IMAGES = np.random.default_rng(0).integers(0, 256, (300, 6, 6, 3), dtype=np.uint8)


def mean_and_max(crops: np.ndarray) -> np.ndarray:
    return np.stack([crops.mean((1, 2, 3)), crops.max((1, 2, 3))], axis=1, dtype=np.float32)


def test_features_are_the_trunks_of_each_view(tmp_path: Path) -> None:
    found = features(lambda: IMAGES, len(IMAGES), 2, 2, STREAM, mean_and_max, "key", tmp_path)
    assert found.shape == (300, 2, 2) and found.dtype == np.float16
    for number in (1, 2):
        assert np.array_equal(
            found[:, number - 1], mean_and_max(view(IMAGES, number, STREAM, 0, 300)).astype(np.float16)
        )
    plain = features(lambda: IMAGES, len(IMAGES), 1, 2, STREAM, mean_and_max, "key", tmp_path)
    assert np.array_equal(plain[:, 0], mean_and_max(IMAGES[:, 1:5, 1:5]).astype(np.float16))


def test_computed_features_are_read_without_their_images(tmp_path: Path) -> None:
    """Each student asks for them: what is rendered would be rendered again for each, and files looked at."""
    whole = features(lambda: IMAGES, len(IMAGES), 2, 2, STREAM, mean_and_max, "key", tmp_path)

    def images() -> np.ndarray:
        raise AssertionError("asked for images")

    assert np.array_equal(whole, features(images, len(IMAGES), 2, 2, STREAM, mean_and_max, "key", tmp_path))


def test_computed_features_are_kept_when_the_rest_is_stopped(tmp_path: Path) -> None:
    calls = []

    def stops(crops: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        if len(calls) == 4:  # in the second block
            raise KeyboardInterrupt
        return mean_and_max(crops)

    with pytest.raises(KeyboardInterrupt):
        features(lambda: IMAGES, len(IMAGES), 2, 2, STREAM, stops, "key", tmp_path)
    found = features(lambda: IMAGES, len(IMAGES), 2, 2, STREAM, stops, "key", tmp_path)
    # The first block, whose sum says that it is whole, is kept.
    assert calls == [128] * 4 + [128] * 2 + [44] * 2
    assert np.array_equal(found, features(lambda: IMAGES, len(IMAGES), 2, 2, STREAM, mean_and_max, "other", tmp_path))
    assert len(list(tmp_path.glob("*.npy"))) == 2 and not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_features_that_float16_cannot_hold_are_an_error(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="images 0 to 127"):
        features(
            lambda: IMAGES,
            len(IMAGES),
            1,
            2,
            STREAM,
            lambda crops: np.full((len(crops), 2), value, np.float32),
            "key",
            tmp_path,
        )
    assert not list(tmp_path.glob("*.npy"))


def test_a_held_out_part_is_cut_from_the_whole(data_dir: Path, tmp_path: Path) -> None:
    """So that tuning computes no features twice; and it holds no test image."""
    space = workspace(data_dir, tmp_path)
    spec = head(evaluation="validation", teacher=None, trunk=TRUNK)
    train([TRUNK], space)
    test = open_inputs(space.dataset, [head(teacher=None)], space)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    held = space.of(spec)
    inputs = open_inputs(held, [spec], space)
    assert sorted((tmp_path / "cache").rglob("*.npy")) == files
    both = np.concatenate([inputs.plain(spec, held.train), inputs.plain(spec, held.query)])
    assert np.array_equal(both, test.plain(head(teacher=None), space.dataset.train))


def test_features_are_computed_before_the_groups_start(data_dir: Path, tmp_path: Path) -> None:
    """In the parent, with all threads, whatever the order of the groups: none is left to a child."""
    space = workspace(data_dir, tmp_path)
    trained, untrained = head("triplet", trunk=None), head("untrained", trunk=None, steps=0)
    compute_features([[trained], [untrained]], space)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    for spec in (trained, untrained):
        open_inputs(space.dataset, [spec], space)
    assert sorted((tmp_path / "cache").rglob("*.npy")) == files and any("-3x" in file.name for file in files)


def test_a_head_cannot_teach_a_network_that_reads_images() -> None:
    with pytest.raises(ValueError, match="cannot teach"):
        tiny_spec("rkd-d", teacher=head())
    with pytest.raises(ValueError, match="set views"):
        tiny_spec(trunk=TRUNK)


def test_heads_in_closed_form_are_runs_like_others(data_dir: Path, tmp_path: Path) -> None:
    """Their records, weights and maps are those of any head; a seed changes nothing but the teacher's."""
    space = workspace(data_dir, tmp_path)
    teacher = tiny_spec("triplet", dim=6, steps=4)
    group = [
        head(name, steps=0, teacher=teacher if entry.needs_teacher else None)
        for name, entry in methods.catalogue().items()
        if entry.kind == "control"
    ]
    for parent in parents(*group):
        train([parent], space)
    records = train(group, space)
    evaluator = Evaluator.open(group, space)
    for spec, record in zip(group, records, strict=True):
        assert isinstance(record, Record), record
        assert record.parameters == sum(
            tensor.numel() for name, tensor in weights(space, spec).items() if "head" in name
        )
        network = load_encoder(spec, space.store, space.device)
        made = make_student(spec, evaluator.teachers, evaluator.inputs, evaluator.dataset, space.device)
        made.encoder = network
        assert evaluator(made) == record.evaluation
        assert (record.asymmetric is not None) == (record.projector is not None) == (spec.teacher is not None)
        assert paid(spec) == (spec,), "its cost is the student's"
    assert all(
        isinstance(outcome, Record) for outcome in remeasure([r for r in records if isinstance(r, Record)], space)
    )
