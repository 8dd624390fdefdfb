"""Finished runs measured again from their weights, by the real command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, fields_of
from safetensors.torch import load_file, save

from benchmark.spec import Spec
from benchmark.store import Store

METHODS = "untrained,triplet,rkd-d,regression,pca,pq"


def words(data_dir: Path, results: Path) -> list[str]:
    return f"--dataset tiny --preset smoke --device cpu --data {data_dir} --results {results}".split()


@pytest.mark.parametrize("views", [0, 2])
def test_what_a_record_lacks_is_added_as_a_run_measures_it(
    cli: Callable[..., Result], data_dir: Path, tmp_path: Path, views: int
) -> None:
    given = words(data_dir, tmp_path)
    done = cli("run", *given, "--seeds", 0, "--methods", METHODS, "--set", f"views={views}", "--set", "teacher.views=0")
    assert done.code == 0, done.err
    runs = {path: path.read_text() for path in sorted(tmp_path.glob("*/*/runs/*.json"))}
    assert all(json.loads(text)["geometry"] for text in runs.values())
    assert all(json.loads(text)["by_class"] for text in runs.values())
    queries = {path: path.read_bytes() for path in tmp_path.glob("*/*/checkpoints/*.queries.npz")}
    assert len(queries) == len(runs)
    for path in runs:
        lacking = fields_of(path) | {"geometry": None, "by_class": None, "queries": None}
        for evaluation in filter(None, (lacking["evaluation"], lacking["asymmetric"])):
            del evaluation["l2"]["r_precision"], evaluation["cosine"]["r_precision"]  # a metric of a later version
        path.write_text(json.dumps(lacking))
    for path in list(queries)[::2]:
        path.unlink()
    again = cli("measure", *given)
    assert again.code == 0, again.out
    assert {path: path.read_text() for path in runs} == runs
    assert {path: path.read_bytes() for path in queries} == queries


def test_numbers_that_weights_do_not_give_are_errors_and_records_stay(
    cli: Callable[..., Result], data_dir: Path, tmp_path: Path
) -> None:
    given = words(data_dir, tmp_path)
    assert cli("run", *given, "--seeds", 0, "--methods", "untrained,rkd-d,rkd-a").code == 0
    changed, lost, other = (next(tmp_path.glob(f"*/*/runs/{name}-*.json")) for name in ("untrained", "rkd-d", "rkd-a"))
    record = fields_of(changed)
    record["evaluation"]["cosine"]["recall@1"] -= 0.01
    record |= {"by_class": None, "queries": None}  # as older versions wrote it
    changed.write_text(json.dumps(record))
    weights = next(tmp_path.glob("*/*/checkpoints"))
    (weights / f"{json.loads(lost.read_text())['id']}.safetensors").unlink()
    (weights / f"{json.loads(other.read_text())['id']}.safetensors").write_bytes(b"something else")
    before = {path: path.read_text() for path in (changed, lost, other)}
    found = cli("measure", *given)
    assert found.code == 1
    assert "untrained" in found.out and "differs from its record by 0.0100" in found.out
    assert "its weights are not on this machine" in found.out
    assert "is not the network of its record" in found.out
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("there", [True, False])
def test_a_teacher_that_is_another_or_gone(
    cli: Callable[..., Result], data_dir: Path, tmp_path: Path, there: bool
) -> None:
    """Its students are failures of one line each and keep their records; what it did not teach is measured, of their group as well."""
    given = words(data_dir, tmp_path)
    heads = ["--set", "views=2", "--set", "teacher.views=0", "--set", "triplet.views=2"]
    assert cli("run", *given, "--seeds", 0, "--methods", "triplet,rkd-d,rkd-a", *heads).code == 0
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/runs/*.json")]
    taught = next(run for run in runs if run["spec"]["method"] == "rkd-d")
    first = next(run for run in runs if run["spec"]["method"] == "triplet" and run["spec"]["views"])
    weights = next(tmp_path.glob("*/*/checkpoints"))
    trained_again = weights / f"{Spec.model_validate(taught['spec']['teacher']).id}.safetensors"
    if there:
        state = {name: tensor + 0.01 for name, tensor in load_file(trained_again).items()}
        Store(weights.parent).save_weights(Spec.model_validate(taught["spec"]["teacher"]), save(state))
    else:
        trained_again.unlink()
    for run in (first, taught):
        path = next(tmp_path.glob(f"*/*/runs/*-{run['id']}.json"))
        path.write_text(json.dumps(fields_of(path) | {"geometry": None}))
    found = cli("measure", *given)
    assert found.code == 1 and "Traceback" not in found.out + found.err
    says = "is not the teacher that it had" if there else "of triplet conv4-16-16 seed 0 are not on this machine"
    assert f"failed: {Spec.model_validate(taught['spec']).label}: " in found.out and says in found.out
    assert ("rkd-a" in found.out) != there  # its likeness was measured when it ran
    measured = {run["id"]: run["geometry"] for run in map(_read, tmp_path.glob("*/*/runs/*.json"))}
    assert measured[first["id"]] and not measured[taught["id"]]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_nothing_to_measure_is_a_usage_error(cli: Callable[..., Result], data_dir: Path, tmp_path: Path) -> None:
    found = cli("measure", *words(data_dir, tmp_path))
    assert found.code == 2
    assert "runs/ holds no record" in found.err
