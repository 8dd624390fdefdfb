"""Relational Knowledge Distillation: match distances between pairs, and angles between triples, of a batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Method, distances

# Cosines of a teacher that are kept for all students of a step: 64 MB.
SHARED = 2**24
# Cosines that are computed at once: 4 MB, and about six times that with what is computed from them.
BLOCK = 2**20
# Cosines of the blocks that are computed side by side, at most: eight blocks, wherever a block has BLOCK of them.
AT_ONCE = 2**23

T = TypeVar("T")


def over_mean(d: Tensor) -> Tensor:
    """Distances [n, n] in units of their mean over distinct pairs (equations 5 and 6); duplicates are no distinct ones.

    Zeros where all rows are one: a collapsed student has no distances to scale, and no gradient here.
    """
    distinct = d[d > 0]
    return d / distinct.mean() if distinct.numel() else d


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 7: Huber loss with delta 1 between scaled distances, from the networks' distances [n, n].

    The mean is over all n² entries, the diagonal's zeros included, as in the authors' code; the paper sums over distinct pairs.
    """
    return F.smooth_l1_loss(over_mean(student), over_mean(teacher))


def inverse(d: Tensor) -> Tensor:
    """1 / d, and 0 between duplicates: a point has no direction to its duplicate; an epsilon would give a gradient of 1 / epsilon."""
    apart = d > 1e-6
    return apart / d.masked_fill(~apart, 1.0)


def angles(x: Tensor) -> Tensor:
    """Cosines [n, n, n] of the angle at x_j that x_i and x_k form, as [j, i, k] (equation 9), of the rows of x [n, d]; 0 where i or k
    is j.

    By the law of cosines, from distances [n, n] alone, so that the cost does not grow with the dimension.
    """
    d = distances(x)
    return _angles(d.square(), inverse(d), slice(None))


def _angles(squared: Tensor, inverse: Tensor, anchors: slice) -> Tensor:
    near = inverse[anchors]
    opposite = squared[anchors, :, None] + squared[anchors, None, :] - squared
    return opposite * (near[:, :, None] * (0.5 * near)[:, None, :])


def angle_loss(student: Tensor, teacher: Tensor, target: Tensor | None = None) -> Tensor:
    """Equation 10: Huber loss with delta 1 between cosines, from the networks' distances [n, n].

    The mean is over all n³ entries, degenerate ones included, as in the authors' code.

    Args:
        target: the teacher's cosines, where they are at hand.
    """
    of_teacher = (teacher.square(), inverse(teacher)) if target is None else (target,)
    return _AngleLoss.apply(student.square(), inverse(student), *of_teacher)


class _AngleLoss(torch.autograd.Function):
    """The loss and its gradient together, a block of anchors at a time: neither n³ cosines nor anything else of that size is kept.

    On the CPU a thread computes a block by itself. Shared out, each of some thirty operations a block would end when the last thread
    does, and beside other work one of them always waits for a core: that took up to ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, squared: Tensor, inverse: Tensor, *teacher: Tensor) -> Tensor:
        n = len(squared)
        student = squared.detach().requires_grad_(), inverse.detach().requires_grad_()
        block = max(1, BLOCK // n**2)

        def part(start: int) -> tuple[Tensor, ...]:
            """The loss [] of a block, and its gradients [n, n]."""
            anchors = slice(start, start + block)
            target = teacher[0][anchors] if len(teacher) == 1 else _angles(teacher[0], teacher[1], anchors)
            with torch.enable_grad():
                loss = F.smooth_l1_loss(_angles(*student, anchors), target, reduction="sum") / n**3
            return loss.detach(), *torch.autograd.grad(loss, student)

        loss, *gradients = squared.new_zeros(()), torch.zeros_like(squared), torch.zeros_like(inverse)
        side_by_side = min(-(-n // block), AT_ONCE // (block * n**2)) if squared.device.type == "cpu" else 1
        for parts in _spread(part, range(0, n, block), side_by_side):
            for total, own in zip((loss, *gradients), parts, strict=True):
                total += own
        ctx.save_for_backward(*gradients)
        ctx.others = len(teacher)
        return loss

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return *(outer * gradient for gradient in ctx.saved_tensors), *(None,) * ctx.others


def _spread(work: Callable[[int], T], items: Iterable[int], most: int) -> Iterator[T]:
    """Results in the order of `items`, so that sums of them have the same bits whoever was first; by at most `most` threads."""
    threads = torch.get_num_threads()
    if min(threads, most) < 2:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    try:
        # Torch keeps the number by thread; of those that begin later it is what was set last, by whichever thread: it is put back.
        with ThreadPoolExecutor(min(threads, most), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > min(threads, most):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)


def sampled_angle_loss(student: Tensor, teacher: Tensor, triplets: int) -> Tensor:
    """`angle_loss` over random triples alone: the same in expectation, for batches whose n³ angles take too long."""
    j, i, k = torch.randint(len(student), (3, triplets), device=student.device)

    def sampled(d: Tensor) -> Tensor:
        near = inverse(d)
        return 0.5 * (d[j, i].square() + d[j, k].square() - d[i, k].square()) * near[j, i] * near[j, k]

    return F.smooth_l1_loss(sampled(student), sampled(teacher))


def relations(batch: Batch, distance_weight: float, angle_weight: float, angle_triplets: int) -> Tensor:
    """Weighted sum of the two losses on a batch's embeddings; of a weight of 0 nothing is computed."""
    student, teacher = distances(batch.student.embedding), batch.of_teacher(distances)
    loss = student.new_zeros(())
    if distance_weight:
        loss = loss + distance_weight * distance_loss(student, teacher)
    if angle_weight and angle_triplets:
        loss = loss + angle_weight * sampled_angle_loss(student, teacher, angle_triplets)
    elif angle_weight:
        target = batch.of_teacher(angles) if len(student) ** 3 <= SHARED else None
        loss = loss + angle_weight * angle_loss(student, teacher, target)
    return loss


class RKD(Method):
    """Distance-wise and angle-wise loss together, without a task loss, on embeddings that are not normalised."""

    name = "rkd-da"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 7 and 10"
    normalize = False
    # Beside a distance weight of 1: the ratio is what counts.
    ranges = {"angle_weight": (0.2, 20.0)}
    later = ("angle_triplets",)

    distance_weight: float = 1.0
    angle_weight: float = 2.0
    angle_triplets: int = 0  # 0: all of them

    def forward(self, batch: Batch) -> Tensor:
        return relations(batch, self.distance_weight, self.angle_weight, self.angle_triplets)


class RKDDistance(Method):
    """Distance-wise loss alone."""

    name = "rkd-d"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 7"
    normalize = False

    weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        return relations(batch, self.weight, 0.0, 0)


class RKDAngle(Method):
    """Angle-wise loss alone."""

    name = "rkd-a"
    kind = "relational"
    reference = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068, eq. 10"
    normalize = False
    later = ("angle_triplets",)

    weight: float = 1.0
    angle_triplets: int = 0

    def forward(self, batch: Batch) -> Tensor:
        return relations(batch, 0.0, self.weight, self.angle_triplets)
