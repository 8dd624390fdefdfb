"""Relational Knowledge Distillation: match distances between pairs, and angles between triples, of a batch.

Park, Kim, Lu, Cho: Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, Widths, distances, teacher_of


def scaled_distances(x: Tensor) -> Tensor:
    """Distances [n, n] in units of their mean over distinct pairs (equations 5 and 6)."""
    d = distances(x)
    return d / d[d > 0].mean()


def angles(x: Tensor) -> Tensor:
    """Cosines [n, n, n] of the angle at x_j that x_i and x_k form, as [j, i, k] (equation 8); 0 where i or k is j.

    By the law of cosines from distances alone, so that the cost does not grow with the dimension.
    """
    d = distances(x)
    # A point has no direction to its duplicate: 0, without gradient, where a small epsilon would give one of 1 / epsilon.
    apart = d > 1e-6
    inverse = apart / d.masked_fill(~apart, 1.0)
    squared = d.square()
    return (squared[:, :, None] + squared[:, None, :] - squared) * (inverse[:, :, None] * (0.5 * inverse)[:, None, :])


def distance_loss(student: Tensor, target: Tensor) -> Tensor:
    """Equation 7: Huber loss with delta 1 between the student's scaled distances and `target`, the teacher's.

    The mean is over all n² entries, the diagonal's zeros included, as in the authors' code; the paper sums over distinct pairs.
    """
    return F.smooth_l1_loss(scaled_distances(student), target)


def angle_loss(student: Tensor, target: Tensor) -> Tensor:
    """Equation 9: Huber loss with delta 1 between the student's cosines and `target`, the teacher's.

    The mean is over all n³ entries, degenerate ones included, as in the authors' code.
    """
    return F.smooth_l1_loss(angles(student), target)


class RKD(Method):
    """Distance-wise and angle-wise loss together, without a task loss, on embeddings that are not normalised."""

    name = "rkd-da"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 7 and 9"
    normalize = False
    search: ClassVar = {"angle_weight": (0.2, 20.0)}  # beside a distance weight of 1: the ratio is what counts

    def __init__(
        self, student: Widths, teacher: Widths, classes: int, *, distance_weight: float = 1.0, angle_weight: float = 2.0
    ) -> None:
        super().__init__(student, teacher, classes)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = batch.student.embedding, teacher_of(batch).embedding
        loss = student.new_zeros(())
        if self.distance_weight:
            target = batch.once("scaled distances", lambda: scaled_distances(teacher))
            loss = loss + self.distance_weight * distance_loss(student, target)
        if self.angle_weight:
            target = batch.once("angles", lambda: angles(teacher))
            loss = loss + self.angle_weight * angle_loss(student, target)
        return loss


class RKDDistance(RKD):
    """Distance-wise loss alone."""

    name = "rkd-d"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 7"
    normalize = False
    search: ClassVar = {}

    def __init__(self, student: Widths, teacher: Widths, classes: int, *, weight: float = 1.0) -> None:
        super().__init__(student, teacher, classes, distance_weight=weight, angle_weight=0.0)


class RKDAngle(RKD):
    """Angle-wise loss alone."""

    name = "rkd-a"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 9"
    normalize = False
    search: ClassVar = {}

    def __init__(self, student: Widths, teacher: Widths, classes: int, *, weight: float = 1.0) -> None:
        super().__init__(student, teacher, classes, distance_weight=0.0, angle_weight=weight)
