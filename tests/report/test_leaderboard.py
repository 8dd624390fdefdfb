"""Methods in order across data sets: against shares worked out one by one, and draws whose outcome is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import KINDS, TEACHER, record, student

from benchmark.record import Record
from benchmark.report.comparison import Comparison
from benchmark.report.leaderboard import (
    Arena,
    arenas_of,
    drawn_shares,
    leaderboards,
    may_lead,
    ranked,
    shares,
    standings,
)
from benchmark.report.render import markdown


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=1, max_size=6))
def test_shares_are_of_the_others_that_are_there(scores: list[float]) -> None:
    result = shares(np.array(scores))
    there = [number for number, score in enumerate(scores) if score == score]
    for i, share in enumerate(result):
        if i not in there:
            assert np.isnan(share)
            continue
        others = [scores[j] for j in there if j != i]
        wins = sum(1.0 if scores[i] > other else 0.5 if scores[i] == other else 0.0 for other in others)
        assert share == pytest.approx(wins / max(len(others), 1))


def arena(dataset: str, folder: str, **scores: list[float]) -> Arena:
    return Arena(dataset, folder, {name: dict(enumerate(values)) for name, values in scores.items()})


def test_data_sets_count_alike_however_many_columns_they_have() -> None:
    arenas = [arena("cub", "cub/heads", a=[3.0], b=[2.0], c=[1.0])] + 3 * [
        arena("cars", "cars/heads", a=[1.0], b=[2.0], c=[3.0])
    ]
    assert drawn_shares(arenas, ["a", "b", "c"], 10)[0] == pytest.approx([0.5, 0.5, 0.5])
    # A method that one column lacks is ranked by the others; one that a data set lacks is not ranked.
    assert ranked([*arenas, arena("cub", "cub/heads", b=[1.0], d=[0.0])]) == ["a", "b", "c"]
    assert ranked([arenas[0], arena("cars", "cars/heads", a=[1.0], c=[1.0])]) == ["a", "c"]


def test_seeds_are_drawn_together_for_all_methods_of_a_folder() -> None:
    """b is ahead of a at every seed, whatever seeds add to both; so it is in every draw."""
    off = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    arenas = [arena(name, name, a=[*off], b=[*(off + 1)]) for name in ("cub", "cars")]
    drawn = drawn_shares(arenas, ["a", "b"], 200)
    assert (drawn == [0.0, 1.0]).all() and may_lead(drawn) == [False, True]
    # Where seeds are not of one mind, nothing is separated.
    arenas = [arena(name, name, a=[1.0, 0, 1, 0, 1], b=[0.0, 1, 0, 1, 0]) for name in ("cub", "cars")]
    assert may_lead(drawn_shares(arenas, ["a", "b"], 200)) == [True, True]


def test_a_data_set_alone_may_turn_the_order() -> None:
    arenas = [arena("cub", "x", a=[1.0] * 5, b=[2.0] * 5), arena("cars", "y", a=[2.0] * 5, b=[1.0] * 5)]
    drawn = drawn_shares(arenas, ["a", "b"], 400)
    assert set(drawn[1:, 0]) == {0.0, 0.5, 1.0} and may_lead(drawn) == [True, True]


def runs(dataset: str, seeds: int, order: list[str], views: int = 4) -> list[Record]:
    """A teacher, and methods of which each is a point above the one after it."""
    fields = {"views": views, "dim": 16, "dataset": dataset}
    found = [record(recall=0.9, **{**TEACHER.model_dump(), "dataset": dataset})]
    for (place, name), seed in itertools.product(enumerate(order), range(seeds)):
        made = record if name == "triplet" else student
        found.append(made(name, 0.5 - place / 100 + seed / 1000, seed=seed, **fields))
    return found


def test_two_data_sets_make_a_leaderboard_of_what_both_have() -> None:
    order = ["rkd-d", "fitnet", "triplet"]
    both = [
        (name, f"{name}/heads", Comparison(runs(name, 5, [*order, *more]), KINDS, labelled={"fitnet", "triplet"}))
        for name, more in (("cub", ["attention"]), ("cars", []))
    ]
    places = standings(both, "heads")
    assert [(place.method, place.share, place.may_lead, place.labelled) for place in places] == [
        ("rkd-d", 100.0, True, False),
        ("fitnet", 50.0, False, True),
        ("triplet", 0.0, False, True),
    ]
    assert all(place.low == place.high == place.share == place.by_map and place.arenas == 2 for place in places)
    (table,) = leaderboards(both)
    assert table.title == "Who is ahead: heads on frozen features" and "(cars, cub)" in table.caption
    assert "| rkd-d   | relational (RKD)" in markdown(table)
    assert standings(both, "networks") == [] == standings(both[:1], "heads")


def test_few_seeds_make_no_leaderboard() -> None:
    assert (
        arenas_of("cub", "cub/heads", Comparison(runs("cub", 4, ["rkd-d", "triplet"]), KINDS), "heads", "map@r") == []
    )
    known = Comparison(runs("cub", 5, ["rkd-d", "triplet"], views=0), KINDS)
    assert len(arenas_of("cub", "cub/cpu", known, "networks", "map@r")) == 1
    known.agreement = True
    assert arenas_of("cub", "cub/cpu", known, "networks", "map@r") == []
    # A method of fewer seeds than most have is left out of its column.
    late = [
        run
        for run in runs("cub", 5, ["rkd-d", "triplet", "fitnet"])
        if (run.spec.method, run.spec.seed) != ("fitnet", 4)
    ]
    (column,) = arenas_of("cub", "cub/heads", Comparison(late, KINDS), "heads", "recall@1")
    assert column.scores.keys() == {"rkd-d", "triplet"}
