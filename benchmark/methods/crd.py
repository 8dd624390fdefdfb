"""Contrastive representation distillation: tell the teacher's view of the same image from its views of others."""

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
    task = "triplet"
    ranges = {"weight": (0.08, 8.0), "temperature": (0.02, 0.5)}

    weight: float = 0.8
    temperature: float = 0.07
    negatives: int = 16384
    momentum: float = 0.5
    width: int = 128
    margin: float = 0.2

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.projectors = nn.ModuleList(nn.Linear(network.embedding, self.width) for network in (student, teacher))
        self.bank_seed = torch.initial_seed()
        self.banks: Tensor  # [2, rows, width]: the student's, the teacher's
        self.bank_labels: Tensor  # [rows]
        self.normalisers: Tensor  # of the student's and of the teacher's contrast; 0: not estimated yet
        self.register_buffer("banks", torch.empty(0))
        self.register_buffer("bank_labels", torch.empty(0, dtype=torch.int64))
        self.register_buffer("normalisers", torch.zeros(2))

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.bank_seed)
        rows = torch.randn((2, len(labels), self.width), generator=generator)
        self.banks, self.bank_labels = F.normalize(rows, dim=2).to(embeddings.device), labels

    def _projected(self, batch: Batch) -> list[Tensor]:
        """The student's and the teacher's unit vectors [n, width]."""
        networks = zip(self.projectors, (batch.student, teacher_of(batch)), strict=True)
        return [F.normalize(projector(features.embedding)) for projector, features in networks]

    def _likeness(self, anchors: Tensor, side: int) -> Tensor:
        """Logarithm of the unnormalised likeness of each anchor and each row of the other network's bank [n, rows]."""
        return anchors @ self.banks[1 - side].T / self.temperature

    def _normaliser(self, likeness: Tensor, side: int) -> Tensor:
        """The bank's size times the mean of the unnormalised likeness: as kept, or of this batch."""
        known = self.normalisers[side]
        return known if known > 0 else likeness.detach().flatten().logsumexp(0).exp() / len(likeness)

    def _contrast(self, anchors: Tensor, side: int, batch: Batch) -> Tensor:
        """-log h(positive) - negatives * E[log(1 - h(other))], mean over anchors.

        h = p / (p + negatives / rows) (equation 18) is the sigmoid of the log of p over the noise: one pass over [n, rows], where the
        published quotient takes five.
        """
        likeness = self._likeness(anchors, side)
        odds = likeness - (self._normaliser(likeness, side) * self.negatives / likeness.shape[1]).log()
        others = batch.of_teacher(weights_of_others, labels=batch.labels, bank_labels=self.bank_labels)
        refused = (F.softplus(odds) * others).sum(1)
        return (F.softplus(-odds.gather(1, batch.index[:, None]).squeeze(1)) + self.negatives * refused).mean()

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self._projected(batch)
        return self.weight * (self._contrast(student, 0, batch) + self._contrast(teacher, 1, batch))

    def update(self, batch: Batch) -> None:
        """Estimate the normalising constants once, and let the banks' rows of this batch follow."""
        projected = self._projected(batch)
        if not self.normalisers.all():
            estimates = [self._normaliser(self._likeness(rows, side), side) for side, rows in enumerate(projected)]
            self.normalisers.copy_(torch.stack(estimates))
        for side, rows in enumerate(projected):
            mixed = self.momentum * self.banks[side, batch.index] + (1 - self.momentum) * rows
            self.banks[side, batch.index] = F.normalize(mixed)
