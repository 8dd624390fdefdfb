"""Controls without a student: the teacher's embedding made smaller, fitted on the training images. Their cost is the teacher's."""

import math
from abc import abstractmethod
from typing import ClassVar

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Method, Widths


class PostHoc(Method):
    """A transform of the teacher's embeddings, fitted by `prepare` where there is something to fit; nothing is trained."""

    kind = "posthoc"
    trains = False
    normalize = False
    # Whether a search finds something else (`stored`) than what a query is searched with.
    stores: ClassVar[bool] = False

    @abstractmethod
    def compress(self, embedding: Tensor) -> Tensor:
        """Make the points [n, d] that queries are searched with, of the teacher's embeddings."""

    def stored(self, embedding: Tensor) -> Tensor:
        """Make the points [n, d] that a search finds, of the gallery's embeddings."""
        return self.compress(embedding)


class Linear(PostHoc):
    """An affine map to `dim` numbers."""

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.dim = student.embedding
        self.matrix: Tensor
        self.offset: Tensor
        self.register_buffer("matrix", torch.zeros(student.embedding, teacher.embedding))
        self.register_buffer("offset", torch.zeros(student.embedding))

    def take(self, transform: faiss.LinearTransform) -> None:
        """Become one of faiss's transforms."""
        self.matrix.copy_(torch.from_numpy(faiss.vector_to_array(transform.A).reshape(self.matrix.shape)))
        if transform.have_bias:
            self.offset.copy_(torch.from_numpy(faiss.vector_to_array(transform.b)))

    def compress(self, embedding: Tensor) -> Tensor:
        return embedding @ self.matrix.T + self.offset


class PCA(Linear):
    """The teacher's embedding on its first principal components over the training images, centred."""

    name = "pca"
    reference = "control; Jolliffe, Principal Component Analysis, 2002 (faiss's PCAMatrix)"

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        n, width = embeddings.shape
        transform = faiss.PCAMatrix(width, self.dim)
        # Of fewer rows than numbers faiss takes another way, whose directions are not orthonormal where the rows span fewer of them. Copies
        # of all rows have the same components.
        transform.train(embeddings.repeat(-(-width // n), 1).cpu().numpy())
        self.take(transform)


class RandomProjection(Linear):
    """The teacher's embedding on random orthonormal directions."""

    name = "random-projection"
    reference = "control; Johnson and Lindenstrauss, 1984 (faiss's RandomRotationMatrix)"
    is_random = True

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        super().build(student, teacher, classes)
        transform = faiss.RandomRotationMatrix(teacher.embedding, student.embedding)
        # Its `train` would take a seed of its own.
        transform.init(torch.initial_seed() % 2**31)
        self.take(transform)


class Truncate(Linear):
    """The first numbers of the teacher's embedding, as they are."""

    name = "truncate"
    reference = "control"

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        super().build(student, teacher, classes)
        self.matrix.fill_diagonal_(1.0)


class ProductQuantiser(PostHoc):
    """Product quantisation of the teacher's embedding to the bytes of a float32 student of `dim` numbers; asymmetric distances.

    Codes of at most 8 bits, one for each part of the vector; as many parts as bytes, or the next smaller number that divides the
    teacher's dimension. A query is searched as it is, what it is searched in is what its codes stand for.
    """

    name = "pq"
    stores: ClassVar = True
    reference = "control; Jegou et al., Product Quantization for Nearest Neighbor Search, TPAMI 2011 (faiss)"

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        most = 4 * student.embedding
        self.parts = max(parts for parts in range(1, most + 1) if teacher.embedding % parts == 0)
        self.centroids: Tensor
        self.register_buffer("centroids", torch.empty(0))  # [parts, codes, numbers of a part]

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        bits = min(8, int(math.log2(len(embeddings))))
        quantiser = faiss.ProductQuantizer(embeddings.shape[1], self.parts, bits)
        # No warning: small sets are what tests have.
        quantiser.cp.min_points_per_centroid = 1
        quantiser.train(np.ascontiguousarray(embeddings.cpu().numpy()))
        centroids = torch.from_numpy(faiss.vector_to_array(quantiser.centroids).copy())
        self.centroids = centroids.reshape(self.parts, 2**bits, -1).to(embeddings.device)

    def compress(self, embedding: Tensor) -> Tensor:
        return embedding

    def stored(self, embedding: Tensor) -> Tensor:
        parts = embedding.view(len(embedding), self.parts, -1).transpose(0, 1)  # [parts, n, numbers]
        # By products of matrices, an offset that all have would cancel.
        nearest = torch.cdist(parts, self.centroids, compute_mode="donot_use_mm_for_euclid_dist").argmin(2)
        rows = torch.stack([centroids[code] for centroids, code in zip(self.centroids, nearest, strict=True)], dim=1)
        return rows.flatten(1)


class Ensemble(PostHoc):
    """All generations of a network taught by the one before, as one: their unit embeddings side by side.

    Squared distances and cosines are then the members' means: networks that were trained apart share no coordinates, so that
    averages of embeddings would mean nothing. Its dimension and cost are those of all members together.
    """

    name = "ensemble"
    reference = "Furlanello et al., Born Again Neural Networks, ICML 2018, arXiv 1805.04770 (BANE), on embeddings: ours"
    normalize = True

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        self.members = student.embedding // teacher.embedding

    def compress(self, embedding: Tensor) -> Tensor:
        units = F.normalize(embedding.view(embedding.shape[0], self.members, -1), dim=2)
        return units.flatten(1) / math.sqrt(self.members)
