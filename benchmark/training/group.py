"""From a group of specs to records: data, networks, methods, training, evaluation."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from .. import methods
from ..data.batches import check as check_batches
from ..data.splits import DataSet, Split
from ..data.vectors import VectorRows
from ..errors import BenchmarkError, DataError, UsageError
from ..files import digest
from ..methods.posthoc import PostHoc
from ..networks.encoder import Compressed, Network
from ..networks.weights import serialized
from ..retrieval.geometry import Space, geometry
from ..retrieval.metrics import NEAREST, agreement, evaluate
from ..retrieval.search import Floats
from ..spec import Spec, Stream, derive
from ..store import Evaluation, Geometry, Point, Record, Store
from .context import Workspace
from .loop import Student, Watch, embed, fit, optimizer, peek, seeded
from .streams import Inputs, open_inputs

CALIBRATION = 256  # training images that set the scale of a head's input


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished. Printed and kept as text, never as a result."""

    spec: Spec
    message: str
    details: str = ""


Outcome = Record | Failure
Begin = Callable[[int | None], None]


def run(
    group: Sequence[Spec],
    workspace: Workspace,
    watch: Watch = lambda step, losses: None,
    checkpoint_every: float = 120.0,
    begin: Begin = lambda kept: None,
) -> Iterator[Outcome]:
    """Train and evaluate a group of one stream; weights are saved here, records by the caller.

    Args:
        watch: called after each step with the students' losses by id.
        checkpoint_every: seconds.
        begin: called before any weights are made, with the number of threads of a student's checkpoint, where there is one.

    Raises:
        Interrupted: stopped by the user; checkpoints are written.
        BenchmarkError: what concerns the whole group (its data, its teacher) is not usable.
    """
    stream, device = group[0].stream, workspace.device
    search = Search.open(group, workspace)
    inputs, dataset, teachers = search.inputs, search.dataset, search.teachers
    store = workspace.store

    bases = {spec.id: basis(spec, search) for spec in group}
    kept: int | None = None
    for spec in group:
        kept = _sift(spec, bases[spec.id], kept, workspace) or kept
    begin(kept)
    students, broken = [], []
    for spec in group:
        try:
            students.append(make_student(spec, teachers, inputs, dataset, device))
            students[-1].basis = bases[spec.id]
        except Exception as reason:  # a method that cannot be made is no reason to lose the others
            broken.append(_failure(spec, reason))
    yield from broken
    failed = prepare(students, teachers, inputs, dataset, store, device)
    ready = [student for student in students if student.spec.id not in failed]
    if stream.steps and ready:
        failed.update(
            fit(
                ready,
                teachers,
                inputs.draw,
                store.checkpoint,
                device=device,
                every=checkpoint_every,
                milestones=_milestones(stream, search),
                watch=watch,
            )
        )
    for student in students:
        error = failed.get(student.spec.id)
        outcome = _failure(student.spec, error) if error is not None else _finish(student, search)
        yield outcome
        if isinstance(outcome, Record):  # only now: whoever asks for the next outcome has saved this one
            store.drop_checkpoints(student.spec)


def basis(spec: Spec, search: Search) -> dict[str, str]:
    """Fingerprints of what a run is trained on and under, by what they are of; where one changes, it is another run."""
    return {
        "device": search.workspace.device.type,
        "images": search.dataset.fingerprint,
        **search.inputs.sources(spec),
        **{
            f"weights of {parent.label}": digest(search.workspace.store.read_weights(parent)) for parent in spec.parents
        },
    }


def _sift(spec: Spec, basis: Mapping[str, str], threads: int | None, workspace: Workspace) -> int | None:
    """Drop, and tell, what a run cannot go on from as it began.

    Args:
        threads: their number for this group, where another checkpoint has one.

    Returns:
        The number that the checkpoint has, if the run goes on from it on the CPU.
    """
    path, label = workspace.store.checkpoint(spec), spec.label
    for older in set(workspace.store.checkpoints.glob(f"{spec.id}.*.pt")) - {path}:
        workspace.progress(f"{label}: its method was edited since its checkpoint; it starts again from step 0", 0, 0)
        older.unlink(missing_ok=True)
    try:
        before = peek(path)
    except Exception:  # there is none; or it is damaged, which the student meets that is to go on from it
        return None
    on_cpu = workspace.device.type == "cpu"
    changed = [name for name in basis if before.basis.get(name) != basis[name]] if before.basis else ["basis"]
    if on_cpu and threads is not None and before.threads[-1:] != [threads]:
        changed.append("threads")
    if changed:
        why = f"of other {' and '.join(changed)}" if before.basis else "of an older version"
        workspace.progress(f"{label}: its checkpoint is {why}; it starts again from step 0", 0, 0)
        path.unlink(missing_ok=True)
        return None
    return before.threads[-1] if on_cpu and before.threads else None


def _failure(spec: Spec, error: Exception) -> Failure:
    known = isinstance(error, BenchmarkError)
    message = str(error) if known else f"{spec.label}: {type(error).__name__}: {error}".split("\n")[0]
    return Failure(spec, message, "".join(traceback.format_exception(error)))


def _finish(student: Student, search: Search) -> Outcome:
    """Evaluate a trained student and write its weights; its record, or why there is none."""
    spec, store = student.spec, search.workspace.store
    started = time.perf_counter()
    try:
        measured = search.measure(student)
        # Without the method's map, queries in the teacher's space could never be measured again.
        projector = serialized(student.method) if measured.asymmetric is not None else None
    except Exception as error:  # a map of the method's own is part of it
        return _failure(spec, error)
    weights = serialized(student.encoder)
    store.save_weights(spec, weights, projector)
    threads = ", ".join(map(str, student.threads or [torch.get_num_threads()]))
    return Record(
        id=spec.id,
        spec=spec,
        **measured._asdict(),
        curve=tuple(Point(step=step, evaluation=Evaluation.model_validate(value)) for step, value in student.curve),
        loss=sum(student.tail) / len(student.tail) if student.tail else None,
        parameters=sum(p.numel() for p in student.encoder.parameters()),
        seconds={"train": student.seconds, "evaluate": time.perf_counter() - started},
        data=search.dataset.fingerprint,
        listing=search.dataset.listing,
        weights=digest(weights),
        projector=None if projector is None else digest(projector),
        teacher=digest(store.read_weights(spec.teacher)) if spec.teacher is not None else None,
        environment={**search.workspace.environment, "threads": threads, "method": methods.edition(spec.method)},
    )


def check(specs: Sequence[Spec], workspace: Workspace) -> None:
    """Meet before the first step what would otherwise end a run after its last, as far as it takes no time.

    Raises:
        UsageError: a batch cannot be filled.
        DataError: no query has a partner.
        BenchmarkError: a method's file cannot be imported.
    """
    for name in dict.fromkeys(spec.method for spec in specs):
        methods.load(name)
    for spec in specs:
        if spec.method == "pca" and len(workspace.of(spec).train) < spec.dim:
            raise UsageError(
                f"pca: {len(workspace.of(spec).train)} training images span fewer than {spec.dim} dimensions"
            )
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


def decode(specs: Sequence[Spec], workspace: Workspace) -> None:
    """Decode all images that `specs` read: the last one must not end a run after its last step.

    Raises:
        DataError: an image cannot be read.
    """
    for stream in {(spec.evaluation, spec.resize): spec.stream for spec in specs}.values():
        for split in workspace.of(stream).splits:
            if not isinstance(split.images, VectorRows):
                workspace.images(split, stream.resize)


def make_student(
    spec: Spec, teachers: Mapping[str, Network], inputs: Inputs, dataset: DataSet, device: torch.device
) -> Student:
    """A student at step 0. Its initial weights depend on seed, network, dimension and generation alone: equal for all methods.

    What a method itself learns begins alike in all generations.
    """
    members = [teachers[member.id] for member in spec.members]
    teacher = members[0].widths if members else None
    make = functools.partial(
        methods.load(spec.method), teacher=teacher, classes=len(dataset.train.names), **spec.params
    )
    if methods.entry(spec.method).is_posthoc:
        assert teacher is not None
        with seeded(derive(spec.seed, "method init", spec.method, spec.dim)):
            method = make(teacher._replace(embedding=spec.dim)).to(device)
        assert isinstance(method, PostHoc)
        network = Compressed(members, method, spec.dim, normalize=spec.normalize)
        return Student(spec, network, method, optimizer(spec, network, method))
    shape = (spec.backbone, spec.dim, *((spec.hidden,) if spec.hidden else ()))
    if spec.generation:  # each generation starts anew, and none where the teacher did
        shape = (*shape, "generation", spec.generation)
    with seeded(derive(spec.seed, "init", *shape)):
        encoder = inputs.encoder(spec).to(device)
    calibrate(encoder, spec, inputs, dataset, device)
    with seeded(derive(spec.seed, "method init", spec.method, spec.dim)):
        method = make(encoder.widths).to(device)
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
    store: Store,
    device: torch.device,
) -> dict[str, Exception]:
    """Show the teacher's embeddings of the training images to the methods that want them (not to those with a checkpoint).

    Returns:
        The students whose methods failed at it, by id.
    """
    shown: dict[str, torch.Tensor] = {}
    failed: dict[str, Exception] = {}
    for student in students:
        teacher = student.spec.teacher
        if teacher is None or not student.method.prepares or store.checkpoint(student.spec).exists():
            continue
        if teacher.id not in shown:
            plain = inputs.plain(teacher, dataset.train)
            shown[teacher.id] = torch.from_numpy(embed(teacher, teachers[teacher.id], plain, device)).to(device)
        try:
            student.method.prepare(shown[teacher.id], torch.from_numpy(dataset.train.labels).to(device))
        except Exception as error:
            failed[student.spec.id] = error
    return failed


class Measured(NamedTuple):
    """What a record says of retrieval, by its fields' names."""

    evaluation: Evaluation
    asymmetric: Evaluation | None
    geometry: Geometry | None


@dataclass
class Search:
    """Retrieval among the data set's query (and gallery) images, by the networks of a group."""

    inputs: Inputs
    dataset: DataSet
    workspace: Workspace
    teachers: Mapping[str, Network]
    _spaces: dict[str, Space] = field(default_factory=dict)  # of teachers

    @classmethod
    def open(cls, group: Sequence[Spec], workspace: Workspace) -> Search:
        """Of a group of one stream. Raises a BenchmarkError where its data or a teacher are not usable."""
        dataset = workspace.of(group[0].stream)
        inputs = open_inputs(dataset, group, workspace)
        members = dict.fromkeys(member for spec in group for member in spec.members)
        return cls(inputs, dataset, workspace, {member.id: inputs.frozen(member) for member in members})

    def __call__(self, student: Student) -> Evaluation:
        """Student against student."""
        return self._evaluate(self.space(student.spec, student.encoder))

    def measure(self, student: Student, *, mapped: bool = True) -> Measured:
        """All that a record says of retrieval; `mapped`: the student's queries in the teacher's gallery too, where it maps into it."""
        spec, space = student.spec, self.space(student.spec, student.encoder)
        evaluation = self._evaluate(space)
        if spec.evaluation == "validation":
            return Measured(evaluation, None, None)
        teacher = None
        if spec.teacher is not None:
            if spec.teacher.id not in self._spaces:
                self._spaces[spec.teacher.id] = self.space(spec.teacher, self.teachers[spec.teacher.id])
            teacher = self._spaces[spec.teacher.id]
        asymmetric = None
        if mapped and teacher is not None and student.method.aligns:
            student.method.eval()
            with torch.no_grad():
                query = student.method.to_teacher_space(torch.from_numpy(space.query).to(self.workspace.device))
            assert query is not None
            asymmetric = self._evaluate(Space(query.cpu().numpy(), teacher.gallery, teacher.metric, teacher.same))
        return Measured(evaluation, asymmetric, geometry(space, teacher))

    def space(self, spec: Spec, network: Network) -> Space:
        """A network's embeddings of what is searched, and of what it is searched in."""
        query = self._embed(spec, network, self.dataset.query)
        same = self.dataset.gallery is None
        stored = network.as_gallery()
        gallery = query if same and stored is network else self._embed(spec, stored, self._searched)
        return Space(query, gallery, "cosine" if spec.normalize else "l2", same)

    @property
    def _searched(self) -> Split:
        return self.dataset.query if self.dataset.gallery is None else self.dataset.gallery

    def _embed(self, spec: Spec, network: Network, split: Split) -> Floats:
        return embed(spec, network, self.inputs.plain(spec, split), self.workspace.device)

    def _evaluate(self, space: Space) -> Evaluation:
        data, at = self.dataset, self.dataset.card.recall_at
        gallery = None if space.gallery is space.query else space.gallery
        if not data.labelled:
            return agreement(space.query, self.workspace.targets(self.inputs.stream.evaluation), at, gallery)
        labels = None if gallery is None else self._searched.labels
        return evaluate(space.query, data.query.labels, gallery, labels, at, same=space.same)


def _milestones(stream: Stream, search: Search) -> dict[int, Callable[[Student], object]]:
    """Steps after which a validation run is scored on the way: an eighth, a quarter, half. Test classes are seen once, at the end."""
    if stream.evaluation == "test":
        return {}
    steps = {stream.steps // part for part in (8, 4, 2)} - {0}
    return {step: lambda student: search(student).model_dump() for step in steps}
