"""Hints: regress the teacher's features from the student's, then train on the task.

Romero et al.: FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of

BLOCKS = 3  # the last three stages, "blocks 2, 3, 4" of a ResNet (Park et al. 2019, section 4.1)


def pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [n, c, h, w] at the smaller of their two resolutions, by average pooling."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)


class FitNet(Method):
    """Stage 1: hints on the last three blocks and the embedding, through trained regressors. Stage 2: triplet loss alone.

    In a stream of features, where there are no blocks, the hints are the teacher's pooled features and its embedding, both regressed
    from the student's embedding: all else of the student is frozen.

    Both stages share the one budget of steps. Losses are means over all elements, summed over the hints, as in Park et al.'s
    code; there the regressors were left out of the optimiser, here they are trained, as FitNets say (equation 3).
    """

    name = "fitnet"
    kind = "individual"
    reference = (
        "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550; hints as in Park et al. 2019"
    )
    needs = ("embedding", "labels")
    optional = ("maps", "pooled")
    is_random = True
    ranges: ClassVar = {"hint_share": (0.1, 0.9)}

    task = "triplet"

    hint_share: float = 0.5
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        if student.maps:
            pairs = zip(student.maps[-BLOCKS:], teacher.maps[-BLOCKS:], strict=True)
            self.regressors = nn.ModuleList(nn.Conv2d(mine, theirs, 1) for mine, theirs in pairs)
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
        if not batch.student.maps:
            return hints[0] + F.mse_loss(self.pooled_regressor(embedding), teacher.pooled)
        for regressor, mine, theirs in zip(
            self.regressors, batch.student.maps[-BLOCKS:], teacher.maps[-BLOCKS:], strict=True
        ):
            mine, theirs = pool_to_smaller(mine, theirs)
            hints.append(F.mse_loss(regressor(mine), theirs))
        return torch.stack(hints).sum()
