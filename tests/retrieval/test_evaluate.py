"""Retrieval against plain loops, against two other implementations, and by hand.

`reference/recall.npz` holds the `recall.*` arrays of lenscloth/RKD (the paper's authors) and pytorch-metric-learning.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import DataError, UsageError
from benchmark.record import Evaluation
from benchmark.retrieval import metrics as module
from benchmark.retrieval import search
from benchmark.retrieval.metrics import agreement, evaluate, map_at_r, r_precision, recall_at_k
from benchmark.retrieval.search import Index, neighbours

REFERENCE = Path(__file__).parents[1] / "reference" / "recall.npz"


def test_a_metric_is_a_row(monkeypatch):
    """Its function sees what the others see, and a record takes its name."""
    monkeypatch.setitem(module.METRICS, "precision@2", lambda matches, relevant: matches[:, :2].mean(axis=1))
    rows, labels = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]]), np.array([0, 0, 0, 1, 1])
    for measured in (evaluate(rows, labels), agreement(rows, np.array([[1], [0], [1], [4], [3]]))):
        assert list(measured.evaluation.l2)[-3:] == ["map@r", "r_precision", "precision@2"]
    assert evaluate(rows, labels).evaluation.l2["precision@2"] == pytest.approx((3 * 1 + 2 * 0.5) / 5)


def test_names_of_metrics():
    measured = evaluate(np.arange(4.0)[:, None], np.array([0, 0, 1, 1])).evaluation.model_dump()
    for name in ("recall@0", "recall", "Precision", "precision@", "a b"):
        with pytest.raises(ValueError, match="is no metric"):
            Evaluation.model_validate(measured | {"l2": measured["l2"] | {name: 0.5}})


def distances(query, gallery, metric):
    """[n, m] in float64; under cosine the zero rows are a direction of their own."""
    query, gallery = np.asarray(query, dtype=np.float64), np.asarray(gallery, dtype=np.float64)
    if metric == "l2":
        return np.array([[((q - g) ** 2).sum() for g in gallery] for q in query])
    result = np.ones((len(query), len(gallery)))
    for i, q in enumerate(query):
        for j, g in enumerate(gallery):
            if q.any() and g.any():
                result[i, j] -= q @ g / np.sqrt((q @ q) * (g @ g))
            elif not q.any() and not g.any():
                result[i, j] = 0
    return result


def by_loops(query, query_labels, gallery, gallery_labels, metric, at):
    """The definitions, query by query; a gallery of None is the query set without the query.

    The order is that of `neighbours`, once it is found to be one: float32 may order what differs by less than 1e-4.
    """
    same = gallery is None
    found = neighbours(query, gallery, 1000, metric)
    if same:
        gallery, gallery_labels = query, query_labels
    scores = []
    for i, row in enumerate(distances(query, gallery, metric)):
        assert sorted(found[i]) == [j for j in range(len(gallery)) if not (same and j == i)]
        assert (np.diff(row[found[i]]) > -1e-4).all()
        hits = [gallery_labels[j] == query_labels[i] for j in found[i]]
        r = sum(hits)
        if not r:
            continue
        score = {f"recall@{k}": float(any(hits[:k])) for k in at}
        score["map@r"] = sum(sum(hits[: n + 1]) / (n + 1) for n in range(r) if hits[n]) / r
        score["r_precision"] = sum(hits[:r]) / r
        scores.append(score)
    return len(scores), {name: np.mean([score[name] for score in scores]) for name in scores[0]}


@st.composite
def retrieval(draw):
    """Embeddings with copies and zero rows; classes of any size, one included; with and without a gallery."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(2, 5))
    points = random.normal(size=(draw(st.integers(1, 25)), d)).astype(np.float32)
    if draw(st.booleans()):
        points[0] = 0

    def some(least):
        n = draw(st.integers(least, 40))
        return points[random.integers(len(points), size=n)], random.integers(draw(st.integers(1, 12)), size=n)

    query, query_labels = some(2)
    query_labels[:2] = 0  # so that somebody has a partner
    if draw(st.booleans()):
        return query, query_labels, None, None
    gallery, gallery_labels = some(1)
    gallery_labels[0] = 0
    return query, query_labels, gallery, gallery_labels


@given(retrieval())
@settings(max_examples=150, deadline=None)
def test_equals_plain_loops(case):
    result = evaluate(*case, at=(1, 3, 100)).evaluation
    for metric, found in (("l2", result.l2), ("cosine", result.cosine)):
        queries, expected = by_loops(*case, metric, (1, 3, 100))
        assert found == pytest.approx(expected, abs=1e-9)
        assert result.queries == queries and result.dropped == len(case[0]) - queries


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("cells", [1, search._CELLS])  # many blocks, one block
def test_neighbours_equal_plain_loops(monkeypatch, metric, cells):
    monkeypatch.setattr(search, "_CELLS", cells)
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(2, 150, 8)).astype(np.float32)
    expected = distances(query, gallery, metric).argsort(axis=1, kind="stable")
    np.testing.assert_array_equal(neighbours(query, gallery, 20, metric), expected[:, :20])
    among = distances(query, query, metric)
    np.fill_diagonal(among, np.inf)
    np.testing.assert_array_equal(neighbours(query, None, 20, metric), among.argsort(axis=1, kind="stable")[:, :20])


def test_neighbours_are_as_many_as_there_are():
    query = np.eye(3, dtype=np.float32)
    assert neighbours(query, None, 10, "l2").shape == (3, 2)
    assert neighbours(query, query[:2], 10, "l2").shape == (3, 2)
    assert neighbours(query[:1], None, 10, "l2").shape == (1, 0)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_query_is_removed_by_index(metric):
    """30 equal rows and k = 3: most queries are not among those found, and no query may find itself."""
    found = neighbours(np.ones((30, 4), dtype=np.float32), None, 3, metric)
    assert not (found == np.arange(30)[:, None]).any()
    assert found[0].tolist() == [1, 2, 3] and found[2].tolist() == [0, 1, 3] and found[29].tolist() == [0, 1, 2]


def test_a_large_offset_and_any_scale_leave_l2_as_it_is():
    """Large enough (from n x d = 128,000) for faiss to expand the square, which is where float32 cancels."""
    random = np.random.default_rng(1)
    rows = random.integers(-500, 500, size=(2000, 64)).astype(np.float32)
    expected = neighbours(rows, None, 5, "l2")
    np.testing.assert_array_equal(expected[:9, 0], distances(rows[:9], rows, "l2").argsort(axis=1)[:, 1])
    for moved in (rows + 2**22, rows * np.float32(2.0**100), rows * np.float32(2.0**-100)):  # all exact in float32
        np.testing.assert_array_equal(neighbours(moved, None, 5, "l2"), expected)


def test_metrics_by_hand():
    matches = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 1]], dtype=bool)
    relevant = np.array([2, 3, 1])
    assert recall_at_k(matches, 1).tolist() == [False, True, False]
    assert recall_at_k(matches, 2).tolist() == [True, True, False]
    assert recall_at_k(matches, 9).tolist() == [True, True, True]
    np.testing.assert_allclose(r_precision(matches, relevant), [1 / 2, 2 / 3, 0])
    np.testing.assert_allclose(map_at_r(matches, relevant), [(1 / 2) / 2, (1 + 2 / 3) / 3, 0])


def test_on_a_line_by_hand():
    """0 a, 1 b, 3 a, 7 b, 8 c: c has no partner, but is the neighbour of the b at 7."""
    result = evaluate(np.array([[0.0], [1], [3], [7], [8]]), np.array(list("ababc")), at=(1, 2, 4)).evaluation
    # nearest first: 0: b a b c; 1: a a b c; 3: b a b c (distances 2 3 4 5); 7: c a b a
    assert result.l2 == {"recall@1": 0, "recall@2": 0.5, "recall@4": 1, "map@r": 0, "r_precision": 0}
    assert (result.queries, result.dropped, result.gallery) == (4, 1, 5)


def test_query_and_gallery_by_hand():
    """Nothing is removed: a query's copy in the gallery counts. K = 8 is more than the gallery has."""
    gallery, labels = np.array([[0.0, 1], [1, 0], [0, 5]]), np.array([0, 1, 1])
    result = evaluate(
        np.array([[0.0, 1], [1, 0], [0, 1], [9, 9]]), np.array([0, 1, 1, 7]), gallery, labels, at=(1, 8)
    ).evaluation
    assert (result.queries, result.dropped, result.gallery) == (3, 1, 3)
    # by distance: 0 | 1 0 1 -> R-precision 1/2 | 0 1 1 (distances 0, sqrt 2, 4) -> 1/2
    assert result.l2 == pytest.approx(
        {"recall@1": 2 / 3, "recall@8": 1, "r_precision": 2 / 3, "map@r": (1 + 1 / 2 + 1 / 4) / 3}
    )
    # by cosine the third query's neighbours are 0, 1 (both at similarity 1, lower index first), then 1
    assert result.cosine == pytest.approx(result.l2)


def test_zero_rows_under_cosine():
    rows = np.array([[0, 0], [0, 0], [1, 1e-3], [-1, 0], [1, 0]], dtype=np.float32)
    assert neighbours(rows, None, 4, "cosine").tolist()[0] == [1, 2, 3, 4]  # its like first, all others at 0
    assert neighbours(rows, None, 4, "cosine").tolist()[2] == [4, 0, 1, 3]  # 0 is more than the -1 of the opposite


def test_unit_rows_are_searched_once_with_the_result_of_two(monkeypatch):
    random = np.random.default_rng(2)
    rows = random.normal(size=(400, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = random.integers(40, size=400)
    searches = []
    plain = Index.search
    monkeypatch.setattr(Index, "search", lambda *words: searches.append(1) or plain(*words))
    once = evaluate(rows, labels).evaluation
    assert len(searches) == 1
    monkeypatch.setattr(module, "_UNIT", -1.0)
    assert evaluate(rows, labels).evaluation == once and len(searches) == 3
    assert evaluate(rows * np.float32(1.1), labels).evaluation == once


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("near", [1, 4])
def test_searching_further_only_where_nothing_was_found_changes_nothing(monkeypatch, near, with_gallery):
    random = np.random.default_rng(3)
    sets = random.normal(size=(2, 500, 6)).astype(np.float32), random.integers(250, size=(2, 500))
    arguments = [each[side] for side in range(2 if with_gallery else 1) for each in sets]
    at = (1, 2, 9, 30, 1000)
    searched = []
    whole = Index.search

    def spy(self, query, k, own):
        searched.append((len(query), k))
        return whole(self, query, k, own)

    monkeypatch.setattr(Index, "search", spy)
    plain = evaluate(*arguments, at=at).evaluation
    assert [k for _, k in searched] == [100, 1000] * 2  # l2 and cosine
    assert searched[1][0] < searched[0][0]
    monkeypatch.setattr(module, "NEAR", 10**6)
    assert evaluate(*arguments, at=at).evaluation == plain
    monkeypatch.setattr(module, "NEAR", near)
    searched.clear()
    assert evaluate(*arguments, at=at).evaluation == plain
    assert searched[0][1] < 30 and 0 < searched[1][0] < searched[0][0]
    targets = neighbours(sets[0][0], None, 3, "l2")
    found = agreement(sets[0][1], targets, at=at).evaluation
    monkeypatch.setattr(module, "NEAR", 10**6)
    assert agreement(sets[0][1], targets, at=at).evaluation == found


def test_agreement_by_hand():
    """On a line at 0 1 3 7; the teacher's two nearest of each are given."""
    rows = np.array([[0.0], [1], [3], [7]])
    # found, nearest first: 1 2 3 | 0 2 3 | 1 0 3 | 2 1 0
    targets = np.array([[1, 2], [3, 0], [3, 0], [0, 1]])
    found = agreement(rows, targets, at=(1, 2, 9)).evaluation
    assert (found.queries, found.dropped, found.gallery, found.relevance) == (4, 0, 4, "teacher")
    # of the two nearest, hits 1 1 | 1 0 | 0 1 | 0 1
    assert found.l2 == pytest.approx(
        {
            "recall@1": 1 / 2,
            "recall@2": 1,
            "recall@9": 1,
            "r_precision": 5 / 8,
            "map@r": (1 + 1 / 2 + 1 / 4 + 1 / 4) / 4,
        }
    )


def test_agreement_with_itself_is_whole_and_does_not_depend_on_blocks(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    targets = neighbours(rows, None, 10, "cosine")
    found = agreement(rows, targets).evaluation
    assert set(found.cosine.values()) == {1.0} and found.l2["map@r"] < 1
    monkeypatch.setattr(search, "_CELLS", 1)
    assert agreement(rows, targets).evaluation == found


def test_agreement_is_retrieval_of_classes_where_neighbours_are_classes():
    labels = np.repeat(np.arange(20), 11)
    rows = np.random.default_rng(0).normal(size=(220, 4)).astype(np.float32)
    targets = np.array([np.flatnonzero((labels == labels[i]) & (np.arange(220) != i)) for i in range(220)])
    by_class, by_teacher = evaluate(rows, labels).evaluation, agreement(rows, targets).evaluation
    assert (by_teacher.l2, by_teacher.cosine) == (by_class.l2, by_class.cosine)


def test_the_authors_numbers():
    reference = np.load(REFERENCE)
    result = evaluate(reference["recall.embeddings"], reference["recall.labels"]).evaluation
    for metrics, name in ((result.l2, "raw_l2"), (result.cosine, "cosine")):
        found = [metrics[f"recall@{k}"] for k in (1, 2, 4, 8)]
        np.testing.assert_allclose(found, reference[f"recall.{name}.at_1_2_4_8"], atol=1e-6)
    assert result.cosine["map@r"] == pytest.approx(float(reference["recall.cosine.map_at_r"]), abs=1e-6)
    assert result.cosine["r_precision"] == pytest.approx(float(reference["recall.cosine.r_precision"]), abs=1e-6)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_accuracy_calculator(with_gallery):
    """pytorch-metric-learning, run here, on classes of unequal sizes; by default it searches by raw l2."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    random = np.random.default_rng(3)
    labels = np.minimum(random.integers(30, size=500), random.integers(30, size=500))
    rows = (random.normal(size=(30, 12))[labels] + 1.5 * random.normal(size=(500, 12))).astype(np.float32)
    sets = (rows[:200], labels[:200], rows[200:], labels[200:]) if with_gallery else (rows, labels)
    names = {"precision_at_1": "recall@1", "r_precision": "r_precision", "mean_average_precision_at_r": "map@r"}
    theirs = AccuracyCalculator(include=tuple(names), k="max_bin_count", device=torch.device("cpu")).get_accuracy(
        *(torch.from_numpy(array) for array in sets)
    )
    ours = evaluate(*sets).evaluation.l2
    for their, our in names.items():
        assert ours[our] == pytest.approx(theirs[their], abs=1e-6)


ROWS, LABELS = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.where(np.eye(4) == 1, np.nan, 0), LABELS),
            "4 of 4 query embeddings hold NaN, infinity or numbers beyond float32, first row 0, column 0: nan",
        ),
        (
            (np.array([[0, 1], [0, 1], [1, -1e300], [1, np.inf]]), LABELS),
            "2 of 4 query embeddings hold NaN, infinity or numbers beyond float32, first row 2",
        ),
        (
            (np.array([[0.0, 0], [0, 1], [1, -1e300], [1, 0]]), LABELS),
            "1 of 4 query embeddings hold NaN, infinity or numbers beyond float32, first row 2, column 1: -1e+300",
        ),
        ((ROWS, LABELS[:3]), "4 embeddings, but 3 labels"),
        ((ROWS[0], LABELS), "rows x dimensions"),
        ((ROWS[:0], LABELS[:0]), "rows x dimensions"),
        ((ROWS.astype(complex), LABELS), "real numbers"),
        ((ROWS, LABELS / 2), "integers or strings"),
        ((ROWS, LABELS[:, None]), "integers or strings"),
        ((ROWS, np.arange(4)), "none of the 4 queries"),
        ((ROWS, LABELS, ROWS[:, :3], LABELS), "query embeddings have 4 dimensions, gallery embeddings 3"),
        ((ROWS, LABELS, ROWS, LABELS + 9), "none of the 4 queries"),
        ((ROWS, LABELS, ROWS + np.inf, LABELS), "gallery embeddings hold NaN"),
    ],
)
def test_bad_arrays(arguments, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        evaluate(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [(), (0,), (1, -2)])
def test_bad_k(at):
    with pytest.raises(UsageError, match="K of 1 or more"):
        evaluate(ROWS, LABELS, at=at)


def test_a_gallery_needs_its_labels():
    with pytest.raises(UsageError, match="go together"):
        evaluate(ROWS, LABELS, ROWS)


def test_files(tmp_path, cli):
    """From the command line: arrays alone, or together in archives."""

    def save(name, array):
        np.save(tmp_path / name, array)
        return tmp_path / name

    def measured(*words):
        found = json.loads(cli("evaluate", *words, "--at", "1,2", "--json").out)
        return {name: found[name] for name in ("l2", "cosine")}

    def expected(*arrays):
        found = evaluate(*arrays, at=(1, 2)).evaluation
        return {"l2": found.l2, "cosine": found.cosine}

    labels = LABELS.astype(str)
    query = "--embeddings", save("x.npy", ROWS), "--labels", save("y.npy", labels)
    assert measured(*query) == expected(ROWS, LABELS)
    among = "--gallery-embeddings", save("g.npy", ROWS[:3]), "--gallery-labels", save("gl.npy", labels[:3])
    assert measured(*query, *among) == expected(ROWS, LABELS, ROWS[:3], LABELS[:3])

    def archive(name, *words, rows, labels):
        np.savez(tmp_path / name, embeddings=rows, labels=labels)
        return [part for word in words for part in (word, tmp_path / name)]

    query = archive("q.npz", "--embeddings", "--labels", rows=ROWS, labels=labels)
    assert measured(*query) == expected(ROWS, LABELS)
    among = archive("g.npz", "--gallery-embeddings", "--gallery-labels", rows=ROWS[:3], labels=labels[:3])
    assert measured(*query, *among) == expected(ROWS, LABELS, ROWS[:3], LABELS[:3])


def test_bad_files(tmp_path, cli):
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    (tmp_path / "text.npy").write_text("1 2 3\n")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object))
    np.savez(tmp_path / "other.npz", a=ROWS, b=ROWS)
    for name in ("missing.npy", ".", "cut.npy", "text.npy", "empty.npy", "objects.npy", "other.npz"):
        found = cli("evaluate", "--embeddings", tmp_path / name, "--labels", tmp_path / "x.npy")
        assert_one_line(found, 1, str(tmp_path / name))
