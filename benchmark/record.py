"""A finished run as a JSON file, with the ranges of all that it says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from .errors import BenchmarkError, wrong_field
from .files import read_regular, unsealed
from .spec import Frozen, Spec

Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Correlation = Annotated[float, Field(ge=-1, le=1)]
Metrics = dict[str, Fraction]
Count = Annotated[int, Field(ge=0, le=2**62)]
SomeItems = Annotated[int, Field(ge=1, le=2**62)]
ROUNDING = 2e-6  # of numbers with six decimals, and of their means
MOST = 2**24  # bytes of a record; the largest have some thousands
MOST_POINTS = 200  # of a history
_METRIC = re.compile(r"recall@[1-9]\d{0,8}|(?!recall)[a-z][a-z0-9_]*(@[a-z0-9]+)?")


class Evaluation(Frozen):
    """Retrieval by one network on one set of images."""

    l2: Metrics = Field(description="by raw Euclidean distance: recall@K, map@r, r_precision, more; fractions of 1")
    cosine: Metrics = Field(description="the same by cosine similarity")
    queries: SomeItems = Field(description="queries that have a partner, the ones that are scored")
    dropped: Count = Field(description="queries without a partner, left out")
    gallery: SomeItems = Field(description="items that a query is searched in")
    relevance: Literal["class", "teacher"] = Field("class", description="its class, or the teacher's 10 nearest")

    @model_validator(mode="after")
    def _possible(self) -> Evaluation:
        """Recall@1 is among the metrics, and all are what they can be: Recall@K grows with K, MAP@R is at most R-precision."""
        for metrics in (self.l2, self.cosine):
            if unknown := [name for name in metrics if not _METRIC.fullmatch(name)]:
                raise ValueError(f"{unknown[0]!r} is no metric")
            if "recall@1" not in metrics:
                raise ValueError("recall@1 is missing")
            recalls = sorted((int(name[7:]), value) for name, value in metrics.items() if name.startswith("recall@"))
            if any(later < before for (_, before), (_, later) in itertools.pairwise(recalls)):
                raise ValueError("recall@K falls where K grows")
            if metrics.get("map@r", 0) > metrics.get("r_precision", 1) + 1e-6:  # as they are rounded
                raise ValueError("map@r is above r_precision")
        if self.l2.keys() != self.cosine.keys():
            raise ValueError("l2 and cosine have different metrics")
        return self

    def with_metrics(self, later: Evaluation) -> Evaluation:
        """This one, with the metrics of a later one that it lacks."""
        both = {name: (getattr(self, name), getattr(later, name)) for name in ("l2", "cosine")}
        return self.model_copy(update={name: own | other | own for name, (own, other) in both.items()})


class Point(Frozen):
    """One evaluation on the way, on validation classes."""

    step: Count
    evaluation: Evaluation


class History(Frozen):
    """How training went, at evenly spread steps and the last one."""

    step: tuple[SomeItems, ...] = Field(max_length=MOST_POINTS)
    loss: tuple[float, ...] = Field(description="of each of these steps")
    rate: tuple[NotNegative, ...] = Field(description="learning rate of the trunk in these steps")
    seconds: tuple[NotNegative, ...] = Field(description="this student's own, up to there")

    @model_validator(mode="after")
    def _even(self) -> History:
        if not len(self.step) == len(self.loss) == len(self.rate) == len(self.seconds) > 0:
            raise ValueError("a history has step, loss, rate and seconds each")
        if any(later <= before for before, later in itertools.pairwise(self.step)):
            raise ValueError("the steps of a history do not grow")
        return self

    @classmethod
    def of(cls, points: Iterable[tuple[int, float, float, float]]) -> History | None:
        """The history of some points, numbers with six significant digits; none without a point."""
        short = [(step, *(float(f"{value:.6g}") for value in values)) for step, *values in points]
        names = cls.model_fields
        return cls.model_validate(dict(zip(names, zip(*short, strict=True), strict=True))) if short else None


class ByClass(Frozen):
    """Retrieval by the main distance, class by class in the order of their labels; classes without a scored query are left out."""

    queries: tuple[SomeItems, ...] = Field(description="queries of each class that are scored")
    hits: tuple[Count, ...] = Field(description="those of them whose nearest neighbour is of their class")
    precision: tuple[Fraction, ...] = Field(description="map@r of each class")

    @model_validator(mode="after")
    def _even(self) -> ByClass:
        if not len(self.queries) == len(self.hits) == len(self.precision) > 0:
            raise ValueError("classes have queries, hits and precision each")
        if any(hits > queries for hits, queries in zip(self.hits, self.queries, strict=True)):
            raise ValueError("a class has more hits than queries")
        return self

    def gives(self, evaluation: Evaluation, metrics: Metrics) -> bool:
        """Whether the classes' numbers make up those of all queries, as both are rounded."""
        total = sum(self.queries)
        precision = sum(n * each for n, each in zip(self.queries, self.precision, strict=True)) / total
        return (
            total == evaluation.queries
            and abs(sum(self.hits) / total - metrics["recall@1"]) <= ROUNDING
            and abs(precision - metrics.get("map@r", precision)) <= ROUNDING
        )


class Geometry(Frozen):
    """How the embeddings of what is searched lie in their space, by the main distance."""

    effective_dimension: NotNegative = Field(description="exp of the entropy of the singular values")
    spectral_decay: float = Field(description="KL divergence from the singular values to uniform ones, in nats")
    overlap: Fraction | None = Field(description="share of the 10 nearest that are the teacher's; null without one")
    rank_correlation: Correlation | None = Field(description="Spearman's, of distances to the teacher's")


class Declared(Frozen):
    """Facts that the source of a method declared, for reports where that source is not at hand."""

    kind: str = Field(description="individual, relational, ...")
    paper: str = Field(description="by which methods are drawn together")
    labels: bool = Field(description="whether it reads them")
    self_taught: bool
    outside: bool = Field(description="whether its file, or a part's, is none of the suite's")


class Record(Frozen):
    """A finished run: what was asked, what came out, what it took, and what it ran on."""

    id: str
    spec: Spec
    evaluation: Evaluation = Field(description="after the last step; never the best")
    asymmetric: Evaluation | None = Field(
        None, description="of queries in the teacher's space; null without a map into it"
    )
    by_class: ByClass | None = Field(
        None, description="null in validation runs, without labels, and before it was kept"
    )
    storage: dict[Literal["float16", "int8", "binary"], Fraction] = Field(
        {}, description="Recall@1 by the main distance in a gallery that is stored so; empty as by_class is null"
    )
    queries: str | None = Field(None, description="digest of the file of queries beside the weights; null as by_class")
    geometry: Geometry | None = Field(None, description="null in validation runs, and from before it was measured")
    curve: tuple[Point, ...] = Field((), description="evaluations on the way; validation runs only")
    history: History | None = Field(None, description="null where nothing is trained, and from before it was kept")
    declared: Declared | None = Field(None, description="of its method; null from before it was kept")
    loss: float | None = Field(description="mean over the last tenth of the steps; null where nothing is trained")
    parameters: Count
    seconds: dict[str, NotNegative] = Field(description="train: this student's own share of its group; evaluate")
    data: str = Field(description="fingerprint of the images' names, contents, labels; where there is no listing, that")
    closed: bool = Field(False, description="whether some of the searched classes were trained on")
    listing: str = Field("", description="the same with sizes for contents; empty from before contents were read")
    weights: str = Field(description="digest of the network's weights")
    projector: str | None = Field(None, description="digest of the map into the teacher's space; null without one")
    teacher: str | None = Field(description="digest of the teacher's weights; null without a teacher")
    environment: dict[str, str] = Field(description="code, and the edition of the method's file; libraries, device")
    sources: dict[str, str] = Field({}, description="digests of the code, room by room; empty from before it was kept")

    @model_validator(mode="after")
    def _of_classes(self) -> Record:
        if self.by_class is not None and not self.by_class.gives(self.evaluation, self.metrics):
            raise ValueError("by_class does not give its metrics")
        return self

    @property
    def dirty(self) -> bool:
        """Whether it was run with code that was not committed."""
        return self.environment.get("code", "").endswith("+dirty")

    @property
    def edited_freely(self) -> bool:
        """Whether no commit tells what its method's file said: by the file's edition alone is it known."""
        return self.dirty or (self.declared is not None and self.declared.outside)

    def was_of(self, fingerprint: str, listing: str) -> bool:
        """Whether it was run on the images of that fingerprint; of an older record only whether their listing is the same."""
        return self.data == fingerprint if self.listing else self.data == listing

    @property
    def listed(self) -> str:
        """The images' fingerprint by names, sizes and labels, which records of all versions have."""
        return self.listing or self.data

    @property
    def metrics(self) -> Metrics:
        """By the main distance: cosine for normalised embeddings, else raw L2, where an offset makes cosine meaningless."""
        return self.evaluation.cosine if self.spec.normalize else self.evaluation.l2

    @property
    def asymmetric_metrics(self) -> Metrics:
        """By the distance that is the teacher's main one; empty where queries cannot be mapped into its space."""
        if self.asymmetric is None or self.spec.teacher is None:
            return {}
        return self.asymmetric.cosine if self.spec.teacher.normalize else self.asymmetric.l2


def read_record(path: Path) -> Record:
    """The record in a file, checked against its schema, its digest and its own id."""
    advice = "restore it, or delete it and run again"
    try:
        record = Record.model_validate(unsealed(read_regular(path, MOST)))
    except ValueError as error:
        why = wrong_field(error) if isinstance(error, ValidationError) else error
        raise BenchmarkError(f"{path} is not a record ({why}); {advice}") from None
    if record.id != record.spec.id or path.stem != f"{record.spec.method}-{record.id}":
        raise BenchmarkError(f"{path}: its spec has the id {record.spec.id}, so file or content was changed; {advice}")
    return record
