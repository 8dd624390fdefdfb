"""Each method teaches: a student of a hundred steps retrieves better than an untrained one. `pytest -rP` prints by how much."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import tiny_spec
from test_lockstep import METHODS, train

from benchmark.data import cards
from benchmark.data.fetch import fetch
from benchmark.data.layouts import load_images
from benchmark.record import Record
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.training.context import RunContext

MARGIN = 0.05  # of Recall@1: about three standard errors of the 720 queries


def spec(method: str, **changes: object) -> Spec:
    """A student on 60 letters of the glyphs."""
    settings = {"dataset": "glyphs", "subset": "60x12", "dim": 16, "resize": 32, "batch": 32, "per_class": 4}
    return tiny_spec(method, **{**settings, "backbone": "conv4-8", "lr": 1e-2, "steps": 100, **changes})


@pytest.mark.timeout(1200)  # on a busy machine
def test_every_method_learns(tmp_path: Path) -> None:
    card = cards.load_card("glyphs", tmp_path)
    fetch(card, tmp_path, None)
    space = RunContext(load_images(card, tmp_path, "60x12"), tmp_path, Store(tmp_path / "results"))
    teacher = spec("multi-similarity", backbone="conv4-32", dim=32, steps=200, seed=1)
    taught = [one if one.teacher is None else one.replace(teacher=teacher) for one in map(spec, METHODS)]
    train([teacher], space)
    outcomes = [*train(taught, space), *train([spec("untrained", steps=0)], space)]
    found = {o.spec.method: o.metrics["recall@1"] for o in outcomes if isinstance(o, Record)}
    start = found.pop("untrained")
    assert found.keys() == {*METHODS}, [o.message for o in outcomes if not isinstance(o, Record)]
    for method, recall in sorted(found.items(), key=lambda item: -item[1]):
        print(f"{method}: Recall@1 {100 * recall:.1f} %, untrained {100 * start:.1f} %, {100 * (recall - start):+.1f}")
    assert not {method: recall - start for method, recall in found.items() if recall < start + MARGIN}
