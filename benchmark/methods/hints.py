"""The teacher's features, made out of the student's by layers that are learned beside it: FitNet's hints, VID's Gaussians."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Features, Method, Widths, teacher_of

BLOCKS = 3  # the last three stages, "blocks 2, 3, 4" of a ResNet (Park et al. 2019, section 4.1)
FIRST_VARIANCE, LEAST_VARIANCE = 5.0, 1e-5  # of the published code of VID


def block_pairs(student: Widths | Features, teacher: Widths | Features) -> zip[tuple[Any, Any]]:
    """The student's and the teacher's last blocks, shallow to deep: maps of features, or channels of widths."""
    return zip(student.maps[-BLOCKS:], teacher.maps[-BLOCKS:], strict=True)


def pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [n, c, h, w] at the smaller of their two resolutions, by average pooling."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)


class FitNet(Method):
    """Stage 1: hints on the last three blocks and the embedding, through trained regressors. Stage 2: triplet loss alone.

    Where one of the networks has no blocks, as in a stream of features, the hints are the teacher's pooled features and its embedding,
    both regressed from the student's embedding: on features all else of the student is frozen.

    Both stages share the one budget of steps. Losses are means over all elements, summed over the hints, as in Park et al.'s
    code; there the regressors were left out of the optimiser, here they are trained, as FitNets say (equation 3).
    """

    name = "fitnet"
    kind = "individual"
    reference = (
        "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550; hints as in Park et al. 2019"
    )
    task = "triplet"
    optional = ("maps", "pooled")
    ranges = {"hint_share": (0.1, 0.9)}
    later = ("miner",)

    hint_share: float = 0.5
    margin: float = 0.2
    miner: str = "ours"

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        if student.maps and teacher.maps:
            self.regressors = nn.ModuleList(nn.Conv2d(*widths, 1) for widths in block_pairs(student, teacher))
        else:
            self.pooled_regressor = nn.Linear(student.embedding, teacher.pooled)
        self.embedding_regressor = nn.Linear(student.embedding, teacher.embedding)

    def task_weight(self, progress: float) -> float:
        return float(progress >= self.hint_share)

    def forward(self, batch: Batch) -> Tensor:
        teacher, embedding = teacher_of(batch), batch.student.embedding
        if batch.progress >= self.hint_share:
            return embedding.new_zeros(())
        hints = [F.mse_loss(self.embedding_regressor(embedding), teacher.embedding)]
        if not (batch.student.maps and teacher.maps):
            return hints[0] + F.mse_loss(self.pooled_regressor(embedding), teacher.pooled)
        for regressor, maps in zip(self.regressors, block_pairs(batch.student, teacher), strict=True):
            output, target = pool_to_smaller(*maps)
            hints.append(F.mse_loss(regressor(output), target))
        return torch.stack(hints).sum()


convolution = functools.partial(nn.Conv2d, kernel_size=1)


class Gaussian(nn.Module):
    """A normal distribution of the teacher's features, with a mean computed from the student's and a learned variance a channel.

    As published, but that layers have biases here.

    Args:
        layer: makes a layer from widths (inputs, outputs): 1 x 1 convolutions for maps, linear ones for vectors.
    """

    def __init__(self, layer: Callable[[int, int], nn.Module], student: int, teacher: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            layer(student, teacher), nn.ReLU(), layer(teacher, teacher), nn.ReLU(), layer(teacher, teacher)
        )
        start = math.log(math.expm1(FIRST_VARIANCE - LEAST_VARIANCE))
        self.log_scale = nn.Parameter(torch.full((teacher,), start))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Negative log-likelihood of the teacher's features, mean over all numbers, up to a constant (equation 6)."""
        variance = F.softplus(self.log_scale) + LEAST_VARIANCE
        variance = variance.view(1, -1, *(1,) * (teacher.ndim - 2))
        return 0.5 * ((self.mean(student) - teacher).square() / variance + variance.log()).mean()


class VID(Method):
    """Triplet loss plus the negative log-likelihood of the teacher's embedding and of its last three blocks.

    Where one of the networks has no blocks, as in a stream of features, of the teacher's embedding and pooled features, given the
    student's embedding.
    """

    name = "vid"
    kind = "individual"
    reference = (
        "Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019, arXiv 1904.05835, eq. 6"
    )
    needs = ("embedding", "pooled")
    optional = ("maps",)
    task = "triplet"
    ranges = {"weight": (0.1, 10.0)}

    weight: float = 1.0
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.embedding = Gaussian(nn.Linear, student.embedding, teacher.embedding)
        if student.maps and teacher.maps:
            self.blocks = nn.ModuleList(Gaussian(convolution, *widths) for widths in block_pairs(student, teacher))
        else:
            self.pooled = Gaussian(nn.Linear, student.embedding, teacher.pooled)

    def to_teacher_space(self, embedding: Tensor) -> Tensor:
        return self.embedding.mean(embedding)

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = batch.student, teacher_of(batch)
        losses = [self.embedding(student.embedding, teacher.embedding)]
        if not (student.maps and teacher.maps):
            losses.append(self.pooled(student.embedding, teacher.pooled))
        else:
            for block, maps in zip(self.blocks, block_pairs(student, teacher), strict=True):
                losses.append(block(*pool_to_smaller(*maps)))
        return self.weight * torch.stack(losses).sum()
