"""Each method teaches: a student of a few hundred steps retrieves better than an untrained one. `pytest -rP` prints by how much."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import tiny_spec
from test_lockstep import METHODS, train

from benchmark import cards, methods
from benchmark.data import fetch, load
from benchmark.spec import Spec
from benchmark.store import Record, Store
from benchmark.workspace import Workspace

MARGIN = 0.05  # of Recall@1: about three standard errors of the 720 queries


def spec(method: str, **changes: object) -> Spec:
    """A student on 60 letters of the glyphs."""
    settings = {"dataset": "glyphs", "subset": "60x12", "dim": 16, "resize": 32, "batch": 32, "per_class": 4}
    return tiny_spec(method, **{**settings, "backbone": "conv4-8", "lr": 1e-2, "steps": 150, **changes})


@pytest.mark.timeout(1200)  # on a busy machine
def test_every_method_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads on the features of a random trunk, which take milliseconds a step; whole networks where a method reads feature maps."""
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    card = cards.load("glyphs", tmp_path)
    fetch(card, tmp_path, None)
    space = Workspace(load(card, tmp_path, "60x12"), tmp_path, Store(tmp_path / "results"))
    teacher = spec("multi-similarity", backbone="conv4-32", dim=32, steps=200, seed=1)

    def taught(method: str, **changes: object) -> Spec:
        found = spec(method, **changes)
        return found if found.teacher is None else found.replace(teacher=teacher)

    on_maps = {method for method in METHODS if "maps" in methods.entry(method).needs}
    head = {"backbone": "conv4-32", "views": 4, "hidden": 64, "steps": 300}
    heads = [taught(method, **head) for method in METHODS if method not in on_maps]
    train([teacher], space)
    margins: dict[str, float] = {}
    for group, changes in ((heads, head), ([taught(method) for method in sorted(on_maps)], {})):
        outcomes = [*train(group, space), *train([spec("untrained", **{**changes, "steps": 0})], space)]
        found = {o.spec.method: o.metrics["recall@1"] for o in outcomes if isinstance(o, Record)}
        start = found.pop("untrained")
        assert len(found) == len(group), [o.message for o in outcomes if not isinstance(o, Record)]
        for method, recall in sorted(found.items(), key=lambda item: -item[1]):
            margins[method] = recall - start
            print(
                f"{method}: Recall@1 {100 * recall:.1f} %, untrained {100 * start:.1f} %, {100 * margins[method]:+.1f}"
            )
    assert margins.keys() == {*METHODS}
    assert not {method: margin for method, margin in margins.items() if margin < MARGIN}
