"""Finished runs as JSON files. Done means that the file exists; it is written last and at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from .errors import BenchmarkError
from .files import digest, write_atomically
from .methods import edition
from .spec import Frozen, Spec

Metrics = dict[str, float]


class Evaluation(Frozen):
    """Retrieval by one network on one set of images."""

    l2: Metrics = Field(description="by raw Euclidean distance: recall@K, map@r, r_precision; fractions of 1")
    cosine: Metrics = Field(description="the same by cosine similarity")
    queries: int = Field(description="queries that have a partner, the ones that are scored")
    dropped: int = Field(description="queries without a partner, left out")
    gallery: int = Field(description="items that a query is searched in")
    relevance: Literal["class", "teacher"] = Field(
        "class", description="what a query is to find: items of its class, or the teacher's 10 nearest neighbours"
    )


class Point(Frozen):
    """One evaluation on the way, on validation classes."""

    step: int
    evaluation: Evaluation


class Geometry(Frozen):
    """How the embeddings of what is searched lie in their space, by the main distance."""

    effective_dimension: float = Field(description="exp of the entropy of the singular values")
    spectral_decay: float = Field(description="KL divergence from the singular values to uniform ones, in nats")
    overlap: float | None = Field(description="share of the 10 nearest that are the teacher's; null without a teacher")
    rank_correlation: float | None = Field(description="Spearman's, of distances to the teacher's")


class Record(Frozen):
    """A finished run: what was asked, what came out, what it took, and what it ran on."""

    id: str
    spec: Spec
    evaluation: Evaluation = Field(description="after the last step; never the best")
    asymmetric: Evaluation | None = Field(
        None,
        description="the network's queries, mapped into the teacher's space, in the teacher's gallery; null where it has no map",
    )
    geometry: Geometry | None = Field(
        None, description="null in validation runs, and in those from before it was measured"
    )
    curve: tuple[Point, ...] = Field((), description="evaluations on the way; validation runs only")
    loss: float | None = Field(
        description="mean training loss of the last tenth of the steps; null where nothing is trained"
    )
    parameters: int
    seconds: dict[str, float] = Field(description="train: this student's own share of its group; evaluate")
    data: str = Field(description="fingerprint of the images' names, sizes and labels")
    weights: str = Field(description="digest of the network's weights")
    teacher: str | None = Field(description="digest of the teacher's weights; null without a teacher")
    environment: dict[str, str] = Field(description="code, and the edition of the method's file; libraries, device")

    @property
    def dirty(self) -> bool:
        """Whether it was run with code that was not committed."""
        return self.environment.get("code", "").endswith("+dirty")

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


class Store:
    """The folder of one data set and preset, `results/<dataset>/<preset>`.

    Holds `runs/<method>-<id>.json` (results), `tuning/<method>-<id>.json` (validation runs), `checkpoints/` and `failures/`.
    """

    def __init__(self, folder: Path, kind: Literal["runs", "tuning"] = "runs") -> None:
        self.folder = folder
        self.kind: Literal["runs", "tuning"] = kind
        self.records = folder / kind
        self.checkpoints = folder / "checkpoints"
        self.failures = folder / "failures"

    def path(self, spec: Spec) -> Path:
        return self.records / f"{spec.method}-{spec.id}.json"

    def weights(self, spec: Spec) -> Path:
        return self.checkpoints / f"{spec.id}.safetensors"

    def checkpoint(self, spec: Spec) -> Path:
        """Where a run in training is kept; another file once its method is edited, so that no run is of two methods."""
        return self.checkpoints / f"{spec.id}.{edition(spec.method)}.pt"

    def drop_checkpoints(self, spec: Spec) -> None:
        """Those of a run that is finished, of all editions, and what a process left that was killed while it wrote one."""
        for pattern in (f"{spec.id}.*.pt", f"{spec.id}.*.partial"):
            for path in self.checkpoints.glob(pattern):
                path.unlink(missing_ok=True)

    def adopt(self, specs: Iterable[Spec]) -> list[Record]:
        """Take over the records and weights of parents of `specs` that another preset's folder of the same data set has.

        Only those whose weights are the record's: a teacher is one run, whichever preset asked for it first.

        Returns:
            What was taken over.
        """
        parents = {parent.id: parent for spec in specs for parent in _ancestors(spec)}
        found = []
        for parent in parents.values():
            for folder in sorted(self.folder.parent.glob("*/checkpoints")):
                other = Store(folder.parent, self.kind)
                weights = other.weights(parent)
                if self.weights(parent).exists() or not other.done(parent) or not weights.exists():
                    continue
                record, content = read_record(other.path(parent)), weights.read_bytes()
                if digest(content) == record.weights and (
                    not self.done(parent) or read_record(self.path(parent)) == record
                ):
                    write_atomically(self.weights(parent), content)
                    write_atomically(self.path(parent), other.path(parent).read_bytes())
                    found.append(record)
        return found

    def bring(self, spec: Spec, other: Store) -> list[Spec]:
        """Take over those parents of a run whose record and weights another store has; they are returned."""
        found = []
        for parent in dict.fromkeys(_ancestors(spec)):
            if not other.done(parent) or not other.weights(parent).exists():
                continue
            content = other.weights(parent).read_bytes()
            if digest(content) == read_record(other.path(parent)).weights:
                write_atomically(self.weights(parent), content)
                write_atomically(self.path(parent), other.path(parent).read_bytes())
                found.append(parent)
        return found

    def done(self, spec: Spec) -> bool:
        return self.path(spec).exists()

    def missing(self, specs: Iterable[Spec]) -> list[Spec]:
        """What is still to run: specs without a record, and parents of those whose weights are not on this machine."""
        result: dict[str, Spec] = {}

        def visit(spec: Spec) -> None:
            for parent in spec.parents:
                if not self.weights(parent).exists():
                    visit(parent)
            result[spec.id] = spec

        for spec in specs:
            if not self.done(spec):
                visit(spec)
        return list(result.values())

    def save(self, record: Record) -> None:
        (self.failures / f"{record.spec.method}-{record.id}.txt").unlink(missing_ok=True)
        data = json.dumps(_rounded(record.model_dump(mode="json")), indent=1, sort_keys=True)
        write_atomically(self.path(record.spec), data + "\n")

    def fail(self, spec: Spec, message: str, details: str) -> None:
        """Keep why a run failed, as text for people."""
        write_atomically(self.failures / f"{spec.method}-{spec.id}.txt", f"{message}\n\n{spec.canonical}\n\n{details}")

    def __iter__(self) -> Iterator[Record]:
        """All records, sorted by file name.

        Raises:
            BenchmarkError: a file is not a record, or its content is not what its name says.
        """
        for path in sorted(self.records.glob("*.json")):
            yield read_record(path)


def _ancestors(spec: Spec) -> Iterator[Spec]:
    for parent in spec.parents:
        yield parent
        yield from _ancestors(parent)


def read_record(path: Path) -> Record:
    """The record in a file, checked against its schema and its own id."""
    advice = "restore it, or delete it and run again"
    try:
        record = Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BenchmarkError(f"{path} is not a record ({place}: {first['msg']}); {advice}") from None
    if record.id != record.spec.id or path.stem != f"{record.spec.method}-{record.id}":
        raise BenchmarkError(f"{path}: its spec has the id {record.spec.id}, so file or content was changed; {advice}")
    return record


def _rounded(value: object) -> object:
    """Six decimals for metrics and seconds (a spec is left alone: its numbers are its identity)."""
    if isinstance(value, dict):
        return {key: inner if key == "spec" else _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value
