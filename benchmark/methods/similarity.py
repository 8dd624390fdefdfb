"""Match the batch's matrix of similarities: as probabilities (PKT), row by row (SP), or through a kernel (CC)."""

import math

import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, cosines

EPS = 1e-7


def affinities(x: Tensor) -> Tensor:
    """(1 + cosine) / 2 of all pairs of rows, each row of the result [n, n] with sum 1 (PKT, equations 3 and 5)."""
    similarity = (cosines(x) + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)


def pkt_loss(student: Tensor, target: Tensor) -> Tensor:
    """Sum over pairs of p log(p / q), divided by n², of the teacher's p = `target` and the student's q."""
    return (target * ((target + EPS) / (affinities(student) + EPS)).log()).mean()


def unit_gram(x: Tensor) -> Tensor:
    """The Gram matrix [n, n] of the rows, its own rows at length 1 (SP, equations 1 and 2)."""
    return F.normalize(x @ x.T)


def sp_loss(student: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius norm of the difference of two matrices, divided by n² (SP, equation 4)."""
    return (unit_gram(student) - target).square().mean()


def gaussian_kernel(x: Tensor, gamma: float, order: int) -> Tensor:
    """exp(-gamma |x - y|²) of all pairs of unit rows [n, n], as its Taylor series in their cosine to an order (CC, equation 8)."""
    unit = F.normalize(x)
    product = 2 * gamma * unit @ unit.T
    return math.exp(-2 * gamma) * sum(
        (product**p / math.factorial(p) for p in range(1, order + 1)), start=product.new_ones(())
    )


class PKT(Method):
    """Probabilistic knowledge transfer: KL of the conditional probabilities of pairs, by cosine.

    The loss knows no lengths, and the authors search by cosine: so embeddings are l2-normalised here.
    """

    name = "pkt"
    kind = "relational"
    reference = "Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018, arXiv 1803.10837"

    # The mean over n² of probabilities of 1/n is tiny; the published weight brings it to the size of Adam's steps.
    weight: float = 30000.0

    def forward(self, batch: Batch) -> Tensor:
        return self.weight * pkt_loss(batch.student.embedding, batch.of_teacher(affinities))


class SimilarityPreserving(Method):
    """Similarity-preserving distillation: squared difference of the row-normalised Gram matrices.

    Alone, as RKD and PKT are; the paper adds it to cross-entropy, to which its weight refers. It compares features by dot products,
    which a search by L2 distance does not follow: so embeddings are l2-normalised here, and the products are cosines.
    """

    name = "sp"
    kind = "relational"
    reference = "Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv 1907.09682 (weight 3000)"

    weight: float = 3000.0

    def forward(self, batch: Batch) -> Tensor:
        return self.weight * sp_loss(batch.student.embedding, batch.of_teacher(unit_gram))


class CorrelationCongruence(Method):
    """Correlation congruence: squared difference of the networks' Gaussian kernels on unit embeddings, mean over pairs.

    Alone, as RKD and PKT are; the paper adds it to cross-entropy. The kernel is the paper's, by its Taylor series of order 2, which
    follows a Gaussian for gamma up to 0.5; beyond, it is a polynomial that rises again for opposite vectors. The shortcut of the
    authors' code, products of neighbouring rows of the batch, depends on the order of the rows and is left out.
    """

    name = "cc"
    kind = "relational"
    reference = "Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, arXiv 1904.01802 (gamma 0.4, order 2)"
    ranges = {"gamma": (0.1, 4.0)}

    weight: float = 1.0
    gamma: float = 0.4
    order: int = 2

    def forward(self, batch: Batch) -> Tensor:
        target = batch.of_teacher(gaussian_kernel, gamma=self.gamma, order=self.order)
        return self.weight * (gaussian_kernel(batch.student.embedding, self.gamma, self.order) - target).square().mean()
