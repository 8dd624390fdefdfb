"""`precision = "auto"` is a measured choice, one for a backbone and machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import Result, assert_one_line, tiny_spec

from benchmark import estimate
from benchmark.errors import DataError
from benchmark.plan import Plan
from benchmark.precision import settled
from benchmark.report.commands import Recipes
from benchmark.spec import AUTO, Spec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor that runs the tests."""
    monkeypatch.setattr("benchmark.precision.multiplies_bfloat16", lambda: True)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """Of a made-up machine where residual networks gain by bfloat16 and no others do; what was measured."""
    asked: list[Spec] = []

    def seconds(spec: Spec, device: torch.device) -> float:
        asked.append(spec)
        return 1.0 if spec.precision == "fp32" else 0.5 if spec.backbone.startswith("resnet") else 0.9

    monkeypatch.setattr(estimate, "training_seconds", seconds)
    return asked


def say(message: str) -> None:
    pass


def auto(backbone: str, teacher: str) -> Spec:
    spec = tiny_spec("rkd-d", backbone=backbone, precision=AUTO)
    assert spec.teacher is not None
    return spec.replace(teacher=spec.teacher.replace(backbone=teacher, precision=AUTO))


def test_each_backbone_has_what_is_faster(tmp_path: Path, measured: list[Spec]) -> None:
    spec, other = settled([auto("conv4-8", "resnet18"), auto("resnet18", "conv4-8")], CPU, tmp_path, say, measure=True)
    assert spec.teacher is not None and other.teacher is not None
    assert (spec.precision, spec.teacher.precision) == ("fp32", "bf16")
    assert (other.precision, other.teacher.precision) == ("bf16", "fp32")
    assert len(measured) == 4  # two backbones, each once a precision


def test_what_is_measured_and_chosen_is_said(tmp_path: Path, measured: list[Spec]) -> None:
    said: list[str] = []
    settled([auto("conv4-8", "resnet18")], CPU, tmp_path, said.append, measure=True)
    assert len(said) == 4 and "resnet18" in said[0]
    assert said[1:4:2] == [
        "resnet18: bf16, since bf16 takes 0.50 times as long as fp32",
        "conv4-8: fp32, since bf16 takes 0.90 times as long as fp32",
    ]
    settled([auto("conv4-8", "resnet18")], CPU, tmp_path, said.append, measure=True)
    assert len(said) == 4


def test_a_processor_without_bfloat16_is_not_measured(
    tmp_path: Path, measured: list[Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.precision.multiplies_bfloat16", lambda: False)
    (spec,) = settled([auto("conv4-8", "resnet18")], CPU, tmp_path, say, measure=True)
    assert spec.precision == "fp32" and not measured


def test_the_choice_is_kept(tmp_path: Path, measured: list[Spec]) -> None:
    first = settled([auto("conv4-8", "resnet18")], CPU, tmp_path, say, measure=True)
    measured.clear()
    assert settled([auto("conv4-8", "resnet18")], CPU, tmp_path, say, measure=True) == first and not measured
    (tmp_path / "precision.json").write_text("no json")
    assert settled([auto("conv4-8", "resnet18")], CPU, tmp_path, say, measure=True) == first and measured


def test_what_is_said_stays(tmp_path: Path, measured: list[Spec]) -> None:
    spec = tiny_spec("rkd-d", precision="bf16")
    assert settled([spec], CPU, tmp_path, say, measure=True) == [spec]
    assert not measured and not list(tmp_path.iterdir())


def test_a_frozen_batchnorm_and_other_threads_are_measured_by_themselves(
    tmp_path: Path, measured: list[Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = auto("conv4-8", "resnet18")
    settled([spec], CPU, tmp_path, say, measure=True)
    measured.clear()
    settled([spec.replace(batchnorm="frozen")], CPU, tmp_path, say, measure=True)
    assert {one.batchnorm for one in measured} == {"frozen"} and len(measured) == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    measured.clear()
    settled([spec], CPU, tmp_path, say, measure=True)
    assert len(measured) == 4


def test_a_trunk_has_a_precision_too(tmp_path: Path, measured: list[Spec]) -> None:
    trunk = tiny_spec("triplet", backbone="resnet18", teacher=None, precision=AUTO)
    (spec,) = settled([tiny_spec("triplet", teacher=None, views=2, trunk=trunk)], CPU, tmp_path, say, measure=True)
    assert spec.trunk is not None and spec.trunk.precision == "bf16"


def test_of_two_commands_one_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a second measurement would have said, both have the first one's choice."""
    asked = []

    def seconds(spec: Spec, device: torch.device) -> float:
        asked.append(spec)
        time.sleep(0.05)
        return float(len(asked))  # what comes second is slower: both would choose otherwise than the other

    monkeypatch.setattr(estimate, "training_seconds", seconds)
    start = threading.Barrier(2)

    def command(_: int) -> Spec:
        start.wait()
        return settled([tiny_spec("triplet", teacher=None, precision=AUTO)], CPU, tmp_path, say, measure=True)[0]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(command, range(2))
    assert first == second and len(asked) == 2


def test_choices_that_cannot_be_kept_are_not_made(tmp_path: Path, measured: list[Spec]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write to"):
        settled([auto("conv4-8", "resnet18")], CPU, tmp_path / "file" / "cache", say, measure=True)
    assert not measured


def test_a_gpu_keeps_the_published_precision(tmp_path: Path, measured: list[Spec]) -> None:
    (spec,) = settled([auto("resnet18", "resnet18")], torch.device("cuda"), tmp_path, say, measure=True)
    assert spec.precision == "fp32" and not measured


def test_plans_have_no_open_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured for real, on networks that take milliseconds."""
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    plan = Plan("tiny", "smoke", data=tmp_path, mirror=None, results=tmp_path, device="cpu", dry=True)
    words = ["precision=auto", "teacher.precision=auto"]
    planned = plan.specs(
        methods=None, dims=None, seeds=None, steps=None, backbone=None, teacher=None, assignments=words
    )
    assert not (tmp_path / "precision.json").exists()  # what only names runs, such as a report, measures nothing
    assert plan.settled(planned, say, dry=True) == planned and not (tmp_path / "precision.json").exists()
    specs = plan.settled(planned, say, dry=False)
    assert plan.settled(planned, say, dry=True) == specs  # what is known by then
    assert {spec.precision for spec in specs} <= {"fp32", "bf16"} and (tmp_path / "precision.json").exists()
    assert len({spec.precision for spec in specs if spec.teacher is not None}) == 1


def test_a_report_names_the_precision_and_measures_nothing(measured: list[Spec]) -> None:
    """The command that makes a run again must not depend on the machine that writes it."""
    plan = Plan("cub", "paper", data=Path("x"), mirror=None, results=Path("x"), device="cpu", dry=True)
    planned = plan.specs(
        methods="rkd-d",
        dims="64",
        seeds="0",
        steps=None,
        backbone=None,
        teacher=None,
        assignments=["rkd-d.normalize=false"],
    )
    (spec,) = (one for one in planned if one.method == "rkd-d")
    assert spec.precision == AUTO and spec.teacher is not None
    spec = spec.replace(precision="fp32", teacher=spec.teacher.replace(precision="bf16"))
    assert spec.teacher is not None
    command = Recipes("paper").command([spec])
    assert "--set rkd-d.precision=fp32" in command and "--set teacher.precision=bf16" in command and not measured
    assert Recipes("paper").command([spec.teacher], parent=True).endswith("--set teacher.precision=bf16")


def test_what_is_made_of_the_teachers_embeddings_has_its_precision(cli: Callable[..., Result]) -> None:
    words = ["run", "--dataset", "tiny", "--methods", "pca", "--dry-run", "--set"]
    assert_one_line(cli(*words, "pca.precision=fp32"), 2, "pca.precision", "teacher.precision")
