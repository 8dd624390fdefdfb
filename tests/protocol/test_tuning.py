"""What is tried is drawn fairly and reproducibly, and the best of it, by validation classes, is what later runs use."""

from __future__ import annotations

import io
import math
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmark import methods
from benchmark.data import cards
from benchmark.data.cards import Card
from benchmark.errors import BenchmarkError, UsageError
from benchmark.protocol import presets, tuning
from benchmark.protocol.choice import Choice, at_edge, choice_table, choose, write_choice
from benchmark.protocol.grid import specs
from benchmark.protocol.presets import Range, Tuning, read_preset
from benchmark.protocol.tuning import Grid, GuidedTrials, RandomTrials
from benchmark.record import Evaluation, Record
from benchmark.tuned import Tuned, TunedFiles, read_reasons, read_tuned, settings_for, write_tuned

SMOKE = presets.read_preset("smoke")
SEARCHING = [entry for entry in methods.catalogue().values() if entry.ranges]
RKD, TRIPLET, RKD_D = map(methods.entry, ("rkd-da", "triplet", "rkd-d"))
Numbers = st.floats(1e-8, 1e8)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Wide ones, and some so narrow that a rounded number may lie outside."""
    low = draw(Numbers)
    return Range(low=low, high=low * draw(st.floats(1.0001, 1.01) | st.floats(1.0001, 1e6)))


@given(ranges(), st.integers(0, 2**63), st.integers(0, 9))
def test_draws_lie_in_their_range_and_read_well(axis: Range, seed: int, count: int) -> None:
    values = tuning.draws(axis, seed, count)
    assert len(values) == count
    for value in values:
        assert isinstance(value, float) and axis.low <= value <= axis.high
        assert value in (axis.low, axis.high) or float(f"{value:.3g}") == value
    assert tuning.draws(axis, seed, count + 3)[:count] == values


@given(st.lists(st.sampled_from([1, 2.5, True, "cosine"]), min_size=1, max_size=4), st.integers(0, 2**63))
def test_draws_of_choices_are_some_of_them(choices: list[Any], seed: int) -> None:
    values = tuning.draws(tuple(choices), seed, 5)
    assert all(any(value is choice for choice in choices) for value in values)


@given(st.integers(0, 2**63), st.sampled_from([1, 2, 3]))
def test_draws_are_log_uniform_and_leave_no_part_out(seed: int, power: int) -> None:
    """The first 2**k draws lie each in another of 2**k parts of equal ratio."""
    parts = 2**power
    values = sorted(map(float, tuning.draws(Range(low=1e-4, high=1.0), seed, parts)))
    for part, value in enumerate(values):
        # Three significant digits may carry a number over a border, by half a percent at most.
        assert 0.995 <= value / 1e-4 ** (1 - part / parts) <= 1.005 * 1e4 ** (1 / parts)
    assert set(tuning.draws(("a", "b"), seed, 2)) == {"a", "b"}


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 8))
def test_shared_draws_are_equal_for_all_methods_and_for_any_number_of_trials(seed: int, few: int, more: int) -> None:
    few, more = sorted((few, more))
    shared = {"lr": Range(low=1e-4, high=1e-1), "batch": (16, 32)}
    reference = RandomTrials(shared, seed, more).variants(RKD_D)
    assert len(reference) == more and reference[0] == {}
    for entry in SEARCHING:
        search = RandomTrials(shared, seed, more)
        drawn = search.variants(entry)
        assert [{key: one[key] for key in shared} for one in drawn[1:]] == reference[1:]
        assert drawn[:few] == RandomTrials(shared, seed, few).variants(entry)
        assert all(one.keys() == search.axes(entry).keys() == {*shared, *entry.ranges} for one in drawn[1:])
        assert all(low <= one[key] <= high for one in drawn[1:] for key, (low, high) in entry.ranges.items())
        alone = RandomTrials({"lr": shared["lr"]}, seed, more).variants(entry)
        assert [one["lr"] for one in alone[1:]] == [one["lr"] for one in drawn[1:]]


def test_draws_differ_by_trial_seed_key_and_method() -> None:
    axis = Range(low=1e-4, high=1e-1)
    first, second = (RandomTrials({"lr": axis, "weight_decay": axis}, seed, 20).variants(RKD_D)[1:] for seed in (0, 1))
    drawn = [one[key] for search in (first, second) for one in search for key in one]
    assert len(set(drawn)) > 0.9 * len(drawn) == 0.9 * 76
    twin = RKD.model_copy(update={"name": "twin"})
    mine, theirs = (RandomTrials({}, 0, 20).variants(entry)[1:] for entry in (RKD, twin))
    assert all(one != other for one, other in zip(mine, theirs, strict=True))


def searched(seed: int, trials: int, best: float, failing: int = -1) -> tuple[list[GuidedTrials], list[dict[str, Any]]]:
    """All rounds of a guided search whose score falls with the distance of lr's logarithm from the best one, and its last trials."""
    own = {"lr": 1e-3}
    rounds: list[GuidedTrials] = [GuidedTrials({"lr": Range(low=1e-5, high=1.0)}, seed, trials)]
    while True:
        tried = rounds[-1].variants(TRIPLET)
        lrs = [own["lr"], *(each["lr"] for each in tried[1:])]
        values = [own | {"margin": 0.2}, *tried[1:]]
        scores = [None if t == failing else -abs(math.log10(lr / best)) for t, lr in enumerate(lrs)]
        if rounds[-1].begun >= trials:
            return rounds, tried
        rounds.append(rounds[-1].after({"triplet": list(zip(values, scores, strict=True))}))


def test_later_trials_of_a_guided_search_lie_nearer_than_draws_do() -> None:
    guided, drawn = 0.0, 0.0
    for seed in range(10):
        _, tried = searched(seed, 16, 0.3)
        guided += sum(abs(math.log10(each["lr"] / 0.3)) for each in tried[8:])
        random = RandomTrials({"lr": Range(low=1e-5, high=1.0)}, seed, 16).variants(TRIPLET)
        drawn += sum(abs(math.log10(each["lr"] / 0.3)) for each in random[8:])
        # It begins as they do, stays within the axes, and its numbers read as well.
        assert (
            tried[:4] == random[:4] and len(tried) == 16 and all(each.keys() == {"lr", "margin"} for each in tried[1:])
        )
        assert all(1e-5 <= each["lr"] <= 1 and float(f"{each['lr']:.3g}") == each["lr"] for each in tried[1:])
    assert guided < 0.75 * drawn


@pytest.mark.parametrize("failing", [-1, 2])
def test_earlier_trials_of_a_guided_search_stay_as_they_were(failing: int) -> None:
    rounds, tried = searched(0, 9, 0.1, failing)
    assert [len(each.variants(TRIPLET)) for each in rounds] == [4, 6, 8, 9]
    assert all(tried[: len(each.variants(TRIPLET))] == each.variants(TRIPLET) for each in rounds)
    assert searched(0, 9, 0.1, failing)[1] == tried != searched(1, 9, 0.1, failing)[1]


def test_a_method_without_a_score_goes_on_by_draws() -> None:
    search = GuidedTrials(
        {"lr": Range(low=1e-5, high=1.0)}, 0, 6, {"triplet": [({"lr": 1e-3, "margin": 0.2}, None)]}, 6
    )
    assert search.variants(TRIPLET) == RandomTrials(search.shared, 0, 6).variants(TRIPLET)


def test_a_guided_search_wants_a_space_and_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.asked((), 7, 3, SMOKE, "tpe") == (
        GuidedTrials(SMOKE.search, 3, 7), {"--trials": 7, "--sampler": "tpe"}
    )  # fmt: skip
    for grid, preset in ((("lr=1e-3",), SMOKE), ((), SMOKE.model_copy(update={"search": {}}))):
        with pytest.raises(UsageError, match=r"--sampler tpe is for a \[search\]"):
            tuning.asked(grid, None, 3, preset, "tpe")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"optuna, which is not installed: pip install .*\[search\]"):
        tuning.asked((), 7, 3, SMOKE, "tpe")


def test_a_grid_is_all_combinations() -> None:
    grid = Grid(tuning.parse_grid(["lr=1e-3,1e-2", "schedule=cosine,constant"]))
    assert grid.variants(RKD) == grid.variants(TRIPLET)
    assert grid.variants(RKD)[1] == {"lr": 1e-3, "schedule": "constant"} and len(grid.variants(RKD)) == 4


def test_ranges_of_a_method_that_are_none() -> None:
    for bounds in ((0.0, 1.0), (2.0, 1.0), (1.0,), 1.0):
        broken = RKD.model_copy(update={"ranges": {"angle_weight": bounds}})
        with pytest.raises(BenchmarkError, match=r"methods/rkd\.py: ranges of angle_weight"):
            RandomTrials({}, 0, 2).variants(broken)


def test_a_preset_has_a_grid_by_data_set() -> None:
    """Rates that suit small networks from scratch ruin pretrained ones."""
    quick = read_preset("quick")
    assert "3e-2" in quick.grid_of(cards.load_card("glyphs"))[0]
    folder = Card(name="mine", title="mine", layout="folder", folder="mine")
    assert quick.grid_of(folder) == Tuning().grid != quick.grid_of(cards.load_card("glyphs"))


def test_what_the_words_ask_for() -> None:
    bare = SMOKE.model_copy(update={"search": {}})
    found, option = tuning.asked((), None, 3, SMOKE)
    assert found == RandomTrials(SMOKE.search, 3, 20) and option == {"--trials": 20}
    assert tuning.asked((), 7, 3, SMOKE)[0] == RandomTrials(SMOKE.search, 3, 7)
    found, option = tuning.asked((), None, 0, bare)
    assert found == Grid({"lr": [1e-4, 3e-4, 1e-3, 3e-3]}) and option == {"--grid": ("lr=1e-4,3e-4,1e-3,3e-3",)}
    assert tuning.asked((), None, 0, bare, usual=("lr=1,2",))[0] == Grid({"lr": [1, 2]})
    assert tuning.asked(("lr=1",), None, 0, SMOKE)[0] == Grid({"lr": [1]})
    for words in ((("lr=1",), 3, 0, SMOKE), ((), 0, 0, SMOKE), ((), 3, 0, bare)):
        with pytest.raises(UsageError):
            tuning.asked(*words)


def test_a_search_is_one_student_a_trial_and_keeps_what_it_does_not_draw() -> None:
    search = RandomTrials(SMOKE.search, 0, 4)
    words: dict[str, Any] = {"dims": [8], "seeds": [0], "assignments": {}, "tuned": {}, "stream": {"dataset": "tiny"}}
    _, *students = specs(
        SMOKE, cards.load_card("tiny"), chosen=["untrained", "rkd-da"], variants=search.variants, **words
    )
    untrained, *drawn = students
    assert untrained.steps == 0 and len(drawn) == 4
    plain = specs(SMOKE, cards.load_card("tiny"), chosen=["rkd-da"], **words)[-1]
    assert drawn[0] == plain
    for student, variant in zip(drawn[1:], search.variants(RKD)[1:], strict=True):
        fields = {key: variant[key] for key in ("lr", "weight_decay")}
        assert student == plain.replace(**fields, params={**plain.params, "angle_weight": variant["angle_weight"]})


def record(method: str, score: float, **changes: Any) -> Record:
    """A validation run of that MAP@R."""
    changes = {"evaluation": "validation", **changes}
    params = {**methods.entry(method).defaults, **changes.pop("params", {})}
    spec = tiny_spec(method, params=params, **changes)
    metrics = {"recall@1": score, "map@r": score}
    return Record(
        id=spec.id, spec=spec, evaluation=Evaluation(l2=metrics, cosine=metrics, queries=9, dropped=0, gallery=9), loss=0.5,
        parameters=1, seconds={}, data="f00d", weights="", teacher=None, environment={},
    )  # fmt: skip


SEARCH = RandomTrials({"lr": Range(low=1e-4, high=1e-1)}, 0, 4)
TRIED = [
    record("rkd-da", 0.30),
    record("rkd-da", 0.42, lr=2e-3, params={"angle_weight": 7.0}),
    record("rkd-da", 0.41, lr=2e-3, params={"angle_weight": 0.5}),
    record("triplet", 0.50),
    record("triplet", 0.40, lr=2e-3, params={"margin": 0.4}),
]
PLANNED = [one.spec for one in TRIED]
DEFAULTS = {TRIED[0].id, TRIED[3].id}


def test_the_best_is_chosen_for_each_method() -> None:
    found = choose(TRIED[::-1], SEARCH, PLANNED, DEFAULTS)
    assert found == [
        Choice("rkd-da", {"lr": 2e-3, "angle_weight": 7.0}, 0.42, 0.30, 3, settled=2),
        Choice("triplet", {"lr": 1e-2, "margin": 0.2}, 0.50, 0.50, 2),
    ]
    assert choose(TRIED, Grid({"lr": [1e-2, 2e-3]}), PLANNED)[0] == Choice(
        "rkd-da", {"lr": 2e-3}, pytest.approx(0.415), None, 2, settled=2
    )
    without = [one for one in TRIED if one.id not in DEFAULTS]  # they did not finish
    assert choose(without, SEARCH, PLANNED, DEFAULTS)[1] == Choice(
        "triplet", {"lr": 2e-3, "margin": 0.4}, 0.40, None, 1
    )


@pytest.mark.parametrize(
    ("scores", "settled"), [((1, 5, 3, 4), 2), ((1, 2, 3, 4), 4), ((4, 3, 2, 1), 1), ((3, 5, 4, 6), 4)]
)
def test_after_how_many_trials_a_choice_stays(scores: Sequence[int], settled: int) -> None:
    """In the order in which they are tried, whatever their values are."""
    runs = [record("rkd-d", score / 10, lr=lr) for score, lr in zip(scores, (4e-3, 1e-3, 9e-3, 2e-3), strict=True)]
    (chosen,) = choose(runs[::-1], SEARCH, [run.spec for run in runs])
    assert chosen.settled == settled


def test_dimensions_count_together() -> None:
    wide = [record("rkd-d", 0.1, dim=12), record("rkd-d", 0.5, lr=2e-3, dim=12)]
    narrow = [record("rkd-d", 0.6), record("rkd-d", 0.4, lr=2e-3)]
    chosen = Choice("rkd-d", {"lr": 2e-3}, pytest.approx(0.45), pytest.approx(0.35), 2, settled=2)
    planned = [one.spec for one in (*narrow, *wide)]
    assert choose([*narrow, *wide], SEARCH, planned, {narrow[0].id, wide[0].id}) == [chosen]
    half = record("rkd-d", 0.9, lr=5e-3)
    planned += [half.spec, half.spec.replace(dim=12)]  # which diverged
    assert choose([*narrow, *wide, half], SEARCH, planned, {half.id}) == [replace(chosen, default=None)]
    with pytest.raises(BenchmarkError, match="nothing can be chosen"):
        choose([half], SEARCH, planned)


FOLDS = [f"{part}/3" for part in (1, 2, 3)]


def folds(scores: Sequence[float], **changes: Any) -> list[Record]:
    """Runs of one setting, a fold each."""
    return [record("rkd-d", score, fold=fold, **changes) for score, fold in zip(scores, FOLDS, strict=True)]


@pytest.mark.parametrize(
    ("gains", "lr"), [((0.01, 0.02, 0.03), 2e-3), ((-0.03, 0.01, 0.03), 1e-2), ((0.0, 0.0, 0.0), 1e-2)]
)
def test_a_tie_within_the_error_over_folds_goes_to_the_preset(gains: Sequence[float], lr: float) -> None:
    """Gains 1, 2, 3: mean 2, error 0.58. Gains -3, 1, 3: mean 0.33, error 1.76."""
    own = folds((0.30, 0.50, 0.40))
    other = folds([score + gain for score, gain in zip((0.30, 0.50, 0.40), gains, strict=True)], lr=2e-3)
    runs = [*own, *other]
    (choice,) = choose(runs, SEARCH, [run.spec for run in runs], {run.id for run in own})
    assert choice.values == {"lr": lr} and choice.default == pytest.approx(0.40)
    assert choice.score == pytest.approx(0.42 if lr == 2e-3 else 0.40)
    assert choice.error == pytest.approx(
        0.0608276 if lr == 2e-3 else 0.1 / 3**0.5
    )  # of 0.31, 0.52, 0.43; of 0.30, 0.50, 0.40


def test_each_head_and_dimension_has_a_choice_of_its_own(tmp_path: Path) -> None:
    best = {(0, 4): 2e-3, (0, 16): 5e-3, (512, 4): 5e-3, (512, 16): 2e-3}
    runs = [
        record("rkd-d", 0.5 if lr == best[hidden, dim] else 0.4, hidden=hidden, dim=dim, lr=lr)
        for hidden, dim in best
        for lr in (2e-3, 5e-3)
    ]
    choices = choose(runs, SEARCH, [run.spec for run in runs], by=("hidden", "dim"))
    assert {(choice.where["hidden"], choice.where["dim"]): choice.values["lr"] for choice in choices} == best
    path = tmp_path / "tuned.toml"
    write_tuned(path, {"rkd-d": [Tuned({"lr": 9.0})]}, {})
    assert write_choice(path, choices, "the command") == []
    chosen = read_tuned(path)["rkd-d"]
    assert len(chosen) == 4  # and what was for all runs gave way
    for dim, nearest in ((2, 4), (4, 4), (7, 4), (9, 16), (99, 16)):  # in log scale: 8 lies between
        for hidden in (0, 512):
            assert settings_for({"dim": dim, "hidden": hidden}, chosen) == {"lr": best[hidden, nearest]}
    assert settings_for({"dim": 4, "hidden": 64}, chosen) is None
    assert len(read_reasons(path)["rkd-d"]) == 4
    again = replace(choices[0], values={"lr": 1.0})
    (line,) = write_choice(path, [again], "another")
    assert line == "rkd-d (hidden=0, dim=4): lr=1.0 replaces lr=0.002" and len(read_tuned(path)["rkd-d"]) == 4


def test_settings_of_an_earlier_version_are_not_used_in_silence(tmp_path: Path) -> None:
    files = TunedFiles.of("heads", None, tmp_path)
    assert files.by == ("hidden", "dim") and files.for_runs() == {}
    files.own.parent.mkdir()
    write_tuned(files.own, {"rkd-d": [Tuned({"lr": 1e-3})]}, {})
    assert files.read() == {"rkd-d": [Tuned({"lr": 1e-3})]}  # tables of such a folder are still written
    with pytest.raises(UsageError, match="by an earlier version of this preset: move its folder to heads-v1"):
        files.for_runs()
    write_tuned(files.own, {"rkd-d": [Tuned({"lr": 1e-3}, {"hidden": 0, "dim": 16})]}, {})
    assert len(files.for_runs()["rkd-d"]) == 1


def test_the_form_may_be_what_is_tried() -> None:
    forms = [record("rkd-d", score, normalize=normalize) for score, normalize in ((0.4, True), (0.3, False))]
    found = choose(forms, Grid({"normalize": [True, False]}), [one.spec for one in forms])
    assert found == [Choice("rkd-d", {"normalize": True}, 0.4, None, 2)]


def test_nothing_is_chosen_from_nothing_or_from_test_classes() -> None:
    with pytest.raises(BenchmarkError, match="nothing can be chosen"):
        choose([], SEARCH, PLANNED)
    with pytest.raises(ValueError, match="test classes"):
        choose([record("triplet", 0.5, evaluation="test")], SEARCH, PLANNED)


def test_a_choice_is_written_read_and_used(tmp_path: Path) -> None:
    path = tmp_path / "tuned" / "smoke-tiny.toml"
    assert write_choice(path, choose(TRIED, SEARCH, PLANNED, DEFAULTS), "the command --trials 4") == []
    tuned = read_tuned(path)
    assert tuned == {
        "rkd-da": [Tuned({"lr": 2e-3, "angle_weight": 7.0})],
        "triplet": [Tuned({"lr": 1e-2, "margin": 0.2})],
    }
    assert tomllib.loads(path.read_text())["chosen"]["rkd-da"] == {
        "by": "the command --trials 4",
        "validation_map_at_r": 0.42,
        "validation_map_at_r_default": 0.3,
        "values_finished": 3,
        "settled_after": 2,
    }
    student = specs(
        SMOKE, cards.load_card("tiny"), chosen=["rkd-da"], dims=[8], seeds=[0], assignments={}, stream={"dataset": "tiny"}, tuned=tuned
    )[-1]  # fmt: skip
    assert student.lr == 2e-3 and student.params == {"distance_weight": 1.0, "angle_weight": 7.0}

    said = write_choice(path, [Choice("rkd-da", {"lr": 0.5}, 0.9, None, 1)], "another")
    assert said == ["rkd-da: lr=0.5 replaces lr=0.002, angle_weight=7.0"]
    assert read_tuned(path) == {"rkd-da": [Tuned({"lr": 0.5})], "triplet": tuned["triplet"]}
    assert "validation_map_at_r_default = 0.3\n" not in path.read_text()


def test_values_of_every_type_survive_the_file(tmp_path: Path) -> None:
    values = {"normalize": True, "batch": 32, "lr": 1e-05, "schedule": 'a "b" \\ é', "milestones": [0.5, 0.75]}
    write_choice(tmp_path / "t.toml", [Choice("triplet", values, 0.5, None, 1)], 'echo "x"')
    assert read_tuned(tmp_path / "t.toml") == {"triplet": [Tuned(values)]}


@pytest.mark.parametrize(
    ("value", "axis", "expected"),
    [
        (1.40e-4, Range(low=1e-4, high=1e-1), True),  # 5 % of three decades: a factor of 1.413
        (1.42e-4, Range(low=1e-4, high=1e-1), False),
        (7.00e-2, Range(low=1e-4, high=1e-1), False),
        (7.10e-2, Range(low=1e-4, high=1e-1), True),
        (1.0, Range(low=1e-4, high=1e-1), True),  # a preset's own setting may lie outside
        (0.0, Range(low=1e-4, high=1e-1), True),
        (3, (1, 2, 3), True),
        (2, (3, 2, 1), False),
        (1, (1, 2), False),  # of two, both are ends
        ("a", ("a", "b", "c"), False),
        (True, (True, False), False),
    ],
)
def test_edges(value: object, axis: presets.Axis, expected: bool) -> None:
    assert at_edge(value, axis) is expected


def test_the_table_says_what_tuning_brought_and_where_to_widen() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    best = [
        Choice("rkd-da", {"lr": 9e-2, "angle_weight": 7.0}, 0.42, 0.305, 3),
        Choice("triplet", {"lr": 1e-2, "margin": 0.2}, 0.5, None, 2, 0.0125, {"hidden": 512}),
    ]
    console.print(choice_table(best, SEARCH))
    rkd, triplet = (line for line in console.export_text().splitlines() if "margin" in line or "angle_weight" in line)
    for text in ("lr=0.09, angle_weight=7.0", "42.00", "30.50", "at the edge of what was tried of lr: widen it"):
        assert text in rkd
    assert "50.00 ± 1.25" in triplet and "triplet (hidden=512)" in triplet and "edge" not in triplet


def test_the_recorded_command() -> None:
    options = {"--dataset": "my set", "--dims": None, "--steps": 8, "--grid": ("lr=1,2", "batch=8"), "--set": ()}
    expected = "python -m benchmark tune --dataset 'my set' --steps 8 --grid lr=1,2 --grid batch=8"
    assert tuning.tune_command(options) == expected
