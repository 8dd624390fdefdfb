"""The teacher's distances as targets: how much a pair attracts and repels (relaxed contrastive), or how far apart it is (relative)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, distances


def attraction(teacher: Tensor, sigma: float) -> Tensor:
    """w = exp(-d² / sigma) [n, n] of distances between the teacher's unit embeddings (Kim et al., equation 2)."""
    return (-distances(F.normalize(teacher)).square() / sigma).exp()


def relaxed_contrastive_loss(student: Tensor, weight: Tensor, delta: float) -> Tensor:
    """Sum over distinct pairs of w d² + (1 - w) max(delta - d, 0)², divided by n (Kim et al., equation 4).

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
    ranges = {"sigma": (0.1, 10.0), "delta": (0.3, 3.0)}

    sigma: float = 1.0
    delta: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        weight = batch.of_teacher(attraction, sigma=self.sigma)
        return relaxed_contrastive_loss(batch.student.embedding, weight, self.delta)


class Relative(Method):
    """Triplet loss plus the mean absolute difference of the networks' distances, over distinct pairs.

    As in the paper. The authors' code takes the Frobenius norm of the difference of the distance matrices, in batches of 32 about 40
    times as large, with weights of 0.3 for CUB, 0.1 for Cars-196 and 1 for SOP: about 12, 4 and 40 of ours, of which that for Cars-196
    is the default. Their triplets are the hardest of the batch, with margin 0; ours are the baseline's.
    """

    name = "relative"
    kind = "relational"
    reference = "Yu et al., Learning Metrics from Teachers, CVPR 2019, arXiv 1904.03624, section 3.2 (relative teacher)"
    task = "triplet"
    ranges = {"weight": (0.4, 40.0)}

    weight: float = 4.0
    margin: float = 0.2

    def forward(self, batch: Batch) -> Tensor:
        target = batch.of_teacher(distances)
        n = len(target)
        difference = (distances(batch.student.embedding) - target).abs().sum() / (n * (n - 1))
        return self.weight * difference
