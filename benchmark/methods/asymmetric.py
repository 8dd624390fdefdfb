"""Losses made for asymmetric retrieval: the student's place among what the teacher has embedded.

The student is mapped into the teacher's space by a learned linear projector, which these papers put into the network itself.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Batch, Widths
from .regression import Projected


def ranked_cosines(student: Tensor, teacher: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cosines [n, min(most, n)] of the student's and of the teacher's rows to the batch's teacher rows, in the teacher's order,
    which begins with the row itself."""
    cosines, order = (teacher @ teacher.T).topk(min(most, len(teacher)), dim=1)
    return (student @ teacher.T).gather(1, order), cosines


# One tensor for all students of a teacher, so that `of_teacher` knows it for the same.
@functools.lru_cache(maxsize=1)
def unit_rows(embeddings: Tensor) -> Tensor:
    """The rows at length 1."""
    return F.normalize(embeddings)


def nearest_in(teacher: Tensor, gallery: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cosines [n, k] of each of the teacher's rows [n, d] to its nearest in a gallery of unit rows, and these [n, k, d]."""
    cosines, nearest = (F.normalize(teacher) @ gallery.T).topk(min(most, len(gallery)), dim=1)
    return cosines, gallery[nearest]


class CSD(Projected):
    """Contextual similarity: KL of the teacher's and the student's softmax over cosines to the teacher's nearest training images.

    Neighbours are looked for in the whole training set, embedded once by the teacher, as in the paper. How many of them it takes
    was not found; 96, and the temperatures 0.01 and 1, are the defaults of the code of D3still (Xie et al. 2024), which takes them from the
    batch, with 256 in the configurations it ships, and adds cross-entropy and triplets.
    """

    name = "csd"
    kind = "individual"
    reference = "Wu et al., Contextual Similarity Distillation for Asymmetric Image Retrieval, CVPR 2022"
    ranges = {"student_temperature": (0.02, 2.0), "teacher_temperature": (0.005, 0.5)}

    neighbours: int = 96
    student_temperature: float = 1.0
    teacher_temperature: float = 0.01

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        super().build(student, teacher, classes)
        self.gallery: Tensor
        self.register_buffer("gallery", torch.empty(0))

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        self.gallery = unit_rows(embeddings)

    def forward(self, batch: Batch) -> Tensor:
        student, _ = self.directions(batch)
        cosines, rows = batch.of_teacher(nearest_in, gallery=self.gallery, most=self.neighbours)
        target = (cosines / self.teacher_temperature).log_softmax(1)
        likeness = torch.einsum("nd,nkd->nk", student, rows)
        output = (likeness / self.student_temperature).log_softmax(1)
        return F.kl_div(output, target, reduction="batchmean", log_target=True)


class ROP(Projected):
    """Rank order preservation: where the teacher's neighbours stand in the student's ranking, by soft indicators.

    For neighbours i, j of an anchor: ([t_j > t_i] - sigmoid((s_j - t_i) / temperature))², weighted by the rank of i times the softmax of
    its cosine; s and t are cosines to the teacher's rows. Neighbours are those of the batch, as in the code of D3still (Xie et al.
    2024), which found them better than the paper's, taken from the whole training set; its defaults are these, while the configurations it
    ships take the whole batch of 256, and add cross-entropy and triplets.
    """

    name = "rop"
    kind = "relational"
    reference = "Wu et al., A General Rank Preserving Framework for Asymmetric Image Retrieval, ICLR 2023, eq. 8 to 10"
    ranges = {"temperature": (0.01, 1.0)}

    neighbours: int = 96
    temperature: float = 0.1
    rank_weight: float = 0.2

    def forward(self, batch: Batch) -> Tensor:
        s, t = ranked_cosines(*self.directions(batch), self.neighbours)  # [n, k]
        k = t.shape[1]
        above = (t[:, None, :] > t[:, :, None]) + 0.5 * (t[:, None, :] == t[:, :, None])  # [n, i, j]
        soft = torch.sigmoid((s[:, None, :] - t[:, :, None]) / self.temperature)
        weight = (self.rank_weight * t).softmax(1) * torch.arange(1, k + 1, device=t.device)
        return ((above - soft).square().sum(2) * weight).sum(1).mean() / k


class D3still(Projected):
    """Decoupled differential distillation: cosine to the teacher's own row, and differences of cosines to its nearest others.

    Differences of which student and teacher see the same sign (weight 1) and those of which they do not (weight 2) are norms of their
    own; each error is relative to 0.1 plus the teacher's difference. All of it in the batch, by the published code, whose defaults are
    these; the configurations it ships have weights of 100, 5, 1 or 200, 10, 2, and add cross-entropy and triplets.
    """

    name = "d3still"
    kind = "relational"
    reference = "Xie et al., D3still: Decoupled Differential Distillation for Asymmetric Image Retrieval, CVPR 2024"
    ranges = {"feature_weight": (5.0, 500.0), "inconsistent_weight": (0.2, 20.0)}

    neighbours: int = 10
    feature_weight: float = 50.0
    inconsistent_weight: float = 2.0
    consistent_weight: float = 1.0

    def forward(self, batch: Batch) -> Tensor:
        s, t = ranked_cosines(*self.directions(batch), self.neighbours)
        features = torch.linalg.vector_norm(t[:, 0] - s[:, 0]) / len(s)
        student, teacher = (x[:, 1:, None] - x[:, None, 1:] for x in (s, t))  # [n, k - 1, k - 1]
        error = (student - teacher) / (0.1 + teacher.abs())
        agree = (student * teacher).sign().detach()

        def norm(chosen: Tensor) -> Tensor:
            return torch.linalg.vector_norm((error * chosen).flatten(1), dim=1).mean() / error.shape[1]

        return (
            self.feature_weight * features
            + self.inconsistent_weight * norm(agree < 0)
            + self.consistent_weight * norm(agree > 0)
        )
