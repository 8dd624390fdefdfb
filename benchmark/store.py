"""Finished runs as JSON files. Done means that the file exists; it is written last and at once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError, model_validator

from .errors import BenchmarkError, wrong_field
from .files import clear_partial, digest, read_regular, sealed, unsealed, write_atomically
from .spec import Frozen, Spec

Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Correlation = Annotated[float, Field(ge=-1, le=1)]
Metrics = dict[str, Fraction]
Count = Annotated[int, Field(ge=0, le=2**62)]
SomeItems = Annotated[int, Field(ge=1, le=2**62)]
MOST = 2**24  # bytes of a record; the largest have some thousands
SUM = ".safetensors.sha256"  # of the file beside weights, as `sha256sum` writes and checks it
_METRIC = re.compile(r"recall@[1-9]\d{0,8}|map@r|r_precision")


class Evaluation(Frozen):
    """Retrieval by one network on one set of images."""

    l2: Metrics = Field(description="by raw Euclidean distance: recall@K, map@r, r_precision; fractions of 1")
    cosine: Metrics = Field(description="the same by cosine similarity")
    queries: SomeItems = Field(description="queries that have a partner, the ones that are scored")
    dropped: Count = Field(description="queries without a partner, left out")
    gallery: SomeItems = Field(description="items that a query is searched in")
    relevance: Literal["class", "teacher"] = Field(
        "class", description="to be found: its class, or the teacher's 10 nearest"
    )

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


class Point(Frozen):
    """One evaluation on the way, on validation classes."""

    step: Count
    evaluation: Evaluation


class Geometry(Frozen):
    """How the embeddings of what is searched lie in their space, by the main distance."""

    effective_dimension: NotNegative = Field(description="exp of the entropy of the singular values")
    spectral_decay: float = Field(description="KL divergence from the singular values to uniform ones, in nats")
    overlap: Fraction | None = Field(description="share of the 10 nearest that are the teacher's; null without one")
    rank_correlation: Correlation | None = Field(description="Spearman's, of distances to the teacher's")


class Record(Frozen):
    """A finished run: what was asked, what came out, what it took, and what it ran on."""

    id: str
    spec: Spec
    evaluation: Evaluation = Field(description="after the last step; never the best")
    asymmetric: Evaluation | None = Field(
        None, description="of queries mapped into the teacher's space; null without a map"
    )
    geometry: Geometry | None = Field(None, description="null in validation runs, and from before it was measured")
    curve: tuple[Point, ...] = Field((), description="evaluations on the way; validation runs only")
    loss: float | None = Field(description="mean over the last tenth of the steps; null where nothing is trained")
    parameters: Count
    seconds: dict[str, NotNegative] = Field(description="train: this student's own share of its group; evaluate")
    data: str = Field(description="fingerprint of the images' names, contents, labels; where there is no listing, that")
    listing: str = Field("", description="the same with sizes for contents; empty from before contents were read")
    weights: str = Field(description="digest of the network's weights")
    projector: str | None = Field(None, description="digest of the map into the teacher's space; null without one")
    teacher: str | None = Field(description="digest of the teacher's weights; null without a teacher")
    environment: dict[str, str] = Field(description="code, and the edition of the method's file; libraries, device")

    @property
    def dirty(self) -> bool:
        """Whether it was run with code that was not committed."""
        return self.environment.get("code", "").endswith("+dirty")

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

    def projector(self, spec: Spec) -> Path:
        """The map into the teacher's space, of a method that has one."""
        return self.checkpoints / f"{spec.id}.projector.safetensors"

    def checkpoint(self, spec: Spec, edition: str) -> Path:
        """Where a run in training is kept; another file for each edition of its method, so that no run is of two."""
        return self.checkpoints / f"{spec.id}.{edition}.pt"

    @contextlib.contextmanager
    def claimed(self, specs: Iterable[Spec]) -> Iterator[list[Spec]]:
        """Keep runs from other commands, which get them when this is over or the process dead; those that none of them has in hand."""
        with contextlib.ExitStack() as stack:
            held: list[Spec] = []
            for spec in specs:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self.checkpoints / f"{spec.id}.lock", timeout=0)
                with contextlib.suppress(Timeout):
                    stack.enter_context(lock)
                    held.append(spec)
            yield held
            for spec in filter(self.finished, held):  # whoever gets a lock that is deleted now sees that too
                (self.checkpoints / f"{spec.id}.lock").unlink(missing_ok=True)

    def clear_litter(self) -> None:
        """Delete what a killed process left of finished runs, checkpoints and locks, and what lay beside weights that are gone."""
        for folder in (self.records, self.checkpoints, self.failures):
            clear_partial(folder)
        for path in self.checkpoints.glob("*.*"):
            id, litter = path.name.partition(".")[0], False
            if path.suffix in (".pt", ".lock"):
                records = map(read_record, self.records.glob(f"*-{id}.json"))
                litter = any(self.has_weights(record.spec) for record in records)
            elif path.name.endswith((".sha256", ".projector.safetensors")):
                litter = not (self.checkpoints / f"{id}.safetensors").exists()
            if litter:
                path.unlink(missing_ok=True)

    def save_weights(self, spec: Spec, weights: bytes, projector: bytes | None = None) -> None:
        """Write a network's file, and that of its map into the teacher's space, each with its SHA-256 beside it."""
        for path, content in ((self.weights(spec), weights), (self.projector(spec), projector)):
            if content is not None:
                write_atomically(path, content)
                write_atomically(path.with_suffix(SUM), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")

    def read_weights(self, spec: Spec) -> bytes:
        """A network's file.

        Raises:
            BenchmarkError: it is not there, or not what was written.
        """
        path = self.weights(spec)
        try:
            content = read_regular(path)
        except FileNotFoundError:
            raise BenchmarkError(f"{spec.label} has no weights at {path}: its own run failed or was left out") from None
        said = read_regular(beside, MOST) if (beside := path.with_suffix(SUM)).exists() else b""
        # Older versions wrote no sum; the record knows them, unless they were trained again on another machine.
        if said.startswith(hashlib.sha256(content).hexdigest().encode()) or (
            self.done(spec) and digest(content) == read_record(self.path(spec)).weights
        ):
            return content
        raise BenchmarkError(f"the weights {path} are damaged; {self.again(spec)}")

    def again(self, spec: Spec) -> str:
        """How weights are had that are gone or damaged; those that others build on are trained again by whatever asks for these."""
        done = self.done(spec)
        return f"benchmark run --like {self.path(spec)} trains it again" if done else "the same command trains it again"

    def has_weights(self, spec: Spec) -> bool:
        """Whether a network's file is there and sound."""
        with contextlib.suppress(BenchmarkError):
            return bool(self.read_weights(spec))
        return False

    def bring(self, specs: Iterable[Spec], folders: Iterable[Path]) -> list[Record]:
        """Take over what some runs build on from other folders: a teacher is one run, whichever preset asked for it first.

        Only with weights that are the record's, and of a run that has no other record here, which students may have.

        Returns:
            What was taken over.
        """
        brought = []
        parents = dict.fromkeys(parent for spec in self.missing(specs) for parent in spec.parents)
        for spec, other in itertools.product(parents, [Store(folder, self.kind) for folder in folders]):
            if self.has_weights(spec) or not other.finished(spec):
                continue
            record, content = read_record(other.path(spec)), other.read_weights(spec)
            fits = not self.done(spec) or read_record(self.path(spec)) == record
            with self.claimed([spec] if fits and digest(content) == record.weights else []) as held:
                for each in held:
                    self.save_weights(each, content)
                    write_atomically(self.path(each), other.path(each).read_bytes())
                    brought.append(record)
        return brought

    def done(self, spec: Spec) -> bool:
        return self.path(spec).exists()

    def finished(self, spec: Spec) -> bool:
        """Whether nothing is left to do: there are a record and sound weights."""
        return self.done(spec) and self.has_weights(spec)

    def missing(self, specs: Iterable[Spec], *, weights: bool = False) -> list[Spec]:
        """What is still to run: specs without a record, and parents of those whose weights are not on this machine, or damaged.

        Args:
            weights: specs whose own weights are not here, or damaged, too.
        """
        result: dict[str, Spec] = {}
        sound = functools.cache(self.has_weights)

        def visit(spec: Spec) -> None:
            for parent in spec.parents:
                if not sound(parent):
                    visit(parent)
            result[spec.id] = spec

        for spec in specs:
            if not self.done(spec) or (weights and not sound(spec)):
                visit(spec)
        return list(result.values())

    def save(self, record: Record) -> None:
        (self.failures / f"{record.spec.method}-{record.id}.txt").unlink(missing_ok=True)
        # Six decimals for metrics and seconds; a spec is left alone, as its numbers are its identity.
        rounded = json.loads(record.model_dump_json(), parse_float=lambda number: round(float(number), 6))
        write_atomically(self.path(record.spec), sealed({**rounded, "spec": record.spec.model_dump(mode="json")}))

    def fail(self, spec: Spec, message: str, details: str) -> None:
        """Keep why a run failed, as text for people."""
        write_atomically(self.failures / f"{spec.method}-{spec.id}.txt", f"{message}\n\n{spec.canonical}\n\n{details}")

    def __iter__(self) -> Iterator[Record]:
        """All records, sorted by file name.

        Raises:
            BenchmarkError: a file is not a record, or its content is not what its name says, or it is of the other kind.
        """
        for path in sorted(self.records.glob("*.json")):
            record = read_record(path)
            if (kind := {"test": "runs", "validation": "tuning"}[record.spec.evaluation]) != self.kind:
                scored = f"{path} was scored on {record.spec.evaluation} classes"
                raise BenchmarkError(f"{scored}; move it to {self.folder / kind}")
            yield record


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
