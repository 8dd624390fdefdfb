"""One student for every dimension: the first numbers of its embedding are an embedding of their own, as `matryoshka-rkd-d` names it."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from . import entry, load
from .base import Batch, Features, Method, Widths
from .combination import Several

LEAST = 8  # numbers of the smallest embedding


class Matryoshka(Several):
    """The sum of a method's loss over nested embeddings: the first d, d/2, d/4, ... numbers, down to 8, each weighed alike.

    Each nested embedding is l2-normalised where the student's is, and has of its own what the method learns or remembers.
    `methods.load` makes a class of this for every method. A smaller embedding of a finished student is measured as `truncate` of it.

    Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, arXiv 2205.13147, eq. 1 with all weights 1.
    """

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        (inner,) = entry(self.name).parts
        params = {key: getattr(self, key) for key in entry(self.name).defaults}
        self.sizes = [student.embedding]
        while self.sizes[-1] // 2 >= LEAST:
            self.sizes.append(self.sizes[-1] // 2)
        self.take([load(inner)(student._replace(embedding=size), teacher, classes, **params) for size in self.sizes])

    def seen(self, batch: Batch) -> Iterator[tuple[Method, Batch]]:
        student = batch.student
        for size, method in zip(self.sizes, self.methods, strict=True):
            first = student.embedding[:, :size]
            seen = Features(F.normalize(first) if student.unit else first, student.pooled, student.maps, student.unit)
            yield method, Batch(seen, batch.teacher, batch.labels, batch.index, batch.progress, batch.shared)

    def forward(self, batch: Batch) -> Tensor:
        total = batch.student.embedding.new_zeros(())
        for method, seen in self.seen(batch):
            total = total + method.loss(seen)
        return total
