"""Neuron selectivity transfer: match the distributions of the channels' activation patterns."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, teacher_of
from .hints import block_pairs, pool_to_smaller


def patterns(maps: Tensor) -> Tensor:
    """Each channel's activations as a unit vector: [n, c, h * w] of maps [n, c, h, w]."""
    return F.normalize(maps.flatten(2), dim=2)


def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Mean of the squared products of patterns x [n, c, p] and y [n, k, p]: the polynomial kernel of degree 2 (section 4.1).

    By the smaller ones of two kinds of matrices: |x yᵀ|² = <xᵀx, yᵀy>, so that thousands of channels of few places cost little.
    """
    channels, places = x.shape[1] * y.shape[1], x.shape[2] ** 2
    if channels <= places:
        return (x @ y.transpose(1, 2)).square().mean()
    first, second = (pattern.transpose(1, 2) @ pattern for pattern in (x, y))
    return (first * second).sum((1, 2)).mean() / channels


def nst_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the channels' patterns (equation 4), at the smaller of the two resolutions."""
    student, teacher = map(patterns, pool_to_smaller(student, teacher))
    return mean_kernel(teacher, teacher) + mean_kernel(student, student) - 2 * mean_kernel(student, teacher)


class NST(Method):
    """Triplet loss plus the squared maximum mean discrepancy of activation patterns on the last three blocks."""

    name = "nst"
    kind = "individual"
    reference = "Huang and Wang, Like What You Like: Neuron Selectivity Transfer, arXiv 1707.01219, eq. 4 (weight 50 of CRD's code)"
    needs = ("embedding", "maps")
    task = "triplet"
    ranges = {"weight": (5.0, 500.0)}

    weight: float = 50.0
    margin: float = 0.2

    def forward(self, batch: Batch) -> Tensor:
        losses = [nst_loss(*maps) for maps in block_pairs(batch.student, teacher_of(batch))]
        return self.weight * torch.stack(losses).sum()
