"""Results query by query: what a record says of classes, and the file beside the weights, by which forged numbers are noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result, assert_one_line, fields_of
from made_records import student

from benchmark.errors import BenchmarkError
from benchmark.files import digest, sealed, unsealed
from benchmark.queries import Queries, check_queries, unpacked
from benchmark.record import ByClass, Record, read_record
from benchmark.retrieval.metrics import evaluate
from benchmark.store import Store

Cli = Callable[..., Result]


@pytest.fixture
def ran(cli: Cli, smoke: list[str], tmp_path: Path) -> Store:
    assert cli(*smoke, "--methods", "rkd-d", "--steps", "2", "--set", "teacher.steps=2").code == 0
    assert cli("report", "--results", tmp_path).code == 0
    return Store(tmp_path / "tiny" / "smoke")


def test_queries_by_hand() -> None:
    """On a line at 0 1 3 7 8 and 20, of classes 5 9 5 9 9 7: the last one has no partner."""
    retrieval = evaluate(np.array([[0.0], [1], [3], [7], [8], [20]]), np.array([5, 9, 5, 9, 9, 7]), at=(1,))
    queries = retrieval.l2
    assert queries.row.tolist() == [0, 1, 2, 3, 4]
    assert queries.nearest.tolist() == [1, 0, 1, 4, 3]
    assert queries.hit.tolist() == [False, False, False, True, True]
    assert queries.precision.tolist() == [0, 0, 0, 0.5, 0.5]
    by_class = queries._replace(label=np.array([5, 9, 5, 9, 9], np.int32)).by_class()
    assert by_class == ByClass(queries=(2, 3), hits=(0, 2), precision=(0, 0.333333))
    assert queries.by_class() is None and by_class.gives(retrieval.evaluation, retrieval.evaluation.l2)


def test_means_over_queries_are_the_metrics() -> None:
    random = np.random.default_rng(0)
    rows, gallery = random.normal(size=(2, 300, 3)).astype(np.float32)
    labels, others = random.integers(9, size=(2, 300))
    for case in ((rows, labels), (rows, labels, gallery, others)):
        retrieval = evaluate(*case)
        for queries, metrics in (
            (retrieval.l2, retrieval.evaluation.l2),
            (retrieval.cosine, retrieval.evaluation.cosine),
        ):
            assert queries.hit.mean() == metrics["recall@1"]
            assert queries.precision.mean() == pytest.approx(metrics["map@r"], abs=1e-6)
            assert ((case[-1][queries.nearest] == labels[queries.row]) == queries.hit).all()
            assert unpacked(queries.packed()).packed() == queries.packed()


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record, and seal it again."""
    fields = fields_of(path)
    change(fields)
    path.write_text(sealed(fields))


def test_a_forged_metric_is_noticed_by_the_classes(cli: Cli, ran: Store, tmp_path: Path) -> None:
    path = next(ran.records.glob("rkd-d-*.json"))
    forge(path, lambda fields: fields["evaluation"]["l2"].update({"recall@1": fields["evaluation"]["l2"]["recall@2"]}))
    assert_one_line(cli("verify", "--results", tmp_path), 1, "by_class does not give its metrics")


def test_forged_classes_are_noticed_by_the_queries(cli: Cli, smoke: list[str], ran: Store, tmp_path: Path) -> None:
    """Metrics and classes that fit each other, in a record with a digest: the file beside the weights has other numbers."""
    path = next(ran.records.glob("rkd-d-*.json"))
    assert cli("verify", "--results", tmp_path).code == 0

    def change(fields: dict[str, Any]) -> None:
        metrics, classes = fields["evaluation"]["l2"], fields["by_class"]
        at = next(i for i, hits in enumerate(classes["hits"]) if hits)
        classes["hits"][at] -= 1
        metrics["recall@1"] = sum(classes["hits"]) / sum(classes["queries"])

    forge(path, change)
    read_record(path)
    said = cli("verify", "--results", tmp_path)
    assert said.code == 1 and "its record has other numbers than its queries" in said.out
    assert "its record has other numbers than its queries" in measured(cli, smoke).out


def measured(cli: Cli, smoke: list[str]) -> Result:
    words = [word for name in ("--dataset", "--preset", "--data", "--results") for word in (name, value(smoke, name))]
    return cli("measure", *words)


def value(smoke: list[str], name: str) -> str:
    return smoke[smoke.index(name) + 1]


def test_other_queries_than_the_records(cli: Cli, smoke: list[str], ran: Store, tmp_path: Path) -> None:
    """A file that was changed is told of by `verify` and `measure`; one that is gone is measured again, to the bit."""
    record = next(record for record in ran if record.spec.method == "rkd-d")
    path = ran.queries(record.spec)
    right = path.read_bytes()
    assert digest(right) == record.queries
    queries = unpacked(right)
    path.write_bytes(queries._replace(hit=~queries.hit).packed())
    for said in (cli("verify", "--results", tmp_path), measured(cli, smoke)):
        assert said.code == 1 and f"{path} has not the queries of its record" in said.out
    path.unlink()
    assert cli("verify", "--results", tmp_path).code == 0
    assert measured(cli, smoke).code == 0 and path.read_bytes() == right


def test_queries_go_and_come_with_weights(cli: Cli, smoke: list[str], ran: Store) -> None:
    record = next(record for record in ran if record.spec.method == "rkd-d")
    right = ran.queries(record.spec).read_bytes()
    ran.weights(record.spec).unlink()
    ran.clear_litter()
    assert not ran.queries(record.spec).exists()
    place = [word for name in ("--data", "--results", "--device") for word in (name, value(smoke, name))]
    assert cli("run", "--like", ran.path(record.spec), *place).code == 0
    assert ran.queries(record.spec).read_bytes() == right
    ran.save_weights(record.spec, b"others")
    assert not ran.queries(record.spec).exists()  # they were of other weights


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hits": (1, 4)}, "more hits than queries"),
        ({"hits": (1,)}, "queries, hits and precision each"),
        ({"queries": (), "hits": (), "precision": ()}, "queries, hits and precision each"),
    ],
)
def test_classes_that_cannot_be(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ByClass(**{"queries": (2, 3), "hits": (0, 2), "precision": (0, 0.5)} | changes)


def test_a_record_of_before_has_none_and_one_of_others_is_refused() -> None:
    record = student("rkd-d", 0.6)
    assert record.by_class is None and record.queries is None and record.sources == {}
    classes = {"queries": [8000, 642], "hits": [4800, 385], "precision": [0.3, 0.3]}
    fields = record.model_dump() | {"by_class": classes}
    fields["evaluation"]["cosine"]["recall@1"] = fields["evaluation"]["l2"]["recall@1"] = 5185 / 8642
    assert Record.model_validate(fields).by_class
    for change in ({"hits": [4800, 386]}, {"precision": [0.3, 0.301]}, {"queries": [8000, 643]}):
        with pytest.raises(ValueError, match="does not give its metrics"):
            Record.model_validate(fields | {"by_class": classes | change})


def test_a_damaged_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(b"nothing")
    record = student("rkd-d", 0.6)
    check_queries(record, path)  # which knows of none
    with pytest.raises(BenchmarkError, match="has not the queries"):
        check_queries(record.model_copy(update={"queries": "0" * 16}), path)
    with pytest.raises(BenchmarkError, match="holds no queries"):
        check_queries(record.model_copy(update={"queries": digest(b"nothing")}), path)
    pickled = Queries(*(np.array([{}]) for _ in range(4))).packed()
    with pytest.raises(BenchmarkError, match="holds no queries"):
        unpacked(pickled)


def test_a_list_of_numbers_is_a_line() -> None:
    fields = {"a": [1, 2.5, -3e-7], "b": [], "c": ["x", "y"], "d": {"e": [[1], [2]]}}
    text = sealed(fields)
    assert '"a": [ 1, 2.5, -3e-07 ]' in text and unsealed(text.encode()) == json.loads(json.dumps(fields))
