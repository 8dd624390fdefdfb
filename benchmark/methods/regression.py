"""Match the teacher's embedding point by point, through a learned linear map into its space."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Method, Widths, cosines, teacher_of


class Projected(Method):
    """A method whose student is mapped into the teacher's space by a learned linear projector.

    The projector learns at 10 times the rate: its scale and turn are nothing that the network should wait for. It is dropped after
    training, as published; and since any invertible map may move between it and the embedding at no change of the loss, the space that
    the student is searched in is shaped by where training starts and by weight decay too, not by the loss alone.
    """

    projector_rate: float = 10.0

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.projector = nn.Linear(student.embedding, teacher.embedding)

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
        student, teacher = self.directions(batch)
        return (1 - (student * teacher).sum(1)).mean()


class RAML(Projected):
    """(1 - cosine)² to the teacher's embedding, and squared differences of cosines: student to teacher, student to student.

    The two second-order terms are means over distinct pairs, against the cosines among the teacher's embeddings.
    """

    name = "raml"
    kind = "individual"
    reference = "Suma and Tolias, Large-to-small Image Resolution Asymmetry in Deep Metric Learning, WACV 2023, arXiv 2210.05463"
    ranges = {"cross_weight": (0.07, 7.0), "own_weight": (0.07, 7.0)}

    cross_weight: float = 0.7482
    own_weight: float = 0.6778

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.directions(batch)
        target = batch.of_teacher(cosines)
        distinct = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
        first = (1 - (student * teacher).sum(1)).square().mean()
        cross = (student @ teacher.T - target)[distinct].square().mean()
        own = (student @ student.T - target)[distinct].square().mean()
        return first + self.cross_weight * cross + self.own_weight * own


class Absolute(Method):
    """Triplet loss plus the mean distance of the student's embedding to the teacher's.

    Where widths differ a learned linear map leads from the student's space to the teacher's. The weight is that of the authors' script
    for CUB; it has 1.5 for Cars-196 and 2 for SOP. Their triplets are the hardest of the batch, with margin 0; ours are the baseline's.
    """

    name = "absolute"
    kind = "individual"
    reference = "Yu et al., Learning Metrics from Teachers, CVPR 2019, arXiv 1904.03624, section 3.2 (absolute teacher)"
    task = "triplet"
    ranges = {"weight": (0.1, 10.0)}

    weight: float = 1.0
    margin: float = 0.2
    projector_rate: float = 10.0

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        equal = student.embedding == teacher.embedding
        self.projector = nn.Identity() if equal else nn.Linear(student.embedding, teacher.embedding)

    def to_teacher_space(self, embedding: Tensor) -> Tensor:
        return self.projector(embedding)

    def forward(self, batch: Batch) -> Tensor:
        difference = self.projector(batch.student.embedding) - teacher_of(batch).embedding
        return self.weight * torch.linalg.vector_norm(difference, dim=1).mean()
