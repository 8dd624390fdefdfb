"""Search with rows that are absurdly larger than the others, against float64 brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.absurd import absurd_rows, told
from benchmark.retrieval import search
from benchmark.retrieval.metrics import evaluate
from benchmark.retrieval.search import neighbours

MOST = np.finfo(np.float32).max  # what nan_to_num makes of an infinity


def squares(query, gallery, metric):
    """[n, m] in float64, pair by pair; under cosine of directions, one coordinate more for rows without one."""
    query, gallery = np.asarray(query, np.float64), np.asarray(gallery, np.float64)
    if metric == "cosine":
        query, gallery = (
            np.array([[*(row / np.sqrt(row @ row)), 0.0] if row.any() else [*row, 1.0] for row in rows])
            for rows in (query, gallery)
        )
    return np.array([[np.sum((q - g) ** 2) for g in gallery] for q in query])


def check(query, gallery, k, metric, same=False):
    """Neighbours are in the order of the distances, and the k nearest; what is within float32's rounding is a tie."""
    nearest = neighbours(query, gallery, k, metric, same=same)
    own = gallery is None or same
    gallery = query if gallery is None else gallery
    distances = squares(query, gallery, metric)
    if own:
        np.fill_diagonal(distances, np.inf)
    assert nearest.shape == (len(query), min(k, len(gallery) - own))
    place = np.delete(np.arange(len(gallery)), absurd_rows(gallery)) if metric == "l2" else np.arange(len(gallery))
    centre = np.median(np.asarray(gallery, np.float64)[place], axis=0)
    # Where most rows that are not the centre are huge these are the typical ones, and the smallest vanish beside them.
    far = np.abs(gallery - np.median(np.asarray(gallery, np.float64), axis=0)).max(axis=1)
    floor = (2.0**-70 * np.median(far[far > 0])) ** 2 if far.any() else 0.0
    for i, row in enumerate(nearest):
        assert len(set(row)) == len(row) and not (own and i in row)
        ours, best = distances[i][row], np.sort(distances[i])[: len(row)]
        # What |q|^2 - 2 q.g + |g|^2 may lose in float32, of rows that lie where the query and its neighbours do.
        if metric == "l2":
            wide = np.concatenate([query[i : i + 1], gallery[row]]).astype(np.float64) - centre
            loss = 1e-5 * np.square(wide).sum(axis=1)
            tolerance = loss[0] + loss[1:] + 1e-12 * best + floor
        else:
            tolerance = 1e-5
        assert (np.abs(ours - best) <= tolerance).all(), (i, row, ours, best)
    return nearest


def sane(n=60, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def spoilt(rows, *spots):
    """A copy with numbers at (row, column) replaced; a column of None is all of them."""
    rows = rows.copy()
    for row, column, value in spots:
        rows[row, slice(None) if column is None else column] = value
    return rows


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("k", [1, 5, 59, 100])
@pytest.mark.parametrize(
    "spots",
    [
        [(7, 2, MOST)],
        [(7, None, MOST), (8, None, -MOST), (9, None, MOST)],
        [(0, 0, MOST), (3, 1, -1e30), (59, 5, 1e20), (58, 5, 1.5e20)],
        [(i, i % 6, (-1) ** i * 1e25 * (1 + i)) for i in range(0, 50, 2)],
    ],
)
def test_absurd_rows_leave_the_others_alone(spots, k, metric):
    rows = spoilt(sane(), *spots)
    bad = [row for row, _, _ in spots]
    assert absurd_rows(rows).tolist() == sorted(bad)
    other = sane(40, seed=1)
    check(rows, None, k, metric)
    check(rows, sane(60, seed=2), k, metric, same=True)
    check(sane(60, seed=2), rows, k, metric, same=True)
    check(rows, rows + np.float32(0.01), k, metric, same=True)
    check(rows, other, k, metric)
    check(other, rows, k, metric)
    if metric == "l2" and k < 30:
        good = np.setdiff1d(np.arange(60), bad)
        np.testing.assert_array_equal(
            neighbours(rows, None, k, "l2")[good],
            good[neighbours(rows[good], None, k, "l2")] if k < len(good) else None,
        )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_any_set_is_searched_as_by_brute_force(seed):
    """Offsets, scales, copies, sparse rows; absurd ones of any size, in queries, in the gallery, in both."""
    random = np.random.default_rng(seed)
    n, m, d = random.integers(1, 30), random.integers(1, 40), random.integers(1, 6)
    scale = 2.0 ** random.integers(-100, 60)
    points = random.normal(size=(n + m, d)) * (random.random((n + m, d)) < random.choice([0.2, 1])) + random.choice(
        [0, 3]
    )
    rows = (scale * points).astype(np.float32)
    rows[random.integers(n + m, size=3)] = rows[0]
    for row in random.integers(n + m, size=random.integers(0, max(1, (n + m) // 4) + 1)):
        rows[row, random.integers(d)] = random.choice([-1, 1]) * min(
            float(MOST), scale * 2.0 ** random.integers(20, 90)
        )
    query, gallery = rows[:n], rows[n:]
    k = int(random.integers(1, 50))
    for metric in ("l2", "cosine"):
        check(query, gallery, k, metric)
        if n > 1:
            check(query, None, k, metric)
        if m >= n > 1:
            check(query, gallery[:n], k, metric, same=True)


@pytest.mark.parametrize("cells", [1, 200, search._CELLS])
def test_blocks_change_nothing(monkeypatch, cells):
    rows = spoilt(sane(300), *[(i, 1, 1e30 + i * 1e28) for i in range(0, 300, 3)])
    expected = neighbours(rows, None, 7, "l2")
    monkeypatch.setattr(search, "_CELLS", cells)
    np.testing.assert_array_equal(neighbours(rows, None, 7, "l2"), expected)


def test_an_absurd_row_may_be_the_nearest():
    """Rows around the threshold: one on this side is nearer to one on the other than to the rest."""
    rows = spoilt(sane(), (4, 0, 2.0**40), (5, 0, 2.0**42), (6, 0, 2.0**42.01))
    nearest = check(rows, None, 59, "l2")
    assert nearest[5, 0] == 6 and nearest[6, 0] == 5
    limit = search.LIMIT
    for row in (4, 5):
        assert (row in absurd_rows(rows)) == (rows[row, 0] > limit)


def test_half_of_the_rows_huge_are_none():
    rows = spoilt(sane(), *[(i, None, (1 + i) * 1e30) for i in range(0, 60, 2)])
    assert not len(absurd_rows(rows))
    nearest = neighbours(rows, None, 3, "l2")
    assert nearest[0].tolist()[1:] != nearest[1].tolist()
    assert all(set(row) <= set(range(0, 60, 2)) for row in nearest[4::2])  # the huge ones are told apart
    more = spoilt(rows, (1, None, -1e30))
    assert not len(absurd_rows(more))


@pytest.mark.parametrize("value", [0, 1, MOST, -MOST, 1e-45])
def test_constant_rows_single_rows_and_zeros(value):
    rows = np.full((9, 4), value, np.float32)
    assert not len(absurd_rows(rows)) and not len(absurd_rows(rows[:1]))
    assert neighbours(rows, None, 3, "l2")[5].tolist() == [0, 1, 2]
    assert neighbours(rows[:1], rows[:1], 3, "l2").tolist() == [[0]]
    assert neighbours(sane(5, 4), rows, 3, "l2").tolist() == [[0, 1, 2]] * 5
    assert neighbours(spoilt(sane(5, 4), (2, 1, MOST)), rows, 3, "l2").tolist() == [[0, 1, 2]] * 5
    assert neighbours(rows[:1], sane(5, 4), 9, "l2").shape == (1, 5)


def test_sparse_rows_whose_median_is_zero():
    random = np.random.default_rng(0)
    rows = (random.normal(size=(80, 30)) * (random.random((80, 30)) < 0.02)).astype(np.float32)
    assert (np.abs(rows).max(axis=1) == 0).any() and not len(absurd_rows(rows))
    check(rows, None, 10, "l2")
    rows[11, 3] = MOST
    assert absurd_rows(rows).tolist() == [11]
    check(rows, None, 10, "l2")


def test_denormal_rows_and_extremes():
    rows = (np.random.default_rng(0).integers(-90, 90, size=(50, 5)) * 2.0**-149).astype(np.float32)
    assert not len(absurd_rows(rows))
    check(rows, None, 10, "l2")
    ends = np.where(sane() > 0, MOST, -MOST)  # differences are beyond float32
    assert not len(absurd_rows(ends))
    check(ends, None, 10, "l2")
    rows[3, 1] = 1
    assert absurd_rows(rows).tolist() == [3]
    check(rows, None, 10, "l2")


def test_absurd_rows_in_a_period_do_not_become_the_centre():
    rows = spoilt(np.tile(sane(500), (20, 1)), *[(i, None, MOST) for i in range(0, 10_000, 10)])
    assert absurd_rows(rows).tolist() == list(range(0, 10_000, 10))


def test_one_number_costs_the_recall_of_one_row():
    random = np.random.default_rng(0)
    labels = np.arange(1000) // 10
    rows = (random.normal(size=(100, 16))[labels] + 0.4 * random.normal(size=(1000, 16))).astype(np.float32)
    before = evaluate(rows, labels).evaluation
    after = evaluate(spoilt(rows, (17, 3, MOST)), labels).evaluation
    for ours, theirs in ((after.l2, before.l2), (after.cosine, before.cosine)):
        assert all(abs(ours[name] - theirs[name]) <= 0.011 for name in ours)


def test_what_is_said(tmp_path, cli):
    rows, labels = spoilt(sane(), (17, 3, MOST), (40, None, -MOST), (59, 0, 1e30)), np.arange(60) // 2
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "g.npy", sane(seed=1))
    np.save(tmp_path / "y.npy", labels)
    words = ["evaluate", "--embeddings", tmp_path / "x.npy", "--labels", tmp_path / "y.npy"]
    found = cli(*words)
    line = "3 of 60 embeddings are more than 10^12 times larger than the others: rows 17, 40, 59; a mended infinity?"
    assert line in found.err.splitlines() and found.code == 0
    assert line in cli(*words, "--json").err and json.loads(cli(*words, "--json").out)["queries"] == 60
    gallery = ["--gallery-embeddings", tmp_path / "x.npy", "--gallery-labels", tmp_path / "y.npy"]
    words[2] = tmp_path / "g.npy"
    assert not cli(*words).err
    assert line.replace("embeddings", "gallery embeddings") in cli(*words, *gallery).err.splitlines()


def test_many_rows_are_not_all_listed():
    assert told(np.arange(9), 40, "rows").endswith(": rows 0, 1, 2, 3, 4 and 4 more")
    assert told(np.array([4]), 40, "rows").startswith("1 of 40 rows is more") and told(
        np.array([4]), 40, "rows"
    ).endswith(": row 4")
