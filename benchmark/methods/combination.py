"""Several methods at once: the sum of their losses, as `fitnet+rkd-da` names it (Park et al. 2019, Table 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from . import by_part
from .base import Batch, Method, Widths


class Combination(Method):
    """The sum of methods' losses, each with the weights that it has alone, and what it learns at the rate that it has alone.

    A task loss that several of their recipes have is in the sum once.

    Args:
        parts: what makes the methods, by name.
        params: hyper-parameters as METHOD.KEY.
    """

    name = "combination"

    def __init__(
        self,
        student: Widths,
        teacher: Widths | None,
        classes: int,
        *,
        parts: Mapping[str, Callable[..., Method]],
        params: Mapping[str, Any],
    ) -> None:
        super().__init__(student, teacher, classes)
        own = by_part(parts, params)
        self.parts = nn.ModuleList(make(student, teacher, classes, **own[name]) for name, make in parts.items())

    @property
    def _methods(self) -> Sequence[Method]:
        return [part for part in self.parts if isinstance(part, Method)]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(part.reads for part in self._methods))

    @property
    def prepares(self) -> bool:
        return any(part.prepares for part in self._methods)

    @property
    def aligns(self) -> bool:
        return any(part.aligns for part in self._methods)

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        for part in self._methods:
            part.prepare(embeddings, labels)

    def update(self, batch: Batch) -> None:
        for part in self._methods:
            part.update(batch)

    def learned(self) -> Iterator[tuple[list[nn.Parameter], float]]:
        for part in self._methods:
            yield from part.learned()

    def to_teacher_space(self, embedding: Tensor) -> Tensor | None:
        """By the first of them that aligns coordinates."""
        points = (part.to_teacher_space(embedding) for part in self._methods)
        return next((mapped for mapped in points if mapped is not None), None)

    def loss(self, batch: Batch) -> Tensor:
        """Each task loss by the largest of its weights among the parts, then the losses that transfer."""
        total, weights = batch.student.embedding.new_zeros(()), dict[str, float]()
        for part in self._methods:
            if part.task:
                weights[part.task] = max(weights.get(part.task, 0.0), part.task_weight(batch.progress))
        for task, weight in weights.items():
            shared = next(part.task_loss for part in self._methods if part.task == task)
            total = total + weight * shared(batch) if weight and shared is not None else total
        return total + self(batch)

    def forward(self, batch: Batch) -> Tensor:
        total = batch.student.embedding.new_zeros(())
        for part in self._methods:
            total = total + part(batch)
        return total
