"""Distillation between networks of one size, generation after generation.

For embeddings neither has a published definition. Ours: the logits of a teacher are the scaled cosines of its embedding to the class
centroids of its own training embeddings; those of a student are its scaled cosines to class proxies that it learns, as in `hinton`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .base import Batch, Widths
from .hinton import Hinton, softened_kl


class BornAgain(Hinton):
    """Cross-entropy on labels plus KL of the class probabilities of the generation before, at temperature 1."""

    name = "born-again"
    kind = "individual"
    reference = (
        "Furlanello et al., Born Again Neural Networks, ICML 2018, arXiv 1805.04770, eq. 1; logits of embeddings: ours"
    )
    needs = ("embedding", "labels")
    search: ClassVar = {"weight": (0.1, 10.0)}
    same_size = True

    def __init__(
        self,
        student: Widths,
        teacher: Widths,
        classes: int,
        *,
        weight: float = 1.0,
        scale: float = 30.0,
        proxy_rate: float = 100.0,
    ) -> None:
        super().__init__(student, teacher, classes, temperature=1.0, weight=weight, scale=scale, proxy_rate=proxy_rate)


class LabelRefinery(Hinton):
    """KL of the class probabilities that the generation before gives to the very crop that the student sees; no hard labels.

    Labels enter by the centroids alone, which are the teacher's class means.
    """

    name = "label-refinery"
    kind = "individual"
    reference = "Bagherinezhad et al., Label Refinery, 2018, arXiv 1805.02641, eq. 2; logits of embeddings: ours"
    needs = ("embedding", "labels")
    search: ClassVar = {}
    same_size = True

    def __init__(
        self, student: Widths, teacher: Widths, classes: int, *, scale: float = 30.0, proxy_rate: float = 100.0
    ) -> None:
        super().__init__(student, teacher, classes, temperature=1.0, scale=scale, proxy_rate=proxy_rate)

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return softened_kl(student, teacher, self.temperature)
