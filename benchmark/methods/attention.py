"""Attention transfer: match where the networks look.

Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, Widths, teacher_of
from .fitnet import BLOCKS, pool_to_smaller
from .task import Triplet


def attention_map(maps: Tensor) -> Tensor:
    """Unit vectors [n, h * w] of the channels' mean square at each place of maps [n, c, h, w] (section 3.1)."""
    return F.normalize(maps.square().mean(1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two attention maps, at the smaller of the two resolutions: equation 2, squared as in the authors' code."""
    student, teacher = pool_to_smaller(student, teacher)
    return (attention_map(student) - attention_map(teacher)).square().mean()


class Attention(Method):
    """Triplet loss plus attention transfer on the last three blocks."""

    name = "attention"
    kind = "individual"
    reference = "Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928; weight 50 of Park et al. 2019"
    needs = ("embedding", "maps", "labels")
    draws = True
    search: ClassVar = {"weight": (5.0, 500.0)}

    def __init__(
        self, student: Widths, teacher: Widths, classes: int, *, weight: float = 50.0, margin: float = 0.2
    ) -> None:
        super().__init__(student, teacher, classes)
        self.weight = weight
        self.task = Triplet(student, None, classes, margin=margin)

    def forward(self, batch: Batch) -> Tensor:
        pairs = zip(batch.student.maps[-BLOCKS:], teacher_of(batch).maps[-BLOCKS:], strict=True)
        return self.task(batch) + self.weight * sum(attention_loss(mine, theirs) for mine, theirs in pairs)
