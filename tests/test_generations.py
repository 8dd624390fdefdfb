"""Networks that teach networks of their size, sums of methods, and controls without a student: through the real command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Result, tiny_spec

from benchmark.data import cards
from benchmark.errors import UsageError
from benchmark.protocol import presets
from benchmark.protocol.grid import specs
from benchmark.spec import Spec, waves
from benchmark.store import Store

Cli = Callable[..., Result]


def grid(*chosen: str, generations: int = 0, dims: tuple[int, ...] = (8,), **assignments: object) -> list[Spec]:
    return specs(
        presets.read_preset("smoke"),
        cards.load_card("tiny", Path("nowhere")),
        chosen=chosen,
        dims=dims,
        seeds=(0, 1),
        assignments=dict(assignments),
        stream={"dataset": "tiny"},
        tuned={},
        generations=generations,
    )


def test_generations_nest_and_go_in_waves() -> None:
    specs = grid("rkd-da", generations=3)
    chain = [spec for spec in specs if spec.method == "rkd-da" and spec.seed == 0]
    assert [spec.generation for spec in chain] == [1, 2, 3]
    assert {(spec.backbone, spec.dim) for spec in chain} == {("conv4-16", 16)}  # the teacher's, whatever --dims says
    assert chain[1].teacher == chain[0] and chain[0].teacher is not None and chain[0].teacher.method == "triplet"
    (ensemble,) = (spec for spec in specs if spec.method == "ensemble" and spec.seed == 0)
    assert ensemble.members == (chain[2], chain[1], chain[0]) and ensemble.dim == 48 and ensemble.steps == 0
    assert [len(wave) for wave in waves(specs)] == [1, 2, 2, 2, 2]  # teacher; each generation and the ensembles by seed


def test_methods_between_networks_of_one_size_are_so_by_themselves() -> None:
    (spec,) = (spec for spec in grid("born-again", dims=(4, 8)) if spec.method == "born-again" and spec.seed == 0)
    assert (spec.backbone, spec.dim, spec.generation) == ("conv4-16", 16, 1)
    assert tiny_spec("rkd-da").generation == 0


def test_heads_have_no_generations() -> None:
    teacher = tiny_spec("multi-similarity")
    head = tiny_spec("rkd-d", teacher=teacher, views=2, backbone=teacher.backbone, dim=teacher.dim)
    assert head.generation == 0 and head.name == "rkd-d"
    with pytest.raises(UsageError, match="not of the teacher's size"):
        grid("born-again", views=2)


def test_controls_read_the_teacher_and_have_seeds_only_where_they_draw() -> None:
    specs = [spec for spec in grid("pca", "random-projection") if spec.teacher is not None]
    assert [(spec.method, spec.seed) for spec in specs] == [
        ("pca", 0),
        ("random-projection", 0),
        ("random-projection", 1),
    ]
    assert all(spec.backbone == "conv4-16" and spec.steps == 0 for spec in specs)
    assert {spec.dim for spec in grid("pca", dims=(8, 32)) if spec.method == "pca"} == {8}
    with pytest.raises(UsageError, match="has 16 numbers, fewer than 32"):
        grid("pca", dims=(32,))


def test_baselines_beside_generations_are_of_the_teachers_size() -> None:
    specs = grid("triplet", "untrained", "rkd-d", generations=1)
    students = [spec for spec in specs if spec.method in ("triplet", "untrained") and spec.steps != 20]
    assert {(spec.method, spec.backbone, spec.dim) for spec in students} == {
        ("triplet", "conv4-16", 16),
        ("untrained", "conv4-16", 16),
    }


@pytest.mark.parametrize("setting", ["pca.whiten", "pca.bits", "rkd-d.whiten"])
def test_a_setting_that_nothing_reads_is_an_error(setting: str) -> None:
    with pytest.raises(UsageError, match="unknown setting"):
        grid(*{"pca", setting.split(".")[0]}, **{setting: 1})


@pytest.mark.parametrize("method", ["pca", "rkd-d"])
def test_what_cannot_teach_first(method: str) -> None:
    with pytest.raises(UsageError, match="a teacher is trained by a task loss"):
        grid("triplet", "rkd-a", **{"teacher.method": method})


def test_a_lost_first_generation_is_trained_again(tmp_path: Path) -> None:
    """An ensemble reads all generations, so that none of them is taken for done without its weights."""
    (ensemble,) = (spec for spec in grid("rkd-d", generations=2) if spec.method == "ensemble" and spec.seed == 0)
    store = Store(tmp_path)
    for spec in (ensemble.members[0], ensemble.members[1].parents[0]):
        store.weights(spec).parent.mkdir(parents=True, exist_ok=True)
        store.weights(spec).touch()
    assert ensemble.members[1] in store.missing([ensemble])


def test_a_parameter_that_came_later_leaves_old_ids_alone() -> None:
    (plain,) = (spec for spec in grid("rkd-a") if spec.method == "rkd-a" and spec.seed == 0)
    assert "angle_triplets" not in plain.params
    (sampled,) = (
        spec for spec in grid("rkd-a", **{"rkd-a.angle_triplets": 9}) if spec.method == "rkd-a" and spec.seed == 0
    )
    assert sampled.params["angle_triplets"] == 9 and sampled.id != plain.id


def test_from_the_command_line_to_the_table(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    methods = "triplet,born-again,regression,rkd-d,pca,pq"
    assert cli(*smoke, "--methods", methods, "--generations", 2).code == 0
    assert (
        cli(*smoke, "--methods", "regression,fitnet+rkd-da", "--set", "fitnet+rkd-da.rkd-da.angle_weight=0.5").code == 0
    )
    folder = tmp_path / "tiny" / "smoke"
    records = list(Store(folder))
    assert {record.spec.method for record in records} == {*methods.split(","), "ensemble", "fitnet+rkd-da"}
    table = pd.read_csv(folder / "comparison.csv").set_index("method")
    for method in ("born-again", "regression", "rkd-d"):
        assert {f"{method}@Gen1", f"{method}@Gen2", f"{method}@Gen1-2"} <= {*table.index}
    asymmetric = table["asymmetric recall@1 mean [%]"]
    assert asymmetric["regression"] > 0 and asymmetric.loc[["rkd-d@Gen1", "pca", "triplet"]].isna().all()
    (combined,) = (record for record in records if record.spec.method == "fitnet+rkd-da")
    assert combined.spec.params["rkd-da.angle_weight"] == 0.5 and "fitnet.hint_share" in combined.spec.params
    teacher = next(record for record in records if record.spec.id == combined.spec.teacher.id)
    quantised = next(record for record in records if record.spec.method == "pq")
    assert quantised.parameters == teacher.parameters  # its cost is the teacher's
    text = (folder / "comparison.md").read_text()
    assert "IKD + RKD" in text and "asym. R@1" in text
    again = cli(*smoke, "--methods", methods, "--generations", 2)
    assert "0 to run" in again.out
