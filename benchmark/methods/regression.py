"""Match the teacher's embedding point by point, through a learned linear map into its space."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of


def cosines(x: Tensor) -> Tensor:
    """Cosines [n, n] of all pairs of rows of x [n, d]."""
    unit = F.normalize(x)
    return unit @ unit.T


class Projected(Method):
    """A method whose student is mapped into the teacher's space by a learned linear projector.

    The projector learns at 10 times the rate: its scale and turn are nothing that the network should wait for. It is dropped after
    training, as published; and since any invertible map may move between it and the embedding at no change of the loss, the space that
    the student is searched in is shaped by where training starts and by weight decay too, not by the loss alone.
    """

    projector_rate: float = 10.0

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.projector = nn.Linear(student.embedding, teacher.embedding)

    @property
    def rate(self) -> float:
        return self.projector_rate

    def to_teacher_space(self, embedding: Tensor) -> Tensor:
        return self.projector(embedding)

    def directions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's embeddings as unit vectors [n, teacher's d]."""
        return F.normalize(self.projector(batch.student.embedding)), batch.of_teacher(F.normalize)


class Regression(Projected):
    """Squared distance of the teacher's embedding to the student's through a learned linear projector, mean over rows.

    The plainest of all. Budnik and Avrithis found it strong in asymmetric retrieval; theirs is between unit vectors, as `cosine` is.
    """

    name = "regression"
    kind = "individual"
    reference = (
        "control; Budnik and Avrithis, Asymmetric Metric Learning for Knowledge Transfer, CVPR 2021, arXiv 2006.16331"
    )
    normalize = False

    def forward(self, batch: Batch) -> Tensor:
        error = self.projector(batch.student.embedding) - teacher_of(batch).embedding
        return error.square().sum(1).mean()


class Cosine(Projected):
    """1 - cosine of the teacher's embedding and the student's through a learned linear projector, mean over rows."""

    name = "cosine"
    kind = "individual"
    reference = "control; the regression loss of Budnik and Avrithis, CVPR 2021, arXiv 2006.16331, on unit vectors"

    def forward(self, batch: Batch) -> Tensor:
        mine, theirs = self.directions(batch)
        return (1 - (mine * theirs).sum(1)).mean()


class RAML(Projected):
    """(1 - cosine)² to the teacher's embedding, and squared differences of cosines: student to teacher, student to student.

    The two second-order terms are means over distinct pairs, against the cosines among the teacher's embeddings.
    """

    name = "raml"
    kind = "individual"
    reference = "Suma and Tolias, Large-to-small Image Resolution Asymmetry in Deep Metric Learning, WACV 2023, arXiv 2210.05463"
    ranges: ClassVar = {"cross_weight": (0.07, 7.0), "own_weight": (0.07, 7.0)}

    cross_weight: float = 0.7482
    own_weight: float = 0.6778

    def forward(self, batch: Batch) -> Tensor:
        mine, theirs = self.directions(batch)
        target = batch.of_teacher(cosines)
        distinct = ~torch.eye(len(mine), dtype=torch.bool, device=mine.device)
        first = (1 - (mine * theirs).sum(1)).square().mean()
        cross = (mine @ theirs.T - target)[distinct].square().mean()
        own = (mine @ mine.T - target)[distinct].square().mean()
        return first + self.cross_weight * cross + self.own_weight * own
