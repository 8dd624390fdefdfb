"""Each method teaches: a student of a few hundred steps retrieves better than an untrained one. `pytest -rP` prints by how much."""

from __future__ import annotations

from pathlib import Path

from conftest import tiny_spec
from test_lockstep import METHODS, train

from benchmark import cards
from benchmark.data import fetch, load
from benchmark.spec import Spec
from benchmark.store import Record, Store
from benchmark.workspace import Workspace

MARGIN = 0.05  # of Recall@1: about three standard errors of the 720 queries
SETTINGS = {
    "dataset": "glyphs",
    "subset": "60x12",
    "backbone": "conv4-8",
    "dim": 16,
    "resize": 32,
    "batch": 32,
    "per_class": 4,
    "lr": 1e-2,
}


def spec(method: str, **changes: object) -> Spec:
    return tiny_spec(method, **{**SETTINGS, "steps": 200, **changes})


def test_every_method_learns(tmp_path: Path) -> None:
    card = cards.load("glyphs", tmp_path)
    fetch(card, tmp_path, None)
    space = Workspace(load(card, tmp_path, "60x12"), tmp_path, Store(tmp_path / "results"))
    teacher = spec("multi-similarity", backbone="conv4-32", dim=32, steps=300, seed=1)
    taught = {method: spec(method) for method in METHODS}
    taught = {method: one if one.teacher is None else one.replace(teacher=teacher) for method, one in taught.items()}
    train([teacher], space)
    found = {
        outcome.spec.method: outcome.metrics["recall@1"]
        for outcome in train([*taught.values(), spec("untrained", steps=0)], space)
        if isinstance(outcome, Record)
    }
    assert found.keys() == {*METHODS, "untrained"}
    start = found.pop("untrained")
    for method, recall in sorted(found.items(), key=lambda item: -item[1]):
        print(
            f"{method}: Recall@1 {100 * recall:.1f} %, untrained {100 * start:.1f} %, margin {100 * (recall - start):+.1f}"
        )
    assert not {method: recall for method, recall in found.items() if recall < start + MARGIN}
