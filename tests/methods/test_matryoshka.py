"""One student for every dimension: the loss by hand, and the rows of its smaller embeddings by the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Result

from benchmark import methods
from benchmark.errors import UsageError
from benchmark.methods.base import Batch, Features, Widths
from benchmark.record import read_record

Cli = Callable[..., Result]
NESTABLE = [name for name, entry in methods.catalogue().items() if entry.trains and not entry.same_size]


def batch(width: int, *, unit: bool) -> Batch:
    torch.manual_seed(0)
    student = torch.randn(16, width)
    maps = tuple(torch.randn(16, channels, side, side) for channels, side in ((4, 8), (8, 4), (12, 2), (16, 1)))
    features = Features(F.normalize(student) if unit else student, torch.randn(16, 20), maps, unit)
    teacher = Features(F.normalize(torch.randn(16, 24)), torch.randn(16, 20), maps, True)
    return Batch(features, teacher, torch.arange(4).repeat_interleave(4), torch.arange(16), 0.5)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("name", ["rkd-d", "regression", "triplet"])
def test_the_loss_is_the_sum_over_halves(name: str, unit: bool) -> None:
    """32 numbers, 16 and 8; not 4."""
    widths, taught = Widths(32, 20, (4, 8, 12, 16)), Widths(24, 20, (4, 8, 12, 16))
    given = batch(32, unit=unit)
    torch.manual_seed(1)
    nested = methods.load(f"matryoshka-{name}")(widths, taught, 4, **methods.entry(name).defaults)
    torch.manual_seed(2)
    total = nested.loss(given)
    torch.manual_seed(2)
    expected = torch.zeros(())
    for size, inner in zip((32, 16, 8), nested.parts, strict=True):
        first = given.student.embedding[:, :size]
        seen = given.student._replace(embedding=F.normalize(first) if unit else first)
        expected = expected + inner.loss(Batch(seen, given.teacher, given.labels, given.index, given.progress))
    assert len(nested.parts) == 3
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("name", NESTABLE)
def test_every_loss_that_trains_can_be_nested(name: str) -> None:
    widths = Widths(16, 20, (4, 8, 12, 16))
    entry = methods.entry(f"matryoshka-{name}")
    assert entry.kind == methods.entry(name).kind and entry.defaults == methods.entry(name).defaults
    torch.manual_seed(0)
    method = methods.load(entry.name)(widths, Widths(24, 20, (4, 8, 12, 16)), 4, **entry.defaults)
    given = batch(16, unit=entry.normalize)
    given.student.embedding.requires_grad_()
    method.prepare(torch.randn(16, 24), given.labels)
    loss = method.loss(given)
    method.update(given)
    assert loss.ndim == 0 and torch.isfinite(loss)
    assert sum(len(parameters) for parameters, _ in method.learned()) == len(list(method.parameters()))


def test_what_cannot_be_nested() -> None:
    for name in ("matryoshka-pca", "matryoshka-born-again", "matryoshka-untrained"):
        with pytest.raises(UsageError, match="cannot be nested"):
            methods.entry(name)
    with pytest.raises(UsageError, match="unknown method 'rkd-x'"):
        methods.entry("matryoshka-rkd-x")


def test_one_student_has_a_row_at_every_dimension(cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    name = "matryoshka-rkd-d"
    assert cli(*smoke, "--methods", f"{name},rkd-d", "--dims", "8,16").code == 0
    (folder,) = tmp_path.rglob("smoke")
    records = [read_record(path) for path in (folder / "runs").glob("*.json")]
    (whole,) = (record for record in records if record.spec.method == name)
    (small,) = (record for record in records if record.spec.method == "truncate")
    assert whole.spec.dim == 16 and small.spec.teacher == whole.spec and small.spec.dim == 8 and small.spec.name == name
    rows = [line for line in (folder / "comparison.md").read_text().splitlines() if line.startswith("| nested")]
    assert len(rows) >= 3  # of the Recall@1 table one with both dimensions, of each dimension's one
    cells = [cell.strip() for cell in rows[0].split("|")]
    assert {f"{100 * record.metrics['recall@1']:.2f}" for record in (whole, small)} <= {*cells}
