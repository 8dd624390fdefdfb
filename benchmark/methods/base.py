"""The one signature of every method: a typed batch in, a scalar out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import entry, load, typed
from .entries import Kind

T = TypeVar("T")


class Widths(NamedTuple):
    """The sizes of a network's features, for what a method must build to fit them (regressors, proxies)."""

    embedding: int
    pooled: int
    maps: tuple[int, ...]  # channels, shallow to deep


class Features(NamedTuple):
    """The results of one forward pass; what no method of a step needs is left empty."""

    embedding: Tensor  # [n, d]
    pooled: Tensor  # [n, c]: the trunk's output after global pooling, before the head
    maps: tuple[Tensor, ...] = ()  # [n, c, h, w] each: the ends of the trunk's stages, shallow to deep
    unit: bool = False  # whether embeddings are l2-normalised


@dataclass(frozen=True)
class Batch:
    """A step, as a method sees it."""

    student: Features
    teacher: Features | None  # without gradient; None for methods of kind "none"
    labels: Tensor  # [n] int64, 0 ... training classes - 1
    index: Tensor  # [n] int64: rows of the training set
    progress: float  # part of the run that is behind, in [0, 1): for recipes in stages
    shared: dict[Any, Any] = field(default_factory=dict)  # of this step, among all students of the teacher

    def of_teacher(self, function: Callable[..., T], **arguments: Hashable | Tensor) -> T:
        """`function` of the teacher's embeddings [n, d] and of arguments: computed once a step, for all students of the teacher.

        Two calls share a result where function and arguments are equal (of tensors: the same).
        """
        key = (
            function,
            *sorted((name, id(value) if isinstance(value, Tensor) else value) for name, value in arguments.items()),
        )
        if key not in self.shared:
            # With the arguments, so that no tensor of another step's or student's gets the id of one that is gone.
            self.shared[key] = function(teacher_of(self).embedding, **arguments), arguments
        return self.shared[key][0]


class Method(nn.Module):
    """A distillation loss.

    A subclass names itself and says what it is, by the class variables below. Its hyper-parameters are annotated class attributes of
    type bool, int, float or str, with their published values: `weight: float = 50.0`. `build` makes what it learns or
    remembers, `forward` is the loss that it transfers by. Its parameters and buffers are trained and checkpointed with the student.
    All this is read from the source without running it, so declarations are literals.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]  # none: needs no teacher
    reference: ClassVar[str]  # paper, venue, arXiv number
    # What it cannot do without: embedding, pooled, maps, labels; of a control, which else has none, the teacher.
    needs: ClassVar[tuple[str, ...]] = ("embedding",)
    optional: ClassVar[tuple[str, ...]] = ()  # what it reads where there is: maps are none in streams of features
    # The method without a teacher that the published recipe adds to the loss, such as "triplet". Hyper-parameters of the same name
    # are its own as well, such as `margin`; what it needs and draws at random, the method does. A sum of methods has it once.
    task: ClassVar[str] = ""
    normalize: ClassVar[bool] = True  # whether the student's embedding is l2-normalised where the method was published
    trains: ClassVar[bool] = True  # False: the network is evaluated as it is at step 0
    has_head: ClassVar[bool] = True  # False: there is no network, the features are the embedding
    # Hyper-parameters that `tune --trials` draws, log-uniformly from low to high; the default lies between. Leave out what trades
    # nothing off: the weight of a method's only loss (rkd-d, rkd-a) changes next to nothing, since the step of Adam does not depend on
    # the scale of the loss.
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    # Hyper-parameters that came after runs were recorded: at their default they are no part of a run's identity, so that old ids hold.
    later: ClassVar[tuple[str, ...]] = ()
    self_taught: ClassVar[bool] = False  # True: no teacher, though its kind is not "none"
    # True: between networks of one size; the student has the teacher's backbone and dimension.
    same_size: ClassVar[bool] = False
    # Whether it has random choices of its own at its defaults, such as a miner's: a post-hoc method without any is one run for all seeds.
    is_random: ClassVar[bool] = False

    def __init__(self, student: Widths, teacher: Widths | None, classes: int, **params: Any) -> None:
        super().__init__()
        for key, value in typed(self.name, params).items():
            setattr(self, key, value)
        self.task_loss: Method | None = None
        if self.task:
            shared = {key: getattr(self, key) for key in entry(self.task).defaults if key in entry(self.name).defaults}
            self.task_loss = load(self.task)(student, None, classes, **shared)
        self.build(student, teacher, classes)  # type: ignore[arg-type]  # a method that needs no teacher looks at none

    def build(self, student: Widths, teacher: Widths, classes: int) -> None:
        """Make what the method learns (regressors, proxies) or remembers (buffers); hyper-parameters are set by then.

        Args:
            teacher: None for methods that need none.
            classes: of the training set.
        """

    def task_weight(self, progress: float) -> float:
        """Weight of the recipe's task loss, by the part of the run that is behind: for recipes in stages."""
        return 1.0

    def loss(self, batch: Batch) -> Tensor:
        """The scalar that is minimised: the loss that transfers, and the recipe's task loss."""
        transfer, weight = self(batch), self.task_weight(batch.progress)
        return transfer if self.task_loss is None or not weight else weight * self.task_loss(batch) + transfer

    def prepare(self, embeddings: Tensor, labels: Tensor) -> None:
        """Called once before the first step with the teacher's embeddings of the training images.

        Args:
            embeddings: [n, d], without augmentation.
            labels: [n].
        """

    def update(self, batch: Batch) -> None:
        """Called after each step, without gradient, for what the method remembers (a memory bank): `forward` changes nothing."""

    def to_teacher_space(self, embedding: Tensor) -> Tensor | None:
        """The student's embeddings [n, d] as points among the teacher's [n, teacher's d], to search a gallery that the teacher has
        indexed; None where the method does not align coordinates."""
        return None

    def learned(self) -> Iterator[tuple[list[nn.Parameter], float]]:
        """The method's own parameters and their learning rate in units of the head's: the hyper-parameter whose name ends in `_rate`.

        AdamW's decay goes with the rate: lr * rate * decay.
        """
        rates = (getattr(self, key) for key in entry(self.name).defaults if key.endswith("_rate"))
        yield list(self.parameters()), next(rates, 1.0)

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """The features that are computed for it."""
        return frozenset((*entry(self.name).needs, *entry(self.name).optional))

    @property
    def aligns(self) -> bool:
        """Whether `to_teacher_space` maps anything."""
        return type(self).to_teacher_space is not Method.to_teacher_space

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything, so that the teacher's embeddings are computed only where they are used."""
        return type(self).prepare is not Method.prepare

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Buffers that `prepare` sizes by the training set are empty until then: they take the size of the saved ones."""
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None and not buffer.numel():
                setattr(self, name, torch.empty_like(saved, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, batch: Batch) -> Tensor:
        """The loss that transfers: a scalar, from which gradients reach the student's features and the method's own parameters."""
        raise TypeError(f"{type(self).__name__} defines no loss")


def teacher_of(batch: Batch) -> Features:
    """The teacher's features of a method that cannot do without."""
    if batch.teacher is None:
        raise TypeError("this method needs a teacher")
    return batch.teacher


def distances(x: Tensor) -> Tensor:
    """Euclidean distances [n, n] of the rows of x [n, d]; zeros, with zero gradient, on the diagonal and between duplicates.

    From differences: the product of matrices would be faster for many rows, and leaves noise where distances are small.
    """
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def cosines(x: Tensor) -> Tensor:
    """Cosines [n, n] of all pairs of rows of x [n, d]."""
    unit = F.normalize(x)
    return unit @ unit.T
