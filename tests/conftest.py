"""Shared fixtures: a rendered tiny data set, the command line in this process, and small specs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

# Where a user's networks lie is remembered in a cache: tests have their own, which goes with them.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="benchmark-tests-")
# A test worker a core: with more threads than that they wait for each other at the end of every operation. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmark.cli import run_command
from benchmark.data import cards
from benchmark.data.fetch import fetch
from benchmark.files import unsealed
from benchmark.spec import Spec

atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
# How long a case takes is no result of a test.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# A method as a user writes it in a file of their own.
COSINE_PAIRS = '''"""Match cosine similarities of all pairs."""

from torch import Tensor
from torch.nn.functional import mse_loss

from benchmark.methods.base import Batch, Method, cosines


class CosinePairs(Method):
    """Mean squared difference of the two networks' cosine similarities."""

    name = "cosine-pairs"
    kind = "relational"
    reference = "mine"

    weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        return self.weight * mse_loss(cosines(batch.student.embedding), batch.of_teacher(cosines))
'''


class Result(NamedTuple):
    code: int
    out: str
    err: str


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    lines = [line for line in result.err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("benchmark: "), result.err
    assert "Traceback" not in result.err + result.out
    for word in words:
        assert word in lines[0], lines[0]


def fields_of(path: Path) -> dict[str, Any]:
    """What a record's file holds, to be changed and written back as older versions wrote it: without its digest."""
    return unsealed(path.read_bytes())


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the tiny glyphs."""
    folder = tmp_path_factory.mktemp("data")
    fetch(cards.load_card("tiny", folder), folder, None)
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command line in this process: `cli("list", "methods")`."""

    def call(*words: Any) -> Result:
        capsys.readouterr()
        code = run_command([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def smoke(data_dir: Path, tmp_path: Path) -> list[str]:
    """The words of a run that takes seconds; its results are in `tmp_path`."""
    words = f"run --dataset tiny --preset smoke --device cpu --seeds 0 --data {data_dir} --results {tmp_path}"
    return words.split()


def tiny_spec(method: str = "triplet", **changes: Any) -> Spec:
    """A small spec on the tiny glyphs; methods with a teacher get one."""
    from benchmark import methods

    entry = methods.entry(method)
    base: dict[str, Any] = {
        "dataset": "tiny",
        "method": method,
        "params": entry.defaults,
        "backbone": "conv4-4",
        "pretrained": False,
        "dim": 6,
        "normalize": entry.normalize,
        "steps": 6,
        "batch": 12,
        "per_class": 3,
        "resize": 32,
        "image": 28,
        "flip": False,
        "lr": 1e-2,
        "optimizer": "adamw",
        "schedule": "one-cycle",
    }
    if entry.needs_teacher:
        base["teacher"] = tiny_spec(backbone="conv4-5", dim=10, steps=3, seed=7)
    return Spec(**{**base, **changes})
