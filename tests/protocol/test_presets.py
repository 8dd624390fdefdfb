"""Presets build valid grids for every data set that they are for, and settings win in the order that is promised."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmark import methods
from benchmark.data import cards
from benchmark.data.cards import Card
from benchmark.errors import UsageError
from benchmark.protocol import presets
from benchmark.protocol.grid import parse_assignments, specs
from benchmark.spec import Scalar, Spec
from benchmark.tuned import PRESETS, Tuned, read_tuned

CARDS = [cards.load_card(name) for name in cards.names()]
OWN = CARDS[0].model_copy(update={"name": "own", "layout": "folder"})
PAIRS = [
    (name, card) for name in presets.preset_names() for card in [*CARDS, OWN] if presets.read_preset(name).suits(card)
]


def grid(preset: str, card: Card, assignments: dict[str, Scalar] | None = None, **changes: object) -> list[Spec]:
    found = presets.read_preset(preset)
    on_features = presets.layers(found, card).shared.get("views")
    apply = [name for name in found.methods if not (on_features and "maps" in methods.entry(name).needs)]
    words: dict[str, object] = {"chosen": apply, "dims": found.dims, "seeds": found.seeds, "tuned": {}}
    return specs(
        found, card, assignments=assignments or {}, stream={"dataset": card.name}, **{**words, **changes}  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("preset", "card"), PAIRS, ids=[f"{preset}-{card.name}" for preset, card in PAIRS])
def test_a_preset_is_a_fair_grid(preset: str, card: Card) -> None:
    """Same stream, network, heads, budget, teacher and BatchNorm policy for every trained student of a dimension and seed."""
    found = presets.read_preset(preset)
    runs = grid(preset, card)
    teachers = presets.layers(found, card).teachers[: len(found.seeds)]
    students = runs[len(teachers) :]
    assert len({*runs[: len(teachers)]}) == len(teachers) and not any(run.teacher for run in runs[: len(teachers)])
    for seed in found.seeds:
        assert {s.teacher for s in students if s.seed == seed and s.method == "regression"} <= {
            runs[seed % len(teachers)]
        }
    assert {s.method for s in students} <= set(found.methods) and {s.seed for s in students} == set(found.seeds)
    trained = [s for s in students if methods.entry(s.method).trains]
    shared = ("head", "batch", "per_class", "image", "resize", "flip", "backbone", "pretrained", "batchnorm", "optimizer",
              "schedule", "milestones", "decay", "weight_decay", "head_lr", "precision", "views", "trunk")  # fmt: skip
    for name in shared:
        assert len({getattr(s, name) for s in trained}) == 1, name
    apply = {s.method for s in students if methods.entry(s.method).trains}
    factors = {s.steps for s in trained}, {s.hidden for s in trained}, set(found.seeds)
    for dim in found.dims:
        forms = {(s.method, s.steps, s.hidden, s.seed) for s in trained if s.dim == dim}
        assert forms == set(itertools.product(apply, *factors))
    untrained = next(s for s in students if s.method == "untrained")
    for name in ("backbone", "pretrained", "batchnorm", "precision", "image", "resize", "head"):  # it is their step 0
        assert getattr(untrained, name) == getattr(trained[0], name), name
    assert untrained.steps == 0


@pytest.mark.parametrize(("name", "base"), [("cars", "cpu"), ("glyphs", "quick")])
def test_the_teacher_of_heads_is_its_bases(name: str, base: str) -> None:
    """One run, so that whoever has it need not train it again."""
    card = cards.load_card(name)
    teachers = {grid(preset, card)[0].id for preset in (base, "heads", "heads-v1", "budgets")}
    assert len(teachers) == 1


def test_teachers_take_turns_by_seed() -> None:
    """Whatever its method, head or dimension, a student of seed 7 has the teacher of seed 2; what is set of teachers is of all."""
    chosen = ["triplet", "hinton", "rkd-d", "pca"]
    runs = grid(
        "heads", cards.load_card("glyphs"), {"teacher.steps": 7}, chosen=chosen, seeds=[0, 1, 2, 3, 4, 7], dims=[4]
    )
    teachers, students = runs[:5], runs[5:]
    assert [(t.backbone, t.seed) for t in teachers] == [
        ("conv4-64", 0), ("conv4-64", 1), ("conv4-48", 0), ("conv4-64", 2), ("conv4-48", 1),
    ]  # fmt: skip
    assert {t.steps for t in teachers} == {7} and len({t.id for t in teachers}) == 5
    for student in students:
        assert student.teacher == (None if student.method == "triplet" else teachers[student.seed % 5])
    assert sorted(s.seed for s in students if s.method == "pca") == [0, 1, 2, 3, 4]  # one a teacher
    assert sorted(s.seed for s in students if s.method == "hinton" and s.hidden) == [0, 1, 2, 3, 4, 7]


def test_lengths_are_runs_of_their_own() -> None:
    students = grid("smoke", cards.load_card("tiny"), {"steps": [5, 7]}, chosen=["triplet"], seeds=[0])
    assert [s.steps for s in students] == [5, 7] and len({s.stream for s in students}) == 2


def test_every_data_set_has_a_preset() -> None:
    assert {card.name for _, card in PAIRS} == {card.name for card in [*CARDS, OWN]}


def test_data_that_no_preset_is_the_default_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new layout is named by no preset yet: what to write where is one line, and so is a preset for a GPU alone."""
    card = CARDS[0].model_copy(update={"name": "finches", "layout": "listed"})
    with pytest.raises(UsageError, match=r"no preset is the default for 'finches'.*--preset.*'listed'"):
        presets.choose_preset(None, card, None)
    with pytest.raises(UsageError, match=r"'quick' is not for 'finches'; these are: none; add 'finches'.*'listed'"):
        presets.choose_preset("quick", card, None)
    monkeypatch.setattr("benchmark.tuned.PRESETS", tmp_path)
    lines = 'title = "t"\ndatasets = ["listed"]\nmethods = []\ndims = [4]\nseeds = [0]\nstudent = {}\n'
    (tmp_path / "listed.toml").write_text(lines)
    with pytest.raises(UsageError, match=r"no preset is the default.*these are: listed"):
        presets.choose_preset(None, card, None)
    (tmp_path / "listed.toml").write_text(f"default_for = ['finches']\nwants_gpu = true\n{lines}")
    preset, why = presets.choose_preset(None, card, "cpu")
    assert preset.name == "listed" and why == "the preset for finches"


def test_paper_is_the_paper() -> None:
    """Park et al. 2019, section 4.1 and the authors' code: literature table of settings."""
    teacher, *students = grid("paper", cards.load_card("cub"))
    assert (teacher.backbone, teacher.dim, teacher.method, teacher.lr, teacher.steps) == (
        "resnet50",
        512,
        "triplet",
        1e-5,
        4000,
    )
    assert (teacher.milestones, teacher.decay) == ((0.625, 0.75, 0.875), 0.5)
    student = next(s for s in students if s.method == "rkd-da")
    assert student.params == {"distance_weight": 1.0, "angle_weight": 2.0}
    assert (student.backbone, student.lr, student.steps, student.batch, student.per_class) == (
        "resnet18",
        1e-4,
        8000,
        128,
        5,
    )
    assert (student.resize, student.image, student.flip, student.batchnorm) == (256, 224, True, "train")
    assert (student.optimizer, student.weight_decay, student.schedule, student.milestones) == (
        "adam",
        1e-5,
        "step",
        (0.5, 0.75),
    )
    assert {s.dim for s in students} == {16, 32, 64, 128} and {s.head for s in (teacher, *students)} == {"plain"}
    assert {s.method for s in (teacher, *students) if s.params.get("miner") == "authors"} == {
        "triplet", "fitnet", "attention", "darkrank"
    }  # fmt: skip
    for method, forms in (
        ("rkd-d", {True, False}),
        ("rkd-a", {True, False}),
        ("rkd-da", {True, False}),
        ("fitnet", {True}),
    ):
        assert {s.normalize for s in students if s.method == method} == forms
    assert {s.steps for s in grid("paper", cards.load_card("sop")) if s.teacher} == {60000}


TUNED = {"rkd-d": [Tuned({"lr": 0.5})], "rkd-da": [Tuned({"lr": 0.25, "angle_weight": 7.0})]}


def test_order_of_settings() -> None:
    def lr(**values: Scalar) -> dict[str, float]:
        assigned = {key.replace("__", ".").replace("_d", "-d"): value for key, value in values.items()}
        runs = grid("smoke", cards.load_card("tiny"), assigned, chosen=["triplet", "rkd-d", "rkd-da"], tuned=TUNED)
        return {s.method: s.lr for s in runs[1:]}

    assert lr() == {"triplet": 3e-3, "rkd-d": 0.5, "rkd-da": 0.25}
    assert lr(lr=0.125) == {"triplet": 0.125, "rkd-d": 0.125, "rkd-da": 0.125}
    assert lr(lr=0.125, rkd_d__lr=1e-4) == {"triplet": 0.125, "rkd-d": 1e-4, "rkd-da": 0.125}
    assert lr(teacher__lr=9.0) == lr()
    student = grid("smoke", cards.load_card("tiny"), chosen=["rkd-da"], tuned=TUNED)[1]
    assert student.params["angle_weight"] == 7.0


def test_the_teacher_is_trained_where_a_method_needs_it() -> None:
    card = cards.load_card("tiny")
    assert [s.dim for s in grid("smoke", card, chosen=["triplet"], seeds=[0])] == [8]
    assert [s.dim for s in grid("smoke", card, chosen=["triplet", "rkd-d"], seeds=[0])] == [16, 8, 8]


def test_controls_are_linear_heads_and_one_run_whatever_the_seeds() -> None:
    found = {name for name, entry in methods.catalogue().items() if entry.kind == "control"}
    runs = [spec for spec in grid("heads", cards.load_card("glyphs"), {"hidden": 8}) if spec.method in found]
    seeds = {name: sorted(spec.seed for spec in runs if spec.method == name and spec.dim == 16) for name in found}
    assert seeds == {name: [0] for name in found} | {"ridge": [0, 1, 2, 3, 4]}  # one a teacher
    assert {(spec.steps, spec.hidden) for spec in runs} == {(0, 0)} and {spec.dim for spec in runs} == {16, 32, 64, 128}
    assert all(spec.trunk is not None for spec in runs)
    assert {spec.method for spec in runs if spec.teacher} == {"ridge"}


def test_an_untrained_student_has_the_head_of_the_others() -> None:
    found = {spec.method: spec for spec in grid("smoke", cards.load_card("tiny"), {"hidden": 8})}
    assert found["untrained"].hidden == found["triplet"].hidden == 8


def test_a_tuning_grid_is_one_student_a_value() -> None:
    rates = [{"lr": 1e-3}, {"lr": 1e-2}]
    _, *students = grid("smoke", cards.load_card("tiny"), chosen=["rkd-da"], seeds=[0], variants=lambda entry: rates)
    assert {s.lr for s in students} == {1e-3, 1e-2} and len(students) == 2


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400])
@pytest.mark.parametrize("key", ["lr", "rkd-da.angle_weight"])
def test_numbers_are_finite_wherever_they_come_from(key: str, value: Scalar) -> None:
    with pytest.raises(UsageError):
        grid("smoke", cards.load_card("tiny"), {key: value}, chosen=["rkd-da"])


def test_a_number_is_one_number_however_it_is_written() -> None:
    card = cards.load_card("tiny")
    ids = {grid("smoke", card, {"rkd-da.angle_weight": value}, chosen=["rkd-da"])[1].id for value in (2, 2.0)}
    assert len(ids) == 1


def test_what_is_set_of_a_sum_is_set_in_any_order_of_its_parts() -> None:
    for target in ("fitnet+rkd-da", "rkd-da+fitnet"):
        settings = parse_assignments([f"{target}.rkd-da.angle_weight=7", f"{target}.lr=0.5"])
        student = grid("smoke", cards.load_card("tiny"), settings, chosen=["fitnet+rkd-da"])[1]
        assert student.params["rkd-da.angle_weight"] == 7 and student.lr == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "cannot be read as tuned settings: Invalid"),
        ("[chosen.rkd-d]", "no .method.NAME. tables"),
        ("method = 1", "no .method"),
    ],
)
def test_damaged_tuned_settings(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "tuned.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"tuned\.toml.*{message}"):
        read_tuned(file)


@pytest.mark.parametrize("numbers", ["dims = [0]", f"dims = [{10**400}]", "dims = [16]\nseeds = [-1]", "dims = [1.5]"])
def test_a_preset_takes_no_number_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: str) -> None:
    monkeypatch.setattr("benchmark.tuned.PRESETS", tmp_path)
    given = numbers if "seeds" in numbers else f"{numbers}\nseeds = [0]"
    (tmp_path / "quick.toml").write_text(f'title = "x"\ndatasets = []\nmethods = []\n{given}\n[student]\n')
    with pytest.raises(UsageError, match=r"quick\.toml (is not a preset: (dims|seeds)|cannot be read)"):
        presets.read_preset("quick")


def test_a_preset_may_name_groups() -> None:
    preset = presets.read_preset("smoke").model_copy(
        update={"methods": ("untrained", "posthoc", "rkd-d", "fitnet+rkd-a")}
    )
    expected = [name for name, entry in methods.catalogue().items() if entry.kind == "posthoc"]
    chosen = presets.select(preset.methods, preset)
    assert chosen[0] == "untrained" and set(expected) - {"ensemble"} <= set(chosen)
    assert chosen[-2:] == ["rkd-d", "fitnet+rkd-a"] and len(chosen) == len(set(chosen))
    assert "untrained" in presets.select(["all"], preset)


def test_a_damaged_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.tuned.PRESETS", tmp_path)
    (tmp_path / "quick.toml").write_text("title = \n")
    with pytest.raises(UsageError, match=r"quick\.toml cannot be read as a preset: .*line 1"):
        presets.read_preset("quick")


def test_every_field_of_the_spec_can_be_set() -> None:
    values = parse_assignments(["lr=3e-4", "flip=true", "schedule=cosine", "batchnorm=frozen", "batch=32"])
    assert values == {"lr": 3e-4, "flip": True, "schedule": "cosine", "batchnorm": "frozen", "batch": 32}
    student = grid("smoke", cards.load_card("tiny"), values)[-1]
    assert all(getattr(student, key) == value for key, value in values.items())
    assert grid("smoke", cards.load_card("tiny"), {"milestones": "0.5,0.75"})[-1].milestones == (0.5, 0.75)


def test_groups_of_methods() -> None:
    preset = presets.read_preset("smoke")
    relational = presets.select(["relational"], preset)
    assert {"rkd-d", "rkd-a", "rkd-da", "triplet", "untrained"} <= set(relational) and "hinton" not in relational
    everything = presets.select(["all"], preset)
    others = presets.select(["individual", "posthoc", "control"], preset)
    assert set(relational) | set(others) == set(everything) and "pca" in others and "ensemble" not in others
    with pytest.raises(UsageError, match="did you mean 'individual'"):
        presets.select(["individul"], preset)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"lr": {"low": 1e-1, "high": 1e-4}}, "not below"),
        ({"lr": {"low": 0.1, "high": 0.1}}, "not below"),
        ({"lr": {"low": 0.0, "high": 0.1}}, "greater than 0"),
        ({"lr": {"low": 0.1}}, "required"),
        ({"lr": {"low": 0.1, "high": 1.0, "log": True}}, "not permitted"),
        ({"lr": []}, "at least 1"),
        ({"lrr": [1, 2]}, "lrr is no field"),
        ({"steps": {"low": 10, "high": 100}}, "steps takes no fractions"),
    ],
)
def test_mistakes_in_a_search_space(search: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        presets.Preset.model_validate({**presets.read_preset("smoke").model_dump(), "search": search})


def test_a_preset_file_with_a_mistake_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PRESETS / "smoke.toml").read_text()
    (tmp_path / "smoke.toml").write_text(text.replace("lr = { low = 1e-4,", "lr = { low = 2.0,"))
    monkeypatch.setattr("benchmark.tuned.PRESETS", tmp_path)
    with pytest.raises(
        UsageError, match=r"smoke\.toml is not a preset: search\.lr.*low \(2\) is not below high \(0\.1\)"
    ):
        presets.read_preset("smoke")
