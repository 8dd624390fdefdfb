"""Finished runs measured again from their weights: for what records of an earlier version lack, and for who doubts a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from safetensors.torch import load

from ..errors import BenchmarkError
from ..files import digest, read_regular
from ..spec import waves
from ..store import Evaluation, Record, Store
from .context import Workspace
from .group import Failure, Outcome, Search, make_student
from .loop import Student

TOLERANCE = (
    1e-3  # of a metric: other machines round embeddings differently, and neighbours at equal distance change places
)


def remeasure(records: Iterable[Record], workspace: Workspace) -> Iterator[Outcome]:
    """Each record with all that can be measured of its network without training; a Failure where its metrics are not found again.

    What was measured first stays: only what is missing is added. Queries in the teacher's space need the method's own map, which
    older versions did not keep: there they are not measured again.
    """
    by_id = {record.id: record for record in records}
    for wave in waves([record.spec for record in by_id.values()]):
        for group in wave:
            yield from _group([by_id[spec.id] for spec in group], workspace)


def _group(records: Sequence[Record], workspace: Workspace) -> Iterator[Outcome]:
    contents: dict[str, bytes] = {}
    images = workspace.dataset
    for record in records:
        try:
            if not record.was_of(images.fingerprint, images.listing):
                raise BenchmarkError(f"{record.spec.label}: it was run on other images ({record.data}) than these")
            contents[record.id] = weights_of(record, workspace.store)
            _check_parents(record, workspace.store)
        except BenchmarkError as error:
            contents.pop(record.id, None)
            yield Failure(record.spec, str(error))
    records = [record for record in records if record.id in contents]
    if not records:
        return
    search = Search.open([record.spec for record in records], workspace)
    for record in records:
        spec = record.spec
        student = make_student(spec, search.teachers, search.inputs, search.dataset, workspace.device)
        student.encoder.load_state_dict(load(contents[spec.id]))
        try:
            mapped = _load_projector(student, record, workspace.store)
        except BenchmarkError as error:
            yield Failure(spec, str(error))
            continue
        measured = search.measure(student, mapped=mapped)
        off = difference(measured.evaluation, record.evaluation)
        if measured.asymmetric is not None and record.asymmetric is not None:
            off = max(off, difference(measured.asymmetric, record.asymmetric))
        if off > TOLERANCE:
            yield Failure(spec, f"{spec.label}: measured again, a metric differs from its record by {off:.4f}")
        else:
            yield record.model_copy(update={"geometry": record.geometry or measured.geometry})


def _load_projector(student: Student, record: Record, store: Store) -> bool:
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


def _check_parents(record: Record, store: Store) -> None:
    """Raise a BenchmarkError where the networks that a run builds on are gone, or, if likeness to its teacher is to be measured, that is
    another one."""
    for parent in record.spec.parents:
        if not store.weights(parent).exists():
            raise BenchmarkError(f"{record.spec.label}: the weights of {parent.label} are not on this machine")
    teacher = record.spec.teacher
    if teacher is None or record.teacher is None or (record.geometry is not None and record.projector is None):
        return
    if digest(store.read_weights(teacher)) != record.teacher:
        path = store.weights(teacher)
        raise BenchmarkError(f"{record.spec.label}: {path} is not the teacher that it had; another was trained since")


def weights_of(record: Record, store: Store) -> bytes:
    """The file of a run's weights, which are those that its record was made with.

    Raises:
        BenchmarkError: they are not there, or others.
    """
    path = store.weights(record.spec)
    if not path.exists():
        raise BenchmarkError(
            f"{record.spec.label}: its weights are not on this machine ({path}); {store.again(record.spec)}"
        )
    content = read_regular(path)
    if digest(content) != record.weights:
        raise BenchmarkError(
            f"{record.spec.label}: {path} is not the network of its record; delete it: {store.again(record.spec)}"
        )
    return content


def difference(ours: Evaluation, theirs: Evaluation) -> float:
    """The largest of any metric, as a fraction of 1."""
    pairs = ((ours.l2, theirs.l2), (ours.cosine, theirs.cosine))
    return max(abs(a[name] - b[name]) for a, b in pairs for name in a.keys() & b.keys())
