"""Simultaneous similarity-based self-distillation: wide heads on the same trunk teach the narrow one. No teacher."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, cosines
from .hinton import softened_kl
from .task import Triplet


class S2SD(Method):
    """Triplet loss on the embedding and on wider heads, and KL of the batch's softmax over cosines, wide to narrow.

    Half of the loss is the embedding's triplet loss plus the mean of the heads'; the other term is weight times the mean KL to each
    head's similarities, without gradient to the heads. Heads are two-layer networks on the pooled features, of `width`, 2 `width`,
    ... numbers, which are dropped after training. After an eighth of the run, about the authors' 1,000 steps, the KL to the similarities of
    the pooled features themselves joins, by `feature_weight`. Their runs have multi-similarity or margin loss; here it is the baseline's.
    """

    name = "s2sd"
    kind = "relational"
    self_taught = True
    reference = (
        "Roth et al., S2SD, ICML 2021, arXiv 2009.08348, eq. 5 and 6 (weights 50, temperature 1, heads of 512 to 2048)"
    )
    needs = ("embedding", "pooled", "labels")
    is_random = True
    ranges = {"weight": (5.0, 500.0), "margin": (0.05, 0.8)}
    WARM_UP: ClassVar = 0.125  # of the run

    weight: float = 50.0
    feature_weight: float = 50.0
    temperature: float = 1.0
    heads: int = 4
    width: int = 512
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        self.wide = nn.ModuleList(
            nn.Sequential(nn.Linear(student.pooled, size), nn.ReLU(), nn.Linear(size, size))
            for size in range(self.width, self.width * self.heads + 1, self.width)
        )
        # Not a `task` beside the loss: it is on the wide heads as well.
        self.triplet = Triplet(student, None, classes, margin=self.margin)

    def forward(self, batch: Batch) -> Tensor:
        likeness = cosines(batch.student.embedding)
        wide = [F.normalize(head(batch.student.pooled)) for head in self.wide]
        losses = [self.triplet.of(rows, batch.labels) for rows in wide]
        loss = 0.5 * (self.triplet(batch) + torch.stack(losses).mean())

        def transfer(rows: Tensor) -> Tensor:
            return softened_kl(likeness, (rows @ rows.T).detach(), self.temperature)

        loss = loss + self.weight * torch.stack([transfer(rows) for rows in wide]).mean()
        if batch.progress < self.WARM_UP:
            return loss
        return loss + self.feature_weight * transfer(F.normalize(batch.student.pooled))
