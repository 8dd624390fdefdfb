"""Several methods at once: the sum of their losses, as `fitnet+rkd-da` names it (Park et al. 2019, Table 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import Batch, Method, Widths


class Combination(Method):
    """The sum of methods' losses, each with the weights that it has alone, and what it learns at the rate that it has alone.

    A part that is published with a task loss brings it along: fitnet+darkrank has two triplet losses in its sum.

    Args:
        parts: classes of the methods.
        params: hyper-parameters as METHOD.KEY.
    """

    def __init__(
        self,
        student: Widths,
        teacher: Widths | None,
        classes: int,
        *,
        parts: Mapping[str, type[Method]],
        params: Mapping[str, Any],
    ) -> None:
        super().__init__(student, teacher, classes)
        own: dict[str, dict[str, Any]] = {name: {} for name in parts}
        for key, value in params.items():
            name, _, parameter = key.partition(".")
            own[name][parameter] = value
        self.parts = nn.ModuleList(cls(student, teacher, classes, **own[name]) for name, cls in parts.items())

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
        found = (part.to_teacher_space(embedding) for part in self._methods)
        return next((mapped for mapped in found if mapped is not None), None)

    def forward(self, batch: Batch) -> Tensor:
        return torch.stack([part(batch) for part in self._methods]).sum()
