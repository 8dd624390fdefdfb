"""Attention transfer: match where the networks look."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, teacher_of
from .hints import block_pairs, pool_to_smaller


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
    needs = ("embedding", "maps")
    task = "triplet"
    ranges = {"weight": (5.0, 500.0)}
    later = ("miner",)

    weight: float = 50.0
    margin: float = 0.2
    miner: str = "ours"

    def forward(self, batch: Batch) -> Tensor:
        losses = [attention_loss(*maps) for maps in block_pairs(batch.student, teacher_of(batch))]
        return self.weight * torch.stack(losses).sum()
