"""Finished runs measured again from their weights: for what records of an earlier version lack, and for who doubts a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load

from ..data import cards
from ..data.cards import OwnImages
from ..data.layouts import load_images
from ..data.splits import DataSet
from ..errors import BenchmarkError, DataError
from ..files import digest, read_regular, write_atomically
from ..queries import check_queries
from ..record import ROUNDING, Evaluation, Record
from ..spec import waves
from ..store import Store
from .context import RunContext
from .evaluator import Evaluator, Measured
from .group import Failure, Outcome
from .initial import make_student
from .student import Student

# Of a metric: other machines round embeddings differently, and neighbours at equal distance change places.
TOLERANCE = 1e-3


def dataset_of(
    records: Sequence[Record], data_dir: Path, dataset: str | None = None, columns: str | None = None
) -> DataSet:
    """The images that the records were measured on.

    Args:
        dataset: where own data are, as `run` is told; without it, own images are looked for in the data folder.
        columns: of a table of images.

    Raises:
        DataError: they are missing, or others.
    """
    spec = records[0].spec
    name = dataset or spec.dataset
    if dataset is None and name not in cards.names():  # of own images a record does not say where they were
        folders = (folder for folder in (data_dir.resolve(), data_dir / name) if folder.name == name)
        folder = next(filter(Path.is_dir, folders), None)
        if folder is None:
            raise DataError(
                f"the images {name} are missing: {data_dir} is not that folder and does not hold it; "
                "name the folder by --data, or, where the command has it, what run was told by --dataset and --columns"
            )
        name = str(folder)
    unlabelled = records[0].evaluation.relevance == "teacher" and not spec.reads_vectors
    card = cards.load_card(name, data_dir, OwnImages(columns, closed=records[0].closed, unlabelled=unlabelled))
    images = load_images(card, data_dir, spec.subset)
    for record in records:
        if not record.was_of(images.fingerprint, images.listing):
            raise DataError(
                f"the images of {name if cards.is_own(card) else f'{name} in {data_dir}'} are not those of {record.spec.label}: "
                f"their fingerprint is {images.fingerprint}, that of its record {record.data}; give the table or folder it was trained on"
            )
    return images


def remeasure(records: Iterable[Record], context: RunContext) -> Iterator[Outcome]:
    """Measure of each record's network all that needs no training, and save what its record lacks.

    What was measured first stays. Queries in the teacher's space need the method's own map, which older versions did not keep: there
    they are not measured again.

    Yields:
        Each record as it is now; a Failure where its metrics are not found again, or something is missing.
    """
    by_id = {record.id: record for record in records}
    for wave in waves([record.spec for record in by_id.values()]):
        for group in wave:
            with context.store.claimed(group) as held:
                yield from (
                    Failure(spec, f"{spec.label}: another command has it in hand") for spec in group if spec not in held
                )
                yield from _group([by_id[spec.id] for spec in held], context)


def _group(records: Sequence[Record], context: RunContext) -> Iterator[Outcome]:
    contents: dict[str, bytes] = {}
    for record in records:
        try:
            _check(record, context)
            contents[record.id] = weights_of(record, context.store)
        except BenchmarkError as error:
            yield Failure(record.spec, str(error))
    records = [record for record in records if record.id in contents]
    if not records:
        return
    try:
        evaluator = Evaluator.open([record.spec for record in records], context)
    except BenchmarkError as error:  # as of a teacher whose code is gone
        yield from (Failure(record.spec, str(error)) for record in records)
        return
    for record in records:
        spec = record.spec
        try:
            student = make_student(spec, evaluator.teachers, evaluator.inputs, evaluator.dataset, context.device)
            student.encoder.load_state_dict(load(contents[spec.id]))
            mapped = load_projector(student, record, context.store)
        except BenchmarkError as error:
            yield Failure(spec, str(error))
            continue
        measured = evaluator.measure(student, mapped=mapped)
        off = difference(measured.evaluation, record.evaluation)
        if measured.asymmetric is not None and record.asymmetric is not None:
            off = max(off, difference(measured.asymmetric, record.asymmetric))
        if off > TOLERANCE:
            yield Failure(spec, f"{spec.label}: measured again, a metric differs from its record by {off:.4f}")
        else:
            yield _completed(record, measured, context.store, exact=off <= ROUNDING)


def _completed(record: Record, measured: Measured, store: Store, *, exact: bool) -> Record:
    """Save a record with what it lacked, its queries only if they are `exact`ly those of its metrics; and their file, if that is gone."""
    storage = record.storage or measured.storage
    update: dict[str, Any] = {"geometry": record.geometry or measured.geometry, "storage": storage}
    content = b"" if measured.queries is None else measured.queries.packed()
    if content and exact and record.queries is None:
        update |= {"by_class": measured.by_class, "queries": digest(content)}
    completed = record.model_copy(update=update)
    if content and completed.queries == digest(content):
        write_atomically(store.queries(record.spec), content)
    store.save(completed)
    return completed


def load_projector(student: Student, record: Record, store: Store) -> bool:
    """Give a student its map into the teacher's space, where that was kept; whether it was.

    Raises:
        BenchmarkError: the file is not the one of the record.
    """
    path = store.projector(record.spec)
    if record.projector is None or not path.exists():
        return False
    content = read_regular(path)
    if digest(content) != record.projector:
        raise BenchmarkError(f"{record.spec.label}: {path} is not the map of its record; delete it")
    student.method.load_state_dict(load(content))
    return True


def _check(record: Record, context: RunContext) -> None:
    """Raise a BenchmarkError where a record is of other images, or the networks that its run builds on are gone, or, if likeness to its
    teacher is to be measured, that is another one."""
    spec, store, images = record.spec, context.store, context.dataset
    if not record.was_of(images.fingerprint, images.listing):
        raise BenchmarkError(f"{spec.label}: it was run on other images ({record.data}) than these")
    if spec.builds_on_vectors:
        images.taught_by(spec)
    check_queries(record, store.queries(spec))
    for parent in spec.parents:
        if not store.weights(parent).exists():
            raise BenchmarkError(f"{spec.label}: the weights of {parent.label} are not on this machine")
    if spec.teacher is None or record.teacher is None or (record.geometry is not None and record.projector is None):
        return
    check_teacher(record, store)


def check_teacher(record: Record, store: Store) -> None:
    """Raise a BenchmarkError where a run's teacher is gone, or another one than it had."""
    teacher = record.spec.teacher
    if teacher is not None and record.teacher and digest(store.read_weights(teacher)) != record.teacher:
        path = store.weights(teacher)
        raise BenchmarkError(f"{record.spec.label}: {path} is not the teacher that it had; another was trained since")


def weights_of(record: Record, store: Store) -> bytes:
    """The file of a run's weights, which are those that its record was made with.

    Raises:
        BenchmarkError: they are not there, or others.
    """
    path, label = store.weights(record.spec), record.spec.label
    if not path.exists():
        raise BenchmarkError(f"{label}: its weights are not on this machine ({path}); {store.again(record.spec)}")
    content = read_regular(path)
    if digest(content) != record.weights:
        again = store.again(record.spec)
        raise BenchmarkError(f"{label}: {path} is not the network of its record; delete it: {again}")
    return content


def difference(measured: Evaluation, recorded: Evaluation) -> float:
    """The largest of any metric, as a fraction of 1."""
    pairs = ((measured.l2, recorded.l2), (measured.cosine, recorded.cosine))
    return max(abs(a[name] - b[name]) for a, b in pairs for name in a.keys() & b.keys())
