"""Contrastive representation distillation: tell the teacher's view of the same image from its views of others.

Tian, Krishnan, Isola: Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of


def weights_of_others(teacher: Tensor, labels: Tensor, bank_labels: Tensor) -> Tensor:
    """Weights [n, rows] whose sum over a row is the mean over the bank's rows of other classes, in the type of the teacher's
    embeddings."""
    other = (labels[:, None] != bank_labels[None, :]).to(teacher.dtype)
    return other / other.sum(1, keepdim=True).clamp(min=1)


class CRD(Method):
    """Triplet loss plus noise-contrastive estimation against a memory bank of the training set, both ways.

    Both networks' embeddings are projected to unit vectors of `width` numbers; each is held against the bank of the other's. The
    published code samples `negatives` rows of other classes; here their sum is its exact expectation, `negatives` times the mean
    over all rows of other classes: the same objective without the sampling noise, by one product of matrices. The normalising
    constant is estimated from the first batch and kept, as published. The banks start at random and follow with momentum.
    """

    name = "crd"
    kind = "individual"
    reference = (
        "Tian et al., Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699, eq. 10 and 18 (weight 0.8)"
    )
    needs = ("embedding", "labels")
    is_random = True
    ranges: ClassVar = {"weight": (0.08, 8.0), "temperature": (0.02, 0.5)}

    task = "triplet"

    weight: float = 0.8
    temperature: float = 0.07
    negatives: int = 16384
    momentum: float = 0.5
    width: int = 128
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.mine, self.theirs = nn.Linear(student.embedding, self.width), nn.Linear(teacher.embedding, self.width)
        self.seed = torch.initial_seed()  # of what the banks start from
        self.my_bank: Tensor
        self.their_bank: Tensor
        self.bank_labels: Tensor
        self.normaliser: Tensor
        self.register_buffer("my_bank", torch.empty(0))
        self.register_buffer("their_bank", torch.empty(0))
        self.register_buffer("bank_labels", torch.empty(0, dtype=torch.int64))
        self.register_buffer("normaliser", torch.zeros(2))  # 0: not estimated yet

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        shape = 2, len(labels), self.mine.out_features
        banks = F.normalize(torch.randn(shape, generator=generator), dim=2).to(embeddings.device)
        self.my_bank, self.their_bank = banks[0].clone(), banks[1].clone()
        self.bank_labels = labels

    def _projected(self, batch: Batch) -> tuple[Tensor, Tensor]:
        teacher = teacher_of(batch).embedding
        return F.normalize(self.mine(batch.student.embedding)), F.normalize(self.theirs(teacher))

    def _likeness(self, anchors: Tensor, bank: Tensor) -> Tensor:
        """Logarithm of the unnormalised likeness of each anchor and each row of the bank [n, rows]."""
        return anchors @ bank.T / self.temperature

    def _normaliser(self, likeness: Tensor, side: int) -> Tensor:
        """The bank's size times the mean of the unnormalised likeness: as kept, or of this batch."""
        known = self.normaliser[side]
        return known if known > 0 else likeness.detach().flatten().logsumexp(0).exp() / len(likeness)

    def _contrast(self, anchors: Tensor, bank: Tensor, side: int, batch: Batch) -> Tensor:
        """-log h(positive) - negatives * E[log(1 - h(other))], mean over anchors.

        h = p / (p + negatives / rows) (equation 18) is the sigmoid of the log of p over the noise: one pass over [n, rows], where the
        published quotient takes five.
        """
        likeness = self._likeness(anchors, bank)
        odds = likeness - (self._normaliser(likeness, side) * self.negatives / len(bank)).log()
        others = batch.of_teacher(weights_of_others, labels=batch.labels, bank_labels=self.bank_labels)
        refused = (F.softplus(odds) * others).sum(1)
        return (F.softplus(-odds.gather(1, batch.index[:, None]).squeeze(1)) + self.negatives * refused).mean()

    def forward(self, batch: Batch) -> Tensor:
        mine, theirs = self._projected(batch)
        contrast = self._contrast(mine, self.their_bank, 0, batch) + self._contrast(theirs, self.my_bank, 1, batch)
        return self.weight * contrast

    def update(self, batch: Batch) -> None:
        """Estimate the normalising constants once, and let the banks' rows of this batch follow."""
        mine, theirs = self._projected(batch)
        if not self.normaliser.all():
            pairs = enumerate(((mine, self.their_bank), (theirs, self.my_bank)))
            estimates = [self._normaliser(self._likeness(rows, bank), side) for side, (rows, bank) in pairs]
            self.normaliser.copy_(torch.stack(estimates))
        for bank, rows in ((self.my_bank, mine), (self.their_bank, theirs)):
            bank[batch.index] = F.normalize(self.momentum * bank[batch.index] + (1 - self.momentum) * rows)
