"""From a group of specs to records: data, networks, methods, training, evaluation."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import methods
from .backbones import Network
from .data import DataSet
from .data.batches import check as check_batches
from .data.vectors import VectorRows
from .errors import BenchmarkError, DataError
from .evaluate import NEAREST, agreement, evaluate
from .inputs import Inputs, open_inputs
from .spec import Spec, Stream, derive
from .store import Evaluation, Point, Record, digest, write_atomically
from .train import Student, Watch, embed, fit, optimizer, seeded
from .weights import serialized
from .workspace import Workspace

CALIBRATION = 256  # training images that set the scale of a head's input


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished. Printed and kept as text, never as a result."""

    spec: Spec
    message: str
    details: str = ""


Outcome = Record | Failure


def run(
    group: Sequence[Spec],
    workspace: Workspace,
    watch: Watch = lambda step, losses: None,
    checkpoint_every: float = 120.0,
) -> Iterator[Outcome]:
    """Train and evaluate a group of one stream; weights are saved here, records by the caller.

    Args:
        watch: called after each step with the students' losses by id.
        checkpoint_every: seconds.

    Raises:
        Interrupted: stopped by the user; checkpoints are written.
        BenchmarkError: what concerns the whole group (its data, its teacher) is not usable.
    """
    stream, device = group[0].stream, workspace.device
    dataset = workspace.of(stream)
    inputs = open_inputs(dataset, group, workspace)
    teachers = {spec.teacher.id: inputs.frozen(spec.teacher) for spec in group if spec.teacher is not None}
    checkpoints = workspace.store.checkpoints

    students = [make_student(spec, teachers, inputs, dataset, device) for spec in group]
    prepare(students, teachers, inputs, dataset, checkpoints, device)

    def score(student: Student) -> Evaluation:
        return retrieval(student.spec, student.encoder, inputs, dataset, workspace)

    failed: dict[str, Exception] = {}
    if stream.steps:
        failed.update(
            fit(
                students,
                teachers,
                inputs.draw,
                checkpoints,
                device=device,
                every=checkpoint_every,
                milestones=_milestones(stream, score),
                watch=watch,
            )
        )
    for student in students:
        error = failed.get(student.spec.id)
        yield _failure(student.spec, error) if error is not None else _finish(student, score, dataset, workspace)
        # Only now: whoever asks for the next outcome has saved this one.
        (checkpoints / f"{student.spec.id}.pt").unlink(missing_ok=True)


def _failure(spec: Spec, error: Exception) -> Failure:
    known = isinstance(error, BenchmarkError)
    message = str(error) if known else f"{spec.label}: {type(error).__name__}: {error}".split("\n")[0]
    return Failure(spec, message, "".join(traceback.format_exception(error)))


def _finish(
    student: Student, score: Callable[[Student], Evaluation], dataset: DataSet, workspace: Workspace
) -> Outcome:
    """Evaluate a trained student and write its weights; its record, or why there is none."""
    spec = student.spec
    started = time.perf_counter()
    try:
        evaluation = score(student)
    except BenchmarkError as error:
        return _failure(spec, error)
    weights = serialized(student.encoder)
    write_atomically(workspace.store.weights(spec), weights)
    return Record(
        id=spec.id,
        spec=spec,
        evaluation=evaluation,
        curve=tuple(Point(step=step, evaluation=Evaluation.model_validate(value)) for step, value in student.curve),
        loss=sum(student.tail) / len(student.tail) if student.tail else None,
        parameters=sum(p.numel() for p in student.encoder.parameters()),
        seconds={"train": student.seconds, "evaluate": time.perf_counter() - started},
        data=dataset.fingerprint,
        weights=digest(weights),
        teacher=digest(workspace.store.weights(spec.teacher).read_bytes()) if spec.teacher is not None else None,
        environment=dict(workspace.environment),
    )


def check(specs: Sequence[Spec], workspace: Workspace) -> None:
    """Meet before the first step what would otherwise end a run after its last: decodes all images that `specs` read.

    Raises:
        UsageError: a batch cannot be filled.
        DataError: an image cannot be read, or no query has a partner.
        BenchmarkError: a method's file cannot be imported.
    """
    for name in dict.fromkeys(spec.method for spec in specs):
        methods.load(name)
    for stream in dict.fromkeys(spec.stream for spec in specs):
        if stream.steps:
            check_batches(workspace.of(stream).train.labels, stream)
    for stream in {(spec.evaluation, spec.resize): spec.stream for spec in specs}.values():
        dataset = workspace.of(stream)
        if not dataset.labelled:
            if len(dataset.query) < NEAREST + 2:
                raise DataError(
                    f"{dataset.card.name}: {len(dataset.query)} rows are searched; to be told apart by the teacher's "
                    f"{NEAREST} nearest neighbours they must be at least {NEAREST + 2}"
                )
            continue
        counts = np.bincount(dataset.query.labels) if dataset.gallery is None else np.bincount(dataset.gallery.labels)
        least = 2 if dataset.gallery is None else 1
        if not (np.append(counts, 0)[np.minimum(dataset.query.labels, len(counts))] >= least).any():
            raise DataError(f"{dataset.card.name}: no query has another image of its class to be found")
        for split in dataset.splits:
            if not isinstance(split.images, VectorRows):
                workspace.images(split, stream.resize)


def make_student(
    spec: Spec, teachers: Mapping[str, Network], inputs: Inputs, dataset: DataSet, device: torch.device
) -> Student:
    """A student at step 0. Its initial weights depend on seed, network and dimension alone: equal for all methods."""
    shape = (spec.backbone, spec.dim, *((spec.hidden,) if spec.hidden else ()))
    with seeded(derive(spec.seed, "init", *shape)):
        encoder = inputs.encoder(spec).to(device)
    calibrate(encoder, spec, inputs, dataset, device)
    teacher = teachers[spec.teacher.id].widths if spec.teacher is not None else None
    with seeded(derive(spec.seed, "method init", spec.method, spec.dim)):
        method = methods.load(spec.method)(encoder.widths, teacher, len(dataset.train.names), **spec.params).to(device)
    return Student(spec, encoder, method, optimizer(spec, encoder, method))


def calibrate(encoder: Network, spec: Spec, inputs: Inputs, dataset: DataSet, device: torch.device) -> None:
    """Set the scale of the head's input from a fixed sample of training images."""
    rows = np.random.default_rng(derive(spec.seed, "calibrate")).permutation(len(dataset.train))[:CALIBRATION]
    sample = torch.from_numpy(inputs.plain(spec, dataset.train)[np.sort(rows)]).to(device)
    encoder.train(spec.steps > 0)  # as it will be used next: an untrained network is only evaluated
    with seeded(derive(spec.seed, "calibrate", spec.backbone)):
        encoder.calibrate(sample)


def prepare(
    students: Sequence[Student],
    teachers: Mapping[str, Network],
    inputs: Inputs,
    dataset: DataSet,
    checkpoints: Path,
    device: torch.device,
) -> None:
    """Show the teacher's embeddings of the training images to the methods that want them (not to those with a checkpoint)."""
    shown: dict[str, torch.Tensor] = {}
    for student in students:
        teacher = student.spec.teacher
        if teacher is None or not student.method.prepares or (checkpoints / f"{student.spec.id}.pt").exists():
            continue
        if teacher.id not in shown:
            plain = inputs.plain(teacher, dataset.train)
            shown[teacher.id] = torch.from_numpy(embed(teacher, teachers[teacher.id], plain, device)).to(device)
        student.method.prepare(shown[teacher.id], torch.from_numpy(dataset.train.labels).to(device))


def retrieval(spec: Spec, encoder: Network, inputs: Inputs, dataset: DataSet, workspace: Workspace) -> Evaluation:
    """The network's retrieval on the data set's query (and gallery) images."""
    device = workspace.device
    query = embed(spec, encoder, inputs.plain(spec, dataset.query), device)
    at = dataset.card.recall_at
    if not dataset.labelled:
        return agreement(query, workspace.targets(spec.evaluation), at)
    if dataset.gallery is None:
        return evaluate(query, dataset.query.labels, at=at)
    gallery = embed(spec, encoder, inputs.plain(spec, dataset.gallery), device)
    return evaluate(query, dataset.query.labels, gallery, dataset.gallery.labels, at=at)


def _milestones(stream: Stream, score: Callable[[Student], Evaluation]) -> dict[int, Callable[[Student], object]]:
    """Steps after which a validation run is scored on the way: an eighth, a quarter, half. Test classes are seen once, at the end."""
    if stream.evaluation == "test":
        return {}
    steps = {stream.steps // part for part in (8, 4, 2)} - {0}
    return {step: lambda student: score(student).model_dump() for step in steps}
