"""Controls with the student's trunk and a linear head that is solved for, not trained: what any trained head is held against.

They are fitted on the centre crops of the training images, which is what evaluation sees, in float64. Covariances that are inverted
are shrunk by `identity_share` towards a multiple of the identity. 0.3 was chosen once, on the last fifth of the training classes of
Cars (of 0.01, 0.1, 0.3, 0.6, 0.9, with the classes themselves as the ridge's teacher). Other classes vary otherwise: the 0.01 of
Ledoit and Wolf, which is right for the classes that are fitted, is much worse there. Directions past the rank of the features are zeros.
"""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from .base import Method, Widths

Matrix = NDArray[np.float64]
LEAST = 1e-7  # of the largest variance: below it there is none, but the rounding of cached features


class ClosedForm(Method):
    """A linear head on centred pooled features. It reads the teacher's embedding where its `needs` name the teacher."""

    kind = "control"
    trains = False

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.dim = student.embedding

    @abstractmethod
    def directions(self, features: Matrix, labels: NDArray[np.int64], teacher: Matrix) -> Matrix:
        """Find at most `dim` rows [k, c], the first the most important.

        Args:
            features: [n, c], centred.
            teacher: [n, teacher's d], centred; of 0 columns where the method needs none.
        """

    def solve(self, features: Tensor, labels: Tensor, teacher: Tensor | None) -> tuple[Tensor, Tensor]:
        """Make the head of the training images' pooled features [n, c]: their centre [c] and what it is multiplied by [dim, c]."""
        rows = features.double().cpu().numpy()
        centre = rows.mean(0)
        target = np.empty((len(rows), 0)) if teacher is None else teacher.double().cpu().numpy()
        solved = self.directions(rows - centre, labels.cpu().numpy(), target - target.mean(0))
        matrix = np.zeros((self.dim, rows.shape[1]))
        matrix[: len(solved)] = solved
        return torch.from_numpy(centre), torch.from_numpy(matrix)

    def align(self, embedding: Tensor, teacher: Tensor) -> None:
        """Fit `to_teacher_space`, where there is one, to the finished embeddings [n, dim] of the training images."""


def covariance(rows: Matrix, identity_share: float = 0.0) -> Matrix:
    """Compute the covariance [c, c] of centred rows [n, c], so much of it replaced by the identity times the mean variance."""
    plain: Matrix = rows.T @ rows / len(rows)
    return (1 - identity_share) * plain + identity_share * plain.trace() / len(plain) * np.eye(len(plain))


def leading(matrix: Matrix, count: int, metric: Matrix | None = None) -> tuple[Matrix, Matrix]:
    """Compute the largest eigenvalues [k] and their eigenvectors [k, c], of unit length in `metric`: at most `count`, those above 0."""
    values, vectors = eigh(matrix, metric, subset_by_index=(max(0, len(matrix) - count), len(matrix) - 1))
    kept = values > LEAST * values[-1]
    return values[kept][::-1], vectors.T[kept][::-1]


class WhitenedPCA(ClosedForm):
    """The features on their first principal components, each scaled to unit variance: neither a teacher nor labels."""

    name = "pca-whitened"
    reference = "control; Jegou and Chum, Negative Evidences and Co-occurrences in Image Retrieval, ECCV 2012"
    needs = ("pooled",)

    def directions(self, features: Matrix, labels: NDArray[np.int64], teacher: Matrix) -> Matrix:
        variances, components = leading(covariance(features), self.dim)
        return components / np.sqrt(variances)[:, None]


class LDA(ClosedForm):
    """Fisher's discriminants: the principal components of features whose covariance within classes was whitened; no teacher.

    At most classes - 1 components tell the training classes apart; where more are
    asked for, the others follow in the order of their variance, in the same whitened space.
    """

    name = "lda"
    reference = "control; Fisher, 1936; Friedman, Regularized Discriminant Analysis, JASA 1989"
    needs = ("pooled", "labels")

    identity_share: float = 0.3

    def directions(self, features: Matrix, labels: NDArray[np.int64], teacher: Matrix) -> Matrix:
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        means = np.zeros((len(counts), features.shape[1]))
        np.add.at(means, classes, features)
        within = features - (means / counts[:, None])[classes]
        return leading(covariance(features), self.dim, covariance(within, self.identity_share))[1]


class Ridge(ClosedForm):
    """The teacher's embedding by ridge regression on the features, on the principal components of what is predicted; no labels.

    Points in the teacher's space are the least-squares fit to it of the
    embedding as it is searched.
    """

    name = "ridge"
    reference = "control; Izenman, Reduced-Rank Regression for the Multivariate Linear Model, JMVA 1975"
    needs = ("pooled", "teacher")

    identity_share: float = 0.3

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        super().build(student, teacher, classes)
        self.projector: Tensor
        self.register_buffer("projector", torch.zeros(student.embedding + 1, teacher.embedding))

    def directions(self, features: Matrix, labels: NDArray[np.int64], teacher: Matrix) -> Matrix:
        weights = np.linalg.solve(covariance(features, self.identity_share), features.T @ teacher / len(features))
        predicted = features @ weights
        return leading(covariance(predicted), self.dim)[1] @ weights.T

    def align(self, embedding: Tensor, teacher: Tensor) -> None:
        fit = np.linalg.lstsq(_with_ones(embedding).double().cpu().numpy(), teacher.double().cpu().numpy(), rcond=None)
        self.projector.copy_(torch.from_numpy(fit[0]))

    def to_teacher_space(self, embedding: Tensor) -> Tensor:
        return _with_ones(embedding) @ self.projector


def _with_ones(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
