"""Relaxed contrastive loss: the teacher's distances say how much a pair attracts and how much it repels.

Kim, Kim, Cho, Kwak: Embedding Transfer with Label Relaxation for Improved Metric Learning, CVPR 2021, arXiv 2103.14908.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, distances


def attraction(teacher: Tensor, sigma: float) -> Tensor:
    """w = exp(-d² / sigma) [n, n] of distances between the teacher's unit embeddings (equation 2)."""
    return (-distances(F.normalize(teacher)).square() / sigma).exp()


def relaxed_contrastive_loss(student: Tensor, weight: Tensor, delta: float) -> Tensor:
    """Sum over distinct pairs of w d² + (1 - w) max(delta - d, 0)², divided by n (equation 4).

    d is the student's distance in units of the mean distance from the first of the pair to all of the batch, itself included.
    """
    d = distances(student)
    d = d / d.mean(1, keepdim=True).clamp(min=1e-6)
    own = torch.eye(len(d), dtype=torch.bool, device=d.device)
    pairs = weight * d.square() + (1 - weight) * (delta - d).clamp(min=0).square()
    return pairs.masked_fill(own, 0.0).sum(1).mean()


class RelaxedContrastive(Method):
    """Attraction by the teacher's similarity, repulsion by the rest, on distances relative to the batch; no labels."""

    name = "relaxed-contrastive"
    kind = "relational"
    reference = (
        "Kim et al., Embedding Transfer with Label Relaxation for Improved Metric Learning, CVPR 2021, arXiv 2103.14908"
    )
    normalize = False
    ranges: ClassVar = {"sigma": (0.1, 10.0), "delta": (0.3, 3.0)}

    sigma: float = 1.0
    delta: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        weight = batch.of_teacher(attraction, sigma=self.sigma)
        return relaxed_contrastive_loss(batch.student.embedding, weight, self.delta)
