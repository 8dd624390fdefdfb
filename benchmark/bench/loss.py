"""The losses of RKD as they are usually written, and the angle loss, which then builds n x n x d and n x n x n tensors, beside ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..methods.base import distances
from ..methods.rkd import angle_loss
from .measure import cost

PLAIN = (128, 256, 512)  # batches; beyond them the published form needs more memory than machines have
OURS = (*PLAIN, 2048)
SMALL = 8  # of a first call, which is not measured
STUDENT, TEACHER = 64, 512  # dimensions


def plain_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 10 as the definition has it: unit differences, and products of them."""

    def angles(x: Tensor) -> Tensor:
        directions = F.normalize(x[None] - x[:, None], dim=2)
        return torch.bmm(directions, directions.transpose(1, 2))

    with torch.no_grad():
        target = angles(teacher)
    return F.smooth_l1_loss(angles(student), target)


def plain_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 7 as it is usually written: distances from a product of matrices, with an epsilon under the root."""

    def scaled(x: Tensor) -> Tensor:
        squares = x.square().sum(1)
        d = (squares[:, None] + squares[None, :] - 2 * x @ x.T).clamp(min=1e-12).sqrt()
        d = d * (1 - torch.eye(len(x), dtype=x.dtype))
        return d / d[d > 0].mean()

    with torch.no_grad():
        target = scaled(teacher)
    return F.smooth_l1_loss(scaled(student), target)


def step(form: str, n: int) -> Callable[[], object]:
    """Forward and backward of a batch of n."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(n, STUDENT, generator=generator, requires_grad=True)
    teacher = F.normalize(torch.randn(n, TEACHER, generator=generator))

    def run() -> object:
        student.grad = None
        if form == "plain":
            plain_angle_loss(student, teacher).backward()
        else:
            angle_loss(distances(student), distances(teacher)).backward()
        return student.grad

    return run


def loss_rows() -> list[dict[str, Any]]:
    """A row a batch size: seconds and peak memory of both forms, and their ratios."""
    rows = []
    for n in OURS:
        lean = cost(step, ("ours", n), ("ours", SMALL))
        row = {"batch": n, "ours [s]": lean.typical, "spread": lean.spread, "ours [MB]": lean.peak / 1e6}
        if n in PLAIN:
            plain = cost(step, ("plain", n), ("plain", SMALL))
            row |= {"plain [s]": plain.typical, "plain [MB]": plain.peak / 1e6}
            row |= {"times faster": plain.typical / lean.typical, "times less memory": plain.peak / max(lean.peak, 1)}
        rows.append(row)
    return rows
