"""The angle loss of RKD: the published form, which builds n x n x d and n x n x n tensors, beside ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..methods.base import distances
from ..methods.rkd import angle_loss
from .measure import busy, cost

PLAIN = (128, 256, 512)  # batches; beyond them the published form needs more memory than machines have
OURS = (*PLAIN, 2048)
SMALL = 8  # of a first call, which is not measured
STUDENT, TEACHER = 64, 512  # dimensions


def plain(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 10 as the definition has it: unit differences, and products of them."""

    def found(x: Tensor) -> Tensor:
        directions = F.normalize(x[None] - x[:, None], dim=2)
        return torch.bmm(directions, directions.transpose(1, 2))

    with torch.no_grad():
        target = found(teacher)
    return F.smooth_l1_loss(found(student), target)


def ours(student: Tensor, teacher: Tensor) -> Tensor:
    return angle_loss(distances(student), distances(teacher))


FORMS = {"plain": plain, "ours": ours}


def step(form: str, n: int) -> Callable[[], object]:
    """Forward and backward of a batch of n."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(n, STUDENT, generator=generator, requires_grad=True)
    teacher = F.normalize(torch.randn(n, TEACHER, generator=generator))
    loss = FORMS[form]

    def run() -> object:
        student.grad = None
        loss(student, teacher).backward()
        return student.grad

    return run


def rows() -> list[dict[str, Any]]:
    """A row a batch size: seconds and peak memory of both forms, and their ratios; then the same beside a busy process a core."""
    quiet = [_row(n) for n in OURS]
    with busy():
        return quiet + [{**_row(n), "beside": "a busy process a core"} for n in PLAIN]


def _row(n: int) -> dict[str, Any]:
    mine = cost(step, ("ours", n), ("ours", SMALL))
    row: dict[str, Any] = {"batch": n, "ours [s]": mine.typical, "spread": mine.spread, "ours [MB]": mine.peak / 1e6}
    if n in PLAIN:
        theirs = cost(step, ("plain", n), ("plain", SMALL))
        row |= {
            "plain [s]": theirs.typical,
            "plain [MB]": theirs.peak / 1e6,
            "times faster": theirs.typical / mine.typical,
            "times less memory": theirs.peak / max(mine.peak, 1),
        }
    return row
