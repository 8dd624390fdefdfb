"""From a group of specs to records: data, networks, methods, training, evaluation."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from . import methods
from .backbones import Encoder
from .data import DataSet, Split, cache_dir, decoded, holdout
from .data.batches import Batches, centre_crop
from .data.batches import check as check_batches
from .errors import BenchmarkError, DataError
from .evaluate import evaluate
from .spec import Spec, Stream, derive
from .store import Evaluation, Point, Record, Store, write_atomically
from .train import Student, Watch, embed, fit, optimizer, seeded

CALIBRATION = 256  # training images that set the scale of a head's input
LIBRARIES = ("torch", "torchvision", "timm", "pytorch-metric-learning", "faiss-cpu", "numpy")


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished. Printed and kept as text, never as a result."""

    spec: Spec
    message: str
    details: str = ""


Outcome = Record | Failure


@dataclass
class Workspace:
    """Where a run finds its images and weights, and what it may use."""

    dataset: DataSet
    data_dir: Path
    store: Store
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoint_every: float = 120.0  # seconds
    watch: Callable[[Sequence[Spec]], Watch] = lambda group: lambda step, losses: None
    decoding: Callable[[str, int, int], None] = lambda what, done, of: None
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = environment(self.device)  # of the code as it was loaded, not as it is when a run ends

    def images(self, split: Split, what: str, size: int) -> np.ndarray:
        """Decoded images uint8 [n, size, size, 3] of a split."""
        return decoded(split, size, cache_dir(self.data_dir), functools.partial(self.decoding, what))


def run(group: Sequence[Spec], workspace: Workspace) -> Iterator[Outcome]:
    """Train and evaluate a group of one stream; weights are saved here, records by the caller.

    Raises:
        Interrupted: stopped by the user; checkpoints are written.
        BenchmarkError: what concerns the whole group (its data, its teacher) is not usable.
    """
    stream = group[0].stream
    dataset = _dataset(workspace, stream)
    train = workspace.images(dataset.train, "training images", stream.resize)
    batches = Batches(train, dataset.train.labels, stream) if stream.steps else None
    teachers = {spec.teacher.id: load_encoder(spec.teacher, workspace) for spec in group if spec.teacher is not None}
    checkpoints = workspace.store.checkpoints

    students = [make_student(spec, teachers, train, len(dataset.train.names), workspace.device) for spec in group]
    prepare(students, teachers, train, dataset.train.labels, checkpoints, workspace.device)

    def score(student: Student) -> Evaluation:
        return retrieval(student.spec, student.encoder, dataset, workspace)

    failed: dict[str, Exception] = {}
    if batches is not None:
        failed.update(
            fit(
                students,
                teachers,
                batches,
                checkpoints,
                device=workspace.device,
                every=workspace.checkpoint_every,
                milestones=_milestones(stream, score),
                watch=workspace.watch(group),
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
    weights = serialize({name: tensor.contiguous() for name, tensor in student.encoder.state_dict().items()})
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
        environment=workspace.environment,
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
            check_batches(_dataset(workspace, stream).train.labels, stream)
    for stream in {(spec.evaluation, spec.resize): spec.stream for spec in specs}.values():
        dataset = _dataset(workspace, stream)
        counts = np.bincount(dataset.query.labels) if dataset.gallery is None else np.bincount(dataset.gallery.labels)
        least = 2 if dataset.gallery is None else 1
        if not (np.append(counts, 0)[np.minimum(dataset.query.labels, len(counts))] >= least).any():
            raise DataError(f"{dataset.card.name}: no query has another image of its class to be found")
        for what, split in (("training", dataset.train), ("query", dataset.query), ("gallery", dataset.gallery)):
            if split is not None:
                workspace.images(split, f"{what} images", stream.resize)


def _dataset(workspace: Workspace, stream: Stream) -> DataSet:
    return workspace.dataset if stream.evaluation == "test" else holdout(workspace.dataset)


def make_student(
    spec: Spec, teachers: dict[str, Encoder], train: np.ndarray, classes: int, device: torch.device
) -> Student:
    """A student at step 0. Its initial weights depend on seed, backbone and dimension alone: equal for all methods."""
    with seeded(derive(spec.seed, "init", spec.backbone, spec.dim)):
        encoder = _encoder(spec, pretrained=spec.pretrained).to(device)
    calibrate(encoder, spec, train, device)
    teacher = teachers[spec.teacher.id].widths if spec.teacher is not None else None
    with seeded(derive(spec.seed, "method init", spec.method, spec.dim)):
        method = methods.load(spec.method)(encoder.widths, teacher, classes, **spec.params).to(device)
    return Student(spec, encoder, method, optimizer(spec, encoder, method))


def calibrate(encoder: Encoder, spec: Spec, train: np.ndarray, device: torch.device) -> None:
    """Set the scale of the head's input from a fixed sample of training images."""
    rows = np.random.default_rng(derive(spec.seed, "calibrate")).permutation(len(train))[:CALIBRATION]
    pixels = torch.from_numpy(centre_crop(train[np.sort(rows)], spec.image)).to(device)
    encoder.train(spec.steps > 0)  # as it will be used next: an untrained network is only evaluated
    with seeded(derive(spec.seed, "calibrate", spec.backbone)):
        encoder.calibrate(pixels.permute(0, 3, 1, 2))


def prepare(
    students: Sequence[Student],
    teachers: dict[str, Encoder],
    train: np.ndarray,
    labels: np.ndarray,
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
            # The crop of the students' stream: that is what the teacher sees in training.
            view = teacher.replace(image=student.spec.image, resize=student.spec.resize)
            shown[teacher.id] = torch.from_numpy(embed(view, teachers[teacher.id], train, device)).to(device)
        student.method.prepare(shown[teacher.id], torch.from_numpy(labels).to(device))


def retrieval(spec: Spec, encoder: Encoder, dataset: DataSet, workspace: Workspace) -> Evaluation:
    """The network's retrieval on the data set's query (and gallery) images."""
    query = embed(spec, encoder, workspace.images(dataset.query, "query images", spec.resize), workspace.device)
    at = dataset.card.recall_at
    if dataset.gallery is None:
        return evaluate(query, dataset.query.labels, at=at)
    gallery = embed(spec, encoder, workspace.images(dataset.gallery, "gallery images", spec.resize), workspace.device)
    return evaluate(query, dataset.query.labels, gallery, dataset.gallery.labels, at=at)


def load_encoder(spec: Spec, workspace: Workspace) -> Encoder:
    """A finished run's network, frozen and in eval mode."""
    path = workspace.store.weights(spec)
    if not path.exists():
        raise BenchmarkError(f"the teacher {spec.label} has no weights at {path}: its own run failed or was left out")
    encoder = _encoder(spec, pretrained=False)
    try:
        encoder.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch have error types of their own here
        raise BenchmarkError(
            f"the teacher's weights {path} cannot be read; delete the file, and it is trained again"
        ) from error
    return encoder.to(workspace.device).eval().requires_grad_(False)


def _encoder(spec: Spec, pretrained: bool) -> Encoder:
    return Encoder(
        spec.backbone,
        spec.dim,
        pretrained=pretrained,
        normalize=spec.normalize,
        frozen_batchnorm=spec.batchnorm == "frozen",
    )


def _milestones(stream: Stream, score: Callable[[Student], Evaluation]) -> dict[int, Callable[[Student], object]]:
    """Steps after which a validation run is scored on the way: an eighth, a quarter, half. Test classes are seen once, at the end."""
    if stream.evaluation == "test":
        return {}
    steps = {stream.steps // part for part in (8, 4, 2)} - {0}
    return {step: lambda student: score(student).model_dump() for step in steps}


def digest(content: bytes) -> str:
    """16 hexadecimal digits of SHA-256, which tell two networks of one spec apart: other machines round differently."""
    return hashlib.sha256(content).hexdigest()[:16]


def environment(device: torch.device) -> dict[str, str]:
    """What the numbers came from: code, libraries, device."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    )
    libraries = {library: version(library) for library in LIBRARIES}
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "device": name,
        "threads": str(torch.get_num_threads()),
        **libraries,
    }


def code_version() -> str:
    """The commit that the package was run from, `+dirty` where the package differs from it; the release number when installed."""
    package = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        if not (package.parent / ".git").exists():
            return version("embedding-distillation-benchmark")
        dirty = git("status", "--porcelain", "--", str(package))
        return git("rev-parse", "--short=10", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"
