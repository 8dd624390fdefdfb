"""Variational information distillation: make the teacher's features likely, given the student's.

Ahn, Hu, Damianou, Lawrence, Dai: Variational Information Distillation for Knowledge Transfer, CVPR 2019, arXiv 1904.05835.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of
from .fitnet import BLOCKS, pool_to_smaller

FIRST_VARIANCE, LEAST_VARIANCE = 5.0, 1e-5  # of the published code


convolution = functools.partial(nn.Conv2d, kernel_size=1)


class Gaussian(nn.Module):
    """A normal distribution of the teacher's features, with a mean computed from the student's and a learned variance a channel.

    As published, but that layers have biases here.

    Args:
        layer: makes a layer from widths (inputs, outputs): 1 x 1 convolutions for maps, linear ones for vectors.
    """

    def __init__(self, layer: Callable[[int, int], nn.Module], mine: int, theirs: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            layer(mine, theirs), nn.ReLU(), layer(theirs, theirs), nn.ReLU(), layer(theirs, theirs)
        )
        start = math.log(math.expm1(FIRST_VARIANCE - LEAST_VARIANCE))
        self.log_scale = nn.Parameter(torch.full((theirs,), start))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Negative log-likelihood of the teacher's features, mean over all numbers, up to a constant (equation 6)."""
        variance = F.softplus(self.log_scale) + LEAST_VARIANCE
        variance = variance.view(1, -1, *(1,) * (teacher.ndim - 2))
        return 0.5 * ((self.mean(student) - teacher).square() / variance + variance.log()).mean()


class VID(Method):
    """Triplet loss plus the negative log-likelihood of the teacher's embedding and of its last three blocks.

    In a stream of features, where there are no blocks, of the teacher's embedding and pooled features, given the student's embedding.
    """

    name = "vid"
    kind = "individual"
    reference = (
        "Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019, arXiv 1904.05835, eq. 6"
    )
    needs = ("embedding", "pooled", "labels")
    optional = ("maps",)
    is_random = True
    ranges: ClassVar = {"weight": (0.1, 10.0)}

    task = "triplet"

    weight: float = 1.0
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.embedding = Gaussian(nn.Linear, student.embedding, teacher.embedding)
        if student.maps:
            pairs = zip(student.maps[-BLOCKS:], teacher.maps[-BLOCKS:], strict=True)
            self.blocks = nn.ModuleList(Gaussian(convolution, mine, theirs) for mine, theirs in pairs)
        else:
            self.pooled = Gaussian(nn.Linear, student.embedding, teacher.pooled)

    def to_teacher_space(self, embedding: Tensor) -> Tensor:
        return self.embedding.mean(embedding)

    def forward(self, batch: Batch) -> Tensor:
        mine, theirs = batch.student, teacher_of(batch)
        losses = [self.embedding(mine.embedding, theirs.embedding)]
        if not mine.maps:
            losses.append(self.pooled(mine.embedding, theirs.pooled))
        else:
            for block, ours, target in zip(self.blocks, mine.maps[-BLOCKS:], theirs.maps[-BLOCKS:], strict=True):
                losses.append(block(*pool_to_smaller(ours, target)))
        return self.weight * torch.stack(losses).sum()
