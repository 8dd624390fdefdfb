"""Identity of runs, their order, and records on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import fields_of, tiny_spec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files import digest, write_atomically
from benchmark.record import Evaluation, Record, read_record
from benchmark.spec import Spec, Stream, derive, waves
from benchmark.store import Store


def record(spec: Spec, recall: float = 0.5) -> Record:
    metrics = {"recall@1": recall, "map@r": recall / 2, "r_precision": recall}
    evaluation = Evaluation(l2=metrics, cosine=metrics, queries=10, dropped=0, gallery=10)
    return Record(
        id=spec.id,
        spec=spec,
        evaluation=evaluation,
        loss=0.1,
        parameters=1,
        seconds={},
        data="",
        weights="",
        teacher=None,
        environment={},
    )


def test_the_id_is_stable() -> None:
    """Committed records are found by it: if this changes, all of them are orphans."""
    assert Spec(dataset="cub", method="triplet").id == "5a83796163"
    assert Spec(dataset="cub", method="triplet", steps=1000).id == "5a83796163"  # the default, given


@pytest.mark.parametrize(
    "field", [name for name in Spec.model_fields if name not in ("teacher", "trunk", "milestones")]
)
def test_every_field_changes_the_id(field: str) -> None:
    other = {
        "dataset": "x", "data": "x", "subset": "2x2", "evaluation": "validation",
        "fold": "1/2", "seed": 5, "steps": 7, "batch": 11, "per_class": 2,
        "resize": 99, "fit": "pad", "image": 17, "flip": True, "method": "x", "params": {"margin": 0.3}, "backbone": "x",
        "pretrained": True,
        "dim": 3, "normalize": False, "batchnorm": "frozen", "optimizer": "adam", "lr": 0.5, "head_lr": 9.0, "weight_decay": 0.5,
        "schedule": "cosine", "decay": 0.7, "precision": "bf16", "views": 3, "hidden": 5,
        "head": "plain",
    }  # fmt: skip
    spec = tiny_spec(evaluation="validation" if field == "fold" else "test")
    assert spec.replace(**{field: other[field]}).id != spec.id


@pytest.mark.parametrize("fold", ["0/2", "3/2", "1/1", "1", "a/b", "1/2\n"])
def test_impossible_folds(fold: str) -> None:
    with pytest.raises(ValidationError, match="a fold is PART/PARTS"):
        tiny_spec(evaluation="validation", fold=fold)


def test_folds_are_of_training_classes() -> None:
    with pytest.raises(ValidationError, match="fold=1/2 is of validation runs"):
        tiny_spec(fold="1/2")


@pytest.mark.parametrize("parent", ["teacher", "trunk"])
def test_parents_are_part_of_the_identity(parent: str) -> None:
    spec = tiny_spec("rkd-d", views=2, trunk=tiny_spec(seed=3))
    assert spec.replace(**{parent: getattr(spec, parent).replace(lr=0.5)}).id != spec.id
    assert spec.depth == 1 and set(spec.parents) == {spec.teacher, spec.trunk}


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 10**6))
def test_derived_seeds_differ_by_purpose_and_step(seed: int, one: int, other: int) -> None:
    assert derive(seed, "batch", one) == derive(seed, "batch", one)
    assert derive(seed, "batch", one) != derive(seed, "crop", one)
    assert (derive(seed, "batch", one) == derive(seed, "batch", other)) == (one == other)
    assert 0 <= derive(seed, "batch", one) < 2**63


@pytest.mark.parametrize(
    "change",
    [{"dim": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"batch": 1}, {"subset": "8"}, {"image": 33}, {"per_class": 13},
     {"milestones": (1.5,)}, {"nonsense": 1}, {"precision": "fp8"}],
)  # fmt: skip
def test_impossible_values_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        tiny_spec().replace(**change)


def test_specs_round_trip_through_json() -> None:
    spec = tiny_spec("rkd-da", milestones=(0.5, 0.75))
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_waves_put_teachers_first_and_group_by_stream() -> None:
    student, other = tiny_spec("rkd-d"), tiny_spec("rkd-a")
    teacher = student.teacher
    assert teacher is not None
    second = tiny_spec("rkd-d", seed=1)
    generation = tiny_spec("rkd-d", teacher=student)
    plan = waves([generation, student, other, second, teacher, student])
    assert plan == [[[teacher]], [[student, other], [second]], [[generation]]]


def test_the_stream_is_what_batches_depend_on() -> None:
    spec = tiny_spec("rkd-d")
    assert spec.stream == tiny_spec("triplet", lr=0.5, dim=3, backbone="conv4-9").stream
    assert spec.stream != tiny_spec("rkd-d", seed=1).stream
    assert set(Stream.model_fields) < set(Spec.model_fields)


def test_store_saves_reads_and_knows_what_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    spec = tiny_spec("rkd-d")
    assert spec.teacher is not None
    assert store.missing([spec]) == [spec.teacher, spec]
    store.save(record(spec.teacher))
    assert store.missing([spec]) == [spec.teacher, spec]  # its weights are not here
    store.save_weights(spec.teacher, b"weights")
    assert store.missing([spec]) == [spec]
    store.save(record(spec, 0.123456789))
    assert store.missing([spec]) == []
    assert [found.id for found in store] == sorted([spec.id, spec.teacher.id], key=lambda id: id != spec.id)
    assert read_record(store.path(spec)).metrics["recall@1"] == 0.123457
    assert read_record(store.path(spec)).spec == spec


def test_a_teacher_is_taken_over_from_another_preset(tmp_path: Path) -> None:
    other, store = Store(tmp_path / "cpu"), Store(tmp_path / "heads")
    spec = tiny_spec("rkd-d")
    assert spec.teacher is not None
    other.save_weights(spec.teacher, b"weights")
    other.save(record(spec.teacher))
    assert store.bring([spec], [tmp_path / "cpu"]) == []  # the weights are not those of the record
    known = record(spec.teacher).model_copy(update={"weights": digest(b"weights")})
    other.save(known)
    store.save(record(spec.teacher, 0.7))
    assert store.bring([spec], [tmp_path / "cpu"]) == []  # there is another record already, which students may have
    store.path(spec.teacher).unlink()
    assert store.bring([spec], [tmp_path / "cpu"]) == [known]
    assert store.missing([spec]) == [spec] and store.weights(spec.teacher).read_bytes() == b"weights"
    assert store.bring([spec], [tmp_path / "cpu"]) == []


def test_a_record_that_is_not_json_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.records.mkdir()
    (store.records / "x-1.json").write_text("{")
    with pytest.raises(BenchmarkError, match=r"x-1\.json is not a record .*; restore it, or delete it"):
        list(store)


def test_a_record_that_was_edited_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    spec = tiny_spec()
    store.save(record(spec))
    content = fields_of(store.path(spec))
    content["spec"]["lr"] = 0.5
    store.path(spec).write_text(json.dumps(content))
    with pytest.raises(BenchmarkError, match="file or content was changed"):
        list(store)
    store.save(record(spec))
    text = store.path(spec).read_text()
    store.path(spec).write_text(text.replace('"recall@1": 0.5', '"recall@1": 0.51'))
    with pytest.raises(BenchmarkError, match="its digest is another"):
        list(store)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
