"""Knowledge distillation by class probabilities, stated for embeddings: softened, or from generation to generation.

An embedding teacher has no logits, and no definition is published, so ours is: the teacher's logits are the scaled cosines to the
centroids of its own training embeddings, class by class; the student's are the scaled cosines to class proxies that it learns, at 100
times the rate, as proxy-anchor does. Scale 30 is common for normalised softmax.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of


def softened_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """temperature² KL(softmax(teacher / temperature) || softmax(student / temperature)) of logits [n, classes], mean over rows.

    The square keeps the gradient's size independent of the temperature (Hinton et al., section 2.1).
    """
    target = F.log_softmax(teacher / temperature, dim=1)
    output = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(output, target, reduction="batchmean", log_target=True)


class ClassLogits(Method):
    """A method on logits over the training classes."""

    kind = "individual"
    needs = ("embedding", "labels")

    scale: float = 30.0
    proxy_rate: float = 100.0

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.proxies = nn.Parameter(torch.randn(classes, student.embedding) / math.sqrt(student.embedding))
        self.centroids: Tensor
        self.register_buffer("centroids", torch.zeros(classes, teacher.embedding))

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        sums = torch.zeros_like(self.centroids).index_add_(0, labels, F.normalize(embeddings))
        self.centroids.copy_(F.normalize(sums))

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's [n, classes]."""
        student = self.scale * F.normalize(batch.student.embedding) @ F.normalize(self.proxies).T
        teacher = self.scale * F.normalize(teacher_of(batch).embedding) @ self.centroids.T
        return student, teacher


class Hinton(ClassLogits):
    """Cross-entropy on labels plus KL of softened logits over the training classes.

    Temperature 4, and the weight 16 of a plain KL, which is the temperature squared, are those of Park et al. 2019 (Table 4,
    classification).
    """

    name = "hinton"
    reference = "Hinton et al., Distilling the Knowledge in a Neural Network, NIPS workshop 2014, arXiv 1503.02531"
    ranges = {"weight": (0.1, 10.0), "temperature": (1.0, 16.0)}

    temperature: float = 4.0
    weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return F.cross_entropy(student, batch.labels) + self.weight * softened_kl(student, teacher, self.temperature)


class BornAgain(ClassLogits):
    """Cross-entropy on labels plus KL of the class probabilities of the generation before, at temperature 1."""

    name = "born-again"
    reference = (
        "Furlanello et al., Born Again Neural Networks, ICML 2018, arXiv 1805.04770, eq. 1; logits of embeddings: ours"
    )
    same_size = True
    ranges = {"weight": (0.1, 10.0)}

    weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return F.cross_entropy(student, batch.labels) + self.weight * softened_kl(student, teacher, 1.0)


class LabelRefinery(ClassLogits):
    """KL of the class probabilities that the generation before gives to the very crop that the student sees; no hard labels.

    Labels enter by the centroids alone, which are the teacher's class means.
    """

    name = "label-refinery"
    reference = "Bagherinezhad et al., Label Refinery, 2018, arXiv 1805.02641, eq. 2; logits of embeddings: ours"
    same_size = True

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.logits(batch)
        return softened_kl(student, teacher, 1.0)
