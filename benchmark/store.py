"""Finished runs as files in a folder. Done means that the record exists; it is written last and at once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from .errors import BenchmarkError
from .files import clear_partial, digest, read_regular, sealed, write_atomically
from .record import MOST, Record, read_record
from .spec import Spec

SUM = ".safetensors.sha256"  # of the file beside weights, as `sha256sum` writes and checks it


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

    def queries(self, spec: Spec) -> Path:
        """Retrieval query by query."""
        return self.checkpoints / f"{spec.id}.queries.npz"

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
            elif path.name.endswith((".sha256", ".projector.safetensors", ".queries.npz")):
                litter = not (self.checkpoints / f"{id}.safetensors").exists()
            if litter:
                path.unlink(missing_ok=True)

    def save_weights(
        self, spec: Spec, weights: bytes, projector: bytes | None = None, queries: bytes | None = None
    ) -> None:
        """Write a network's file, and that of its map into the teacher's space, each with its SHA-256 beside it; and its queries."""
        self.queries(spec).unlink(missing_ok=True)
        if queries is not None:
            write_atomically(self.queries(spec), queries)
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
            record = read_record(other.path(spec))
            fits = not self.done(spec) or read_record(self.path(spec)) == record
            with self.claimed([spec] if fits and digest(other.read_weights(spec)) == record.weights else []) as held:
                brought += [record for _ in held if self.take(record, other)]
        return brought

    def take(self, record: Record, other: Store) -> bool:
        """Take over a record from another folder, with what lies beside it and is the record's; whether its weights are there and are."""
        spec = record.spec
        weights = other.has_weights(spec) and digest(content := other.read_weights(spec)) == record.weights
        if weights:
            beside = [(other.projector(spec), record.projector), (other.queries(spec), record.queries)]
            contents = [(read_regular(path) if path.exists() else b"", known) for path, known in beside]
            self.save_weights(spec, content, *(each if digest(each) == known else None for each, known in contents))
        write_atomically(self.path(spec), other.path(spec).read_bytes())
        return weights

    def done(self, spec: Spec) -> bool:
        return self.path(spec).exists()

    def finished(self, spec: Spec) -> bool:
        """Whether nothing is left to do: there are a record and sound weights."""
        return self.done(spec) and self.has_weights(spec)

    def missing(self, specs: Iterable[Spec], *, weights: bool = False) -> list[Spec]:
        """List what is still to run: specs without a record, and parents of those whose weights are not on this machine, or damaged.

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
        # Six decimals for metrics and seconds; a spec is left alone, as its numbers are its identity, and a history, as rates are small.
        rounded = json.loads(record.model_dump_json(), parse_float=lambda number: round(float(number), 6))
        exact = record.model_dump(mode="json", include={"spec", "history"})
        write_atomically(self.path(record.spec), sealed({**rounded, **exact}))

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
