"""From a group of specs to saved records: networks, methods, training, evaluation."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from .. import methods
from ..errors import BenchmarkError
from ..files import digest
from ..machine import Threads
from ..methods.plugins import words_of
from ..networks.weights import serialized
from ..record import Declared, Evaluation, History, Point, Record, read_record
from ..spec import Spec, Stream
from .context import RunContext
from .evaluator import Evaluator
from .initial import make_student, prepare_methods
from .loop import Watch, fit
from .student import Student, peek
from .trial import scratch_pass


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished. Printed and kept as text, never as a result."""

    spec: Spec
    message: str
    details: str = ""


Outcome = Record | Failure
# Held while a group trains: students draw from torch's global generator, which is set to a stream's state before each step.
_TRAINING = threading.Lock()


def run(
    group: Sequence[Spec],
    context: RunContext,
    watch: Watch = lambda step, losses: None,
    checkpoint_every: float = 120.0,
    threads: Threads | None = None,
    count: int | None = None,
) -> Iterator[Outcome]:
    """Train and evaluate a group of one stream, but for the runs that another command has in hand or has finished meanwhile.

    Args:
        watch: called after each step with the students' losses by id.
        checkpoint_every: seconds.
        threads: chooses their number for a group that trains whole networks on the CPU.
        count: of threads, where it is to be that one.

    Yields:
        The record of each run, when it is saved, or why there is none.

    Raises:
        Interrupted: stopped by the user; checkpoints are written.
        BenchmarkError: what concerns the whole group (its data, its teacher) is not usable; or another group trains in this process.
    """
    with _alone(), context.store.claimed(group) as held:
        if not (todo := [spec for spec in held if not context.store.finished(spec)]):
            return
        evaluator = Evaluator.open(todo, context)
        bases = {spec.id: _basis(spec, evaluator) for spec in todo}
        kept: int | None = None
        for spec in todo:
            kept = _sift(spec, bases[spec.id], kept, context) or kept
        first = group[0]
        if threads is None or first.on_features or first.reads_vectors or context.device.type != "cpu":
            yield from _train(todo, evaluator, bases, watch, checkpoint_every)
            return

        passes = functools.partial(scratch_pass, first, context.device)
        try:
            threads.begin(passes, kept if count is None else count)
            yield from _train(todo, evaluator, bases, watch, checkpoint_every)
        finally:
            threads.end()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """This process's one place to train. Raises a BenchmarkError where another group has it."""
    if not _TRAINING.acquire(blocking=False):
        raise BenchmarkError(
            "two groups cannot train in one process at a time, as their random numbers would mix: "
            "an executor that runs several at a time gives each a process of its own"
        )
    try:
        yield
    finally:
        _TRAINING.release()


def _train(
    specs: Sequence[Spec], evaluator: Evaluator, bases: Mapping[str, dict[str, str]], watch: Watch, every: float
) -> Iterator[Outcome]:
    context, teachers = evaluator.context, evaluator.teachers
    students: list[Student] = []
    for spec in specs:
        try:
            student = make_student(spec, teachers, evaluator.inputs, evaluator.dataset, context.device)
            student.basis = bases[spec.id]
            students.append(student)
        except Exception as error:  # a method that cannot be made is no reason to lose the others
            yield failure_of(spec, error)
    failed = prepare_methods(students, evaluator)
    if specs[0].steps and (ready := [student for student in students if student.spec.id not in failed]):
        failed |= fit(
            ready,
            teachers,
            evaluator.inputs.draw,
            context.checkpoint,
            device=context.device,
            every=every,
            milestones=_milestones(specs[0], evaluator),
            watch=watch,
        )
    for student in students:
        met = failed.get(student.spec.id)
        yield _finish(student, evaluator) if met is None else failure_of(student.spec, met)


def _milestones(stream: Stream, evaluator: Evaluator) -> dict[int, Callable[[Student], object]]:
    """Steps after which a validation run is scored on the way: an eighth, a quarter, half. Test classes are seen once, at the end."""
    parts = (8, 4, 2) if stream.evaluation == "validation" else ()
    steps = {stream.steps // part for part in parts} - {0}
    return {step: lambda student: evaluator(student).model_dump() for step in steps}


def _basis(spec: Spec, evaluator: Evaluator) -> dict[str, str]:
    """Fingerprints of what a run is trained on and under, by what they are of; where one changes, it is another run."""
    store = evaluator.context.store
    return {
        "device": evaluator.context.device.type,
        "images": evaluator.dataset.fingerprint,
        **evaluator.inputs.sources(spec),
        **{f"weights of {parent.label}": digest(store.read_weights(parent)) for parent in spec.parents},
    }


def _sift(spec: Spec, basis: Mapping[str, str], threads: int | None, context: RunContext) -> int | None:
    """Drop, and tell, what a run cannot go on from as it began.

    Args:
        threads: their number for this group, where another checkpoint has one.

    Returns:
        The number that the checkpoint has, if the run goes on from it on the CPU.
    """
    path, again = context.checkpoint(spec), "it starts again from step 0"
    for older in set(context.store.checkpoints.glob(f"{spec.id}.*.pt")) - {path}:
        context.say(f"{spec.label}: its method was edited since its checkpoint; {again}")
        older.unlink(missing_ok=True)
    try:
        before = peek(path)
    except Exception:  # there is none; or it is damaged, which the student meets that is to go on from it
        return None
    on_cpu = context.device.type == "cpu"
    known, counts = before.get("basis", {}), before.get("threads", [])
    changed = [name for name in basis if known.get(name) != basis[name]]
    if on_cpu and threads is not None and counts[-1:] != [threads]:
        changed.append("threads")
    if changed:
        why = f"of other {' and '.join(changed)}" if known else "of an older version"
        context.say(f"{spec.label}: its checkpoint is {why}; {again}")
        path.unlink(missing_ok=True)
        return None
    return counts[-1] if on_cpu and counts else None


def failure_of(spec: Spec, error: Exception) -> Failure:
    """Tell of a run that an error ended: its message in one line."""
    message = str(error) if isinstance(error, BenchmarkError) else f"{spec.label}: {words_of(error)}"
    return Failure(spec, message, "".join(traceback.format_exception(error)))


def _finish(student: Student, evaluator: Evaluator) -> Outcome:
    """Evaluate a trained student, and save its weights and its record."""
    spec, context = student.spec, evaluator.context
    started = time.perf_counter()
    try:
        measured = evaluator.measure(student)
        # Without the method's map, queries in the teacher's space could never be measured again.
        projector = serialized(student.method) if measured.asymmetric is not None else None
    except Exception as error:  # a map of the method's own is part of it
        return failure_of(spec, error)
    weights = serialized(student.encoder)
    queries = None if measured.queries is None else measured.queries.packed()
    threads = ", ".join(map(str, student.threads or [torch.get_num_threads()]))
    record = Record(
        id=spec.id,
        spec=spec,
        **measured._asdict() | {"queries": None if queries is None else digest(queries)},
        history=History.of(student.history),
        curve=tuple(Point(step=step, evaluation=Evaluation.model_validate(value)) for step, value in student.curve),
        declared=Declared.model_validate(
            methods.entry(spec.method).said | {"outside": methods.is_outside(spec.method)}
        ),
        loss=sum(student.tail) / len(student.tail) if student.tail else None,
        parameters=sum(p.numel() for p in student.encoder.parameters()),
        seconds={"train": student.seconds, "evaluate": time.perf_counter() - started},
        **evaluator.dataset.identity,
        weights=digest(weights),
        projector=None if projector is None else digest(projector),
        teacher=digest(context.store.read_weights(spec.teacher)) if spec.teacher is not None else None,
        environment={**context.environment, "threads": threads, "method": methods.edition(spec.method)},
        sources=dict(context.sources),
    )
    stays = _staying(record, context)
    kept = stays is None or stays.queries == record.queries
    context.store.save_weights(spec, weights, projector, queries if kept else None)
    if stays is None:
        context.store.save(record)
    context.checkpoint(spec).unlink(missing_ok=True)
    return record


def _staying(record: Record, context: RunContext) -> Record | None:
    """The record that stays, of a run that was trained again for its weights: these are the same, or students have the first ones."""
    store, spec = context.store, record.spec
    before = read_record(store.path(spec)) if store.done(spec) else None
    if before is None or before.weights == record.weights:
        return before
    recall = 100 * before.metrics["recall@1"]
    context.say(
        f"{spec.label}: its weights differ from those of its record, Recall@1 {recall:.2f} %: another machine rounds differently"
    )
    if all(other.teacher != before.weights for other in store):
        return None
    context.say("that record stays, for the students that it has; the tables mark students of different teachers")
    return before
