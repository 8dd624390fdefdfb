"""Distillation between networks of one size, generation after generation.

For embeddings neither has a published definition. Ours: the logits of a teacher are the scaled cosines of its embedding to the class
centroids of its own training embeddings; those of a student are its scaled cosines to class proxies that it learns, as in `hinton`.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from .base import Batch
from .hinton import ClassLogits, softened_kl


class BornAgain(ClassLogits):
    """Cross-entropy on labels plus KL of the class probabilities of the generation before, at temperature 1."""

    name = "born-again"
    kind = "individual"
    reference = (
        "Furlanello et al., Born Again Neural Networks, ICML 2018, arXiv 1805.04770, eq. 1; logits of embeddings: ours"
    )
    ranges: ClassVar = {"weight": (0.1, 10.0)}
    same_size = True

    weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return F.cross_entropy(student, batch.labels) + self.weight * softened_kl(student, teacher, 1.0)


class LabelRefinery(ClassLogits):
    """KL of the class probabilities that the generation before gives to the very crop that the student sees; no hard labels.

    Labels enter by the centroids alone, which are the teacher's class means.
    """

    name = "label-refinery"
    kind = "individual"
    reference = "Bagherinezhad et al., Label Refinery, 2018, arXiv 1805.02641, eq. 2; logits of embeddings: ours"
    same_size = True

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return softened_kl(student, teacher, 1.0)
