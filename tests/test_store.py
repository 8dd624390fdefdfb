"""A folder of results over time: weights that are lost, litter, older versions, other commands beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, assert_one_line, fields_of

from benchmark.record import Record
from benchmark.spec import Spec
from benchmark.store import Store

Cli = Callable[..., Result]


@pytest.fixture
def ran(cli: Cli, smoke: list[str], tmp_path: Path) -> Store:
    """A small run: a teacher, a student with a map into its space, one without a teacher."""
    assert cli(*smoke, "--methods", "regression,triplet", "--steps", "2", "--set", "teacher.steps=2").code == 0
    return Store(tmp_path / "tiny" / "smoke")


def leaf(store: Store) -> Record:
    """The run that nobody builds on and that has a map."""
    return next(record for record in store if record.projector)


def given(smoke: list[str], *names: str) -> list[str]:
    """Those options of the run that other commands have as well."""
    return [word for name in names for word in (name, smoke[smoke.index(name) + 1])]


@pytest.mark.parametrize("there", [True, False])
def test_a_leaf_without_sound_weights_is_trained_again(
    cli: Cli, smoke: list[str], ran: Store, tmp_path: Path, there: bool
) -> None:
    """By the command that the message names; its record stays as it was."""
    record = leaf(ran)
    path, kept = ran.weights(record.spec), ran.path(record.spec).read_bytes()
    right = path.read_bytes()
    if there:
        path.write_bytes(right[:-100] + bytes(100))
    else:
        path.unlink()
    place = given(smoke, "--data", "--results", "--device")
    said = cli("measure", *given(smoke, "--dataset", "--preset"), *place).out
    advice = f"run --like {ran.path(record.spec)}"
    assert f"benchmark {advice} trains it again" in said
    again = cli(*advice.split(), *place)
    assert (
        again.code == 0
        and "1 of those done, teachers included, to train again" in again.out
        and "0 to run" in again.out
    )
    assert path.read_bytes() == right and ran.path(record.spec).read_bytes() == kept
    assert cli("measure", *given(smoke, "--dataset", "--preset"), *place).code == 0
    assert "trained again" not in cli(*advice.split(), *place).out


def test_what_lies_beside_no_weights_goes(cli: Cli, smoke: list[str], ran: Store) -> None:
    record = leaf(ran)
    ran.weights(record.spec).unlink()
    stray = ran.checkpoints / "0123456789.safetensors.sha256"
    stray.touch()
    others = {
        "notes.txt",
        f"{'0' * 10}.safetensors.somewhere.1.abcdefgh.partial",
    }  # of a user, and of another machine that writes now
    for name in others:
        (ran.checkpoints / name).touch()
    cli(*smoke, "--methods", "regression,triplet", "--steps", "2", "--set", "teacher.steps=2", "--dry-run")
    assert stray.exists()  # nothing is touched by a plan
    cli(*smoke, "--methods", "regression,triplet", "--steps", "2", "--set", "teacher.steps=2")
    others |= {ran.queries(other.spec).name for other in ran if other.id != record.id}
    kept = {Store.weights(ran, other.spec).name for other in ran if other.id != record.id}
    names = {path.name for path in ran.checkpoints.iterdir()}
    assert names == kept | {f"{name}.sha256" for name in kept} | others


@pytest.mark.parametrize("sound", [True, False])
def test_a_checkpoint_of_a_finished_run_of_an_older_version_goes(
    cli: Cli, smoke: list[str], ran: Store, sound: bool
) -> None:
    """Which wrote no sum beside its weights: the record knows them."""
    record = leaf(ran)
    path = ran.weights(record.spec)
    path.with_name(f"{path.name}.sha256").unlink()
    if not sound:
        path.write_bytes(bytes(100))
    leftover = ran.checkpoints / f"{record.id}.0123456789.pt"
    leftover.touch()
    assert cli(*smoke, "--methods", "triplet", "--steps", "2", "--set", "teacher.steps=2").code == 0
    assert leftover.exists() != sound


def test_a_validation_run_among_the_results_is_one_clear_line(
    cli: Cli, smoke: list[str], ran: Store, tmp_path: Path
) -> None:
    path = ran.path(leaf(ran).spec)
    fields = fields_of(path)
    fields["spec"]["evaluation"] = "validation"
    fields["id"] = Spec.model_validate(fields["spec"]).id
    stray = path.with_name(f"regression-{fields['id']}.json")
    stray.write_text(json.dumps(fields))
    for words in (["report", "--results", tmp_path], [*smoke, "--methods", "triplet"]):
        assert_one_line(cli(*words), 1, stray.name, "scored on validation classes", "tuning")


def test_a_run_in_another_commands_hands_is_not_measured(cli: Cli, smoke: list[str], ran: Store) -> None:
    record = leaf(ran)
    with ran.claimed([record.spec]) as held:
        assert held == [record.spec]
        words = ["measure", *given(smoke, "--dataset", "--preset", "--data", "--results", "--device")]
        measured = cli(*words)
    assert measured.code == 1 and f"failed: {record.spec.label}: another command has it in hand" in measured.out
    assert "2 of 3 runs measured again" in measured.out
    assert not list(ran.checkpoints.glob("*.lock"))
