"""Regression of the teacher's embedding: the plainest of all, and surprisingly strong in asymmetric retrieval.

Budnik, Avrithis: Asymmetric Metric Learning for Knowledge Transfer, CVPR 2021, arXiv 2006.16331.
"""

from __future__ import annotations

from torch import Tensor, nn

from .base import Batch, Method, Widths, teacher_of


class Regression(Method):
    """Squared distance of the teacher's embedding to the student's through a learned linear projector, mean over rows.

    The projector learns at 10 times the rate: its scale and turn are nothing that the network should wait for.
    """

    name = "regression"
    kind = "individual"
    reference = (
        "control; Budnik and Avrithis, Asymmetric Metric Learning for Knowledge Transfer, CVPR 2021, arXiv 2006.16331"
    )
    normalize = False

    def __init__(self, student: Widths, teacher: Widths, classes: int, *, projector_rate: float = 10.0) -> None:
        super().__init__(student, teacher, classes)
        self.rate = projector_rate
        self.projector = nn.Linear(student.embedding, teacher.embedding)

    def forward(self, batch: Batch) -> Tensor:
        error = self.projector(batch.student.embedding) - teacher_of(batch).embedding
        return error.square().sum(1).mean()
