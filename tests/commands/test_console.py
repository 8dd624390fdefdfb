"""Tables of commands on a terminal of 80 columns."""

from __future__ import annotations

from conftest import tiny_spec
from made_records import shown

from benchmark.commands.console import plan_table
from benchmark.spec import waves


def test_a_plan_fits_a_narrow_terminal() -> None:
    """Names are never cut, and waves are sections."""
    teacher = tiny_spec(method="multi-similarity", backbone="conv4-64", dim=128, steps=600)
    methods = ("triplet", "rkd-d", "relaxed-contrastive")
    specs = [tiny_spec(method=name, dim=dim, seed=seed) for name in methods for dim in (16, 32) for seed in (0, 1)]
    taught = [spec.replace(teacher=teacher) for spec in specs]
    text = shown(plan_table(waves([teacher, *taught])))
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert any(line.split()[:2] == ["relaxed-contrastive", specs[0].backbone] for line in text.splitlines())
