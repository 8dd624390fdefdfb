"""Several methods at once: the sum of their losses, as `fitnet+rkd-da` names it (Park et al. 2019, Table 4)."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from . import entry, load
from .base import Batch, Method, Widths


class Several(Method):
    """A method that consists of others."""

    def take(self, methods: list[Method]) -> None:
        self.methods = methods
        # By which torch finds what they learn and remember.
        self.parts = nn.ModuleList(methods)

    def seen(self, batch: Batch) -> Iterator[tuple[Method, Batch]]:
        """Each method with the batch as it sees it."""
        return ((method, batch) for method in self.methods)

    @property
    def prepares(self) -> bool:
        return any(method.prepares for method in self.methods)

    @property
    def aligns(self) -> bool:
        return any(method.aligns for method in self.methods)

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        for method in self.methods:
            method.prepare(embeddings, labels)

    def update(self, batch: Batch) -> None:
        for method, seen in self.seen(batch):
            method.update(seen)

    def learned(self) -> Iterator[tuple[list[nn.Parameter], float]]:
        for method in self.methods:
            yield from method.learned()

    def to_teacher_space(self, embedding: Tensor) -> Tensor | None:
        """By the first of them that aligns coordinates."""
        return next((method.to_teacher_space(embedding) for method in self.methods if method.aligns), None)


class Combination(Several):
    """The sum of methods' losses, each with the weights that it has alone, and what it learns at the rate that it has alone.

    A task loss that several of their recipes have is in the sum once. Hyper-parameters are called METHOD.KEY. `methods.load` makes a
    class of this for every sum.
    """

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        params: dict[str, dict[str, Any]] = {name: {} for name in entry(self.name).parts}
        for key in entry(self.name).defaults:
            name, _, parameter = key.partition(".")
            params[name][parameter] = getattr(self, key)
        self.take([load(name)(student, teacher, classes, **own) for name, own in params.items()])

    def loss(self, batch: Batch) -> Tensor:
        """Each task loss by the largest of its weights among the parts, then the losses that transfer."""
        total, weights = batch.student.embedding.new_zeros(()), dict[str, float]()
        for method in self.methods:
            if method.task:
                weights[method.task] = max(weights.get(method.task, 0.0), method.task_weight(batch.progress))
        for task, weight in weights.items():
            shared = next(method.task_loss for method in self.methods if method.task == task)
            total = total + weight * shared(batch) if weight and shared is not None else total
        return total + self(batch)

    def forward(self, batch: Batch) -> Tensor:
        total = batch.student.embedding.new_zeros(())
        for method in self.methods:
            total = total + method(batch)
        return total
