"""The identity of a run: every field that changes its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

MATRYOSHKA = "matryoshka-"  # begins the name of a method over nested embeddings
ENSEMBLE = "ensemble"  # the method that is made of generations
VECTORS, TEACHER_VECTORS = "vectors", "teacher-vectors"  # in the place of a backbone: own feature vectors
BY_NAME = f"{TEACHER_VECTORS}:"  # and a digest: the teacher's vectors of images, joined to them by their names
Scalar = bool | int | float | str
Positive = Annotated[int, Field(ge=1, le=10**9)]
# What can be built and shown: an image of 65,536 pixels a side, a layer of a million, a name of one line.
Pixels = Annotated[int, Field(ge=1, le=2**16)]
Width = Annotated[int, Field(ge=1, le=2**20)]
Name = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]+$")]
Fit = Literal["squash", "crop", "pad"]
# Part of a file's name.
MethodName = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^/\\\x00-\x1f\x7f-\x9f\ufffe\uffff]+$")]


class Frozen(BaseModel):
    """A value: immutable, equal by content, and an error when given a field it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stream(Frozen):
    """The part of a run that students trained together share: equal streams draw equal batches, image for image and crop for crop."""

    dataset: Name
    data: str = Field("", description="digest of the file listing of an own folder; empty for a card of the suite")
    subset: str = Field("", description="'8x6': 8 classes of 6 images of each split; empty: all")
    evaluation: Literal["test", "validation"] = Field("test", description="validation: on held-out training classes")
    fold: str = Field(
        "",
        description="'2/3', of validation runs: the second third of the training classes is held out",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Annotated[int, Field(ge=0, le=10**9)] = 1000
    batch: Annotated[int, Field(ge=2, le=10**9)] = 64
    per_class: Annotated[int, Field(ge=2, le=10**9)] = 4
    resize: Pixels = Field(256, description="pixels a side of the decoded image")
    fit: Fit = Field("squash", description="how it becomes square: squashed as published, its middle, or on white")
    image: Pixels = Field(224, description="pixels a side of the crop that the network sees")
    flip: bool = Field(True, description="mirror half of the training crops")
    views: Annotated[int, Field(ge=0, le=10**6)] = Field(
        0,
        description="0: crops are drawn step by step, and the whole network trains; else the stream carries pooled features "
        "of that many seeded crops of each training image (1: the centre crop), cached once, and only the head trains",
    )

    @field_validator("subset")
    @classmethod
    def _subset(cls, value: str) -> str:
        if value and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
            raise ValueError(f"a subset is CLASSESxIMAGES, such as 8x6, not {value!r}")
        return value

    @field_validator("fold")
    @classmethod
    def _fold(cls, value: str) -> str:
        part, _, parts = value.partition("/")
        if value and not (re.fullmatch(r"[1-9]\d{0,3}/[1-9]\d{0,3}", value) and 2 <= int(parts) >= int(part)):
            raise ValueError(f"a fold is PART/PARTS, such as 2/3, not {value!r}")
        return value

    @property
    def on_features(self) -> bool:
        """Whether networks read features of frozen trunks, or own vectors, so that only heads train."""
        return self.views > 0

    @model_validator(mode="after")
    def _consistent(self) -> Stream:
        if self.fold and self.evaluation == "test":
            raise ValueError(f"fold={self.fold} is of validation runs, and this one is evaluated on test classes")
        if self.image > self.resize:
            raise ValueError(f"the crop (image={self.image}) is larger than the decoded image (resize={self.resize})")
        if self.per_class > self.batch:
            raise ValueError(f"per_class={self.per_class} does not fit into batch={self.batch}")
        return self


class Spec(Stream):
    """A run: one network trained by one method. Without a teacher it is a baseline, or the teacher of others."""

    method: MethodName
    params: dict[Name, Scalar] = Field({}, description="every hyper-parameter of the method, defaults included")
    teacher: Spec | None = None
    backbone: Name = "resnet18"
    pretrained: bool = True
    trunk: Spec | None = Field(None, description="the run whose trunk is frozen under the head; default: pretrained")
    hidden: Annotated[int, Field(ge=0, le=2**20)] = Field(0, description="width of the head's hidden layer; 0: linear")
    head: Literal["scaled", "plain"] = Field(
        "scaled",
        description="scaled: centred features of unit mean square norm, kept at step 0; plain: raw ones",
    )
    dim: Width = 64
    normalize: bool = Field(True, description="l2-normalise the embedding, in training and in evaluation")
    batchnorm: Literal["train", "frozen"] = "train"
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 1e-4
    head_lr: Annotated[float, Field(gt=0)] = Field(1.0, description="of head and what a method learns, in units of lr")
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    schedule: Literal["constant", "cosine", "one-cycle", "step"] = "constant"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (), description="schedule 'step': fractions of the run at which the rate is multiplied by decay"
    )
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of a trunk's passes")
    _id: str = PrivateAttr()  # once: the training loop asks for it ten times a step

    def model_post_init(self, context: Any) -> None:
        self._id = hashlib.sha256(self.canonical.encode()).hexdigest()[:10]

    @model_validator(mode="after")
    def _frozen_trunk(self) -> Spec:
        if self.trunk is not None and not self.on_features:
            raise ValueError("a frozen trunk is for streams of features: set views as well")
        if self.teacher is not None and self.teacher.on_features and not self.on_features:
            raise ValueError("a head on features cannot teach a network that reads images")
        if self.teacher is None and self.method == ENSEMBLE:
            raise ValueError("an ensemble is made of generations, and there is no teacher")
        return self

    def __hash__(self) -> int:
        return hash(self._id)

    @property
    def canonical(self) -> str:
        """The text that `id` hashes: sorted, compact JSON of the fields that are not at their defaults.

        So a field that a later version adds, with a default that means "as before", leaves old ids as they are; and a default that
        is changed shows, since records hold all fields and their ids are checked on reading.
        """
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Ten hexadecimal digits of SHA-256: equal specs have equal ids, on every machine."""
        return self._id

    @property
    def label(self) -> str:
        """For people: unique within a table but for the seed."""
        return f"{self.name} {self.backbone}-{self.dim}{'' if self.normalize else ' raw'} seed {self.seed}"

    @property
    def name(self) -> str:
        """The method's, with what tells generations apart, as in Table 2 of Park et al. 2019."""
        if self.method == ENSEMBLE:
            return f"{self.members[0].method}@Gen1-{len(self.members)}"
        if self.nested_in is not None:
            return self.nested_in.name
        return f"{self.method}@Gen{self.generation}" if self.generation else self.method

    @property
    def nested_in(self) -> Spec | None:
        """The student whose first numbers this is, where it was trained for that; else None."""
        teacher = self.teacher
        return teacher if self.method == "truncate" and teacher and teacher.method.startswith(MATRYOSHKA) else None

    @property
    def generation(self) -> int:
        """1 for a network taught by another of its size, one more for one that is taught by such a network of its own method; else 0,
        as for every head on frozen features."""
        teacher = self.teacher
        if teacher is None or not self.steps or self.on_features:
            return 0
        if (teacher.backbone, teacher.dim) != (self.backbone, self.dim):
            return 0
        return 1 + (teacher.generation if teacher.method == self.method else 0)

    @property
    def reads_vectors(self) -> bool:
        """Whether own vectors stand in the place of a backbone."""
        return self.backbone in (VECTORS, TEACHER_VECTORS) or self.backbone.startswith(BY_NAME)

    @property
    def joined(self) -> str:
        """The digest of the vectors that it reads by the images' names; empty where it reads something else."""
        return self.backbone.removeprefix(BY_NAME) if self.backbone.startswith(BY_NAME) else ""

    @property
    def builds_on_vectors(self) -> str:
        """The same of itself or of a run that it builds on."""
        return self.joined or next(filter(None, (parent.builds_on_vectors for parent in self.parents)), "")

    @property
    def fixed_seed(self) -> bool:
        """Whether another seed would want other parents as well: generations are seeded as the ones before."""
        return self.generation > 0 or self.method == ENSEMBLE

    @property
    def members(self) -> tuple[Spec, ...]:
        """The finished runs that a post-hoc run is made of: its teacher, or of an ensemble all generations, the last one first."""
        members: list[Spec] = [] if self.teacher is None else [self.teacher]
        while self.method == ENSEMBLE and members[-1].generation > 1 and members[-1].teacher is not None:
            members.append(members[-1].teacher)
        return tuple(members)

    @property
    def taught_by(self) -> Spec:
        """The first of its teachers, which has none itself; of such a run itself."""
        return self if self.teacher is None else self.teacher.taught_by

    @property
    def parents(self) -> tuple[Spec, ...]:
        """The runs whose weights this one reads."""
        return (*self.members, *((self.trunk,) if self.trunk is not None else ()))

    @property
    def depth(self) -> int:
        """0 without parents, else one more than the deepest one's: runs go in waves by depth."""
        return max((1 + parent.depth for parent in self.parents), default=0)

    @property
    def stream(self) -> Stream:
        return Stream(**{name: getattr(self, name) for name in Stream.model_fields})

    def replace(self, **changes: Any) -> Spec:
        """A copy with other values, validated again."""
        return Spec.model_validate({**self.model_dump(), **changes})


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose: 63 bits of SHA-256 over the run's seed and what the numbers are for.

    Every random choice of the suite comes from a generator made of this, never from the global state, so that it depends neither
    on what ran before nor on who else is in the group; and since the step is part of the purpose, a resumed run needs no
    generator's state.
    """
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def waves(specs: list[Spec]) -> list[list[list[Spec]]]:
    """Specs in the order in which they can run: by depth, and within a depth in groups of one stream.

    A parent that is not in `specs` is taken to exist already. Order is kept, duplicates are dropped.
    """
    unique = list({spec.id: spec for spec in specs}.values())
    result = []
    for depth in sorted({spec.depth for spec in unique}):
        groups: dict[Stream, list[Spec]] = {}
        for spec in unique:
            if spec.depth == depth:
                groups.setdefault(spec.stream, []).append(spec)
        result.append(list(groups.values()))
    return result
