"""DarkRank: match how the teacher ranks the nearest neighbours of each anchor."""

import itertools

import torch
from torch import Tensor

from .base import Batch, Method, distances

# Neighbours that are ranked, as in the code of Park et al. 2019; the authors' ranks the whole batch, or 3 (soft).
LIST = 4


def scores(x: Tensor, alpha: float, beta: float) -> Tensor:
    """Similarity scores -alpha d^beta [n, n] of the rows of x (equation 3).

    In float64: of an embedding that is not normalised they are in the hundreds, where float32 has no digits left for differences.
    """
    return -alpha * distances(x.double()).pow(beta)


def nearest(teacher: Tensor) -> Tensor:
    """The teacher's LIST nearest rows [n, LIST] of each row, without itself, nearest first (fewer where there are fewer)."""
    own = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
    d = distances(teacher).masked_fill(own, torch.inf)
    return d.topk(min(LIST, len(d) - 1), dim=1, largest=False).indices


def log_likelihood(ordered: Tensor) -> Tensor:
    """Log-probability [...] of lists in the order in which their scores [..., LIST] are given (equation 4; Plackett and Luce)."""
    item_and_later = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    return (ordered - item_and_later).sum(-1)


def hard_loss(student: Tensor, ranking: Tensor, alpha: float, beta: float) -> Tensor:
    """-log of the probability of the teacher's ranking [n, LIST] by the student's scores, mean over anchors (equation 6)."""
    return -log_likelihood(scores(student, alpha, beta).gather(1, ranking)).mean().to(student.dtype)


def order_likelihoods(x: Tensor, ranking: Tensor, alpha: float, beta: float) -> Tensor:
    """Log-probabilities [n, LIST!] of all orders of the listed neighbours, by the scores of the rows of x."""
    orders = torch.tensor(list(itertools.permutations(range(ranking.shape[1]))), device=ranking.device)
    return log_likelihood(scores(x, alpha, beta).gather(1, ranking)[:, orders])


def soft_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the teacher's and the student's distributions over orders, given as their logarithms, mean over anchors (equation 5)."""
    return (teacher.exp() * (teacher - student)).sum(1).mean()


class DarkRank(Method):
    """Triplet loss plus the negative log-likelihood of the teacher's ranking ("hard")."""

    name = "darkrank"
    kind = "relational"
    reference = (
        "Chen et al., DarkRank, AAAI 2018, arXiv 1707.01220, eq. 6 (alpha 3, beta 3, weight 1 of Park et al. 2019)"
    )
    task = "triplet"
    ranges = {"weight": (0.05, 5.0), "alpha": (0.3, 30.0)}
    later = ("miner",)

    weight: float = 1.0
    alpha: float = 3.0
    beta: float = 3.0
    margin: float = 0.2
    miner: str = "ours"

    def forward(self, batch: Batch) -> Tensor:
        ranking = batch.of_teacher(nearest)
        return self.weight * hard_loss(batch.student.embedding, ranking, self.alpha, self.beta)


class SoftDarkRank(DarkRank):
    """Triplet loss plus the KL of the distributions over all orders of the teacher's four nearest ("soft")."""

    name = "darkrank-soft"
    reference = "Chen et al., DarkRank, AAAI 2018, arXiv 1707.01220, eq. 5 (alpha 3, beta 3)"
    ranges = {"weight": (0.1, 10.0), "alpha": (0.3, 30.0)}

    def forward(self, batch: Batch) -> Tensor:
        student, ranking = batch.student.embedding, batch.of_teacher(nearest)
        target = batch.of_teacher(order_likelihoods, ranking=ranking, alpha=self.alpha, beta=self.beta)
        likelihoods = order_likelihoods(student, ranking, self.alpha, self.beta)
        return self.weight * soft_loss(likelihoods, target).to(student.dtype)
