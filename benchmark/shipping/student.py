"""A finished student as one network, from images or own vectors to embeddings, with the data that it was measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ..data.arrays import Rows
from ..data.splits import DataSet, Split
from ..errors import UsageError, some
from ..methods import entry
from ..methods import load as load_method
from ..networks.encoder import Compressed, Encoder, Headless, Network, Shipped
from ..networks.weights import load_encoder
from ..record import Record, read_record
from ..spec import Spec
from ..store import Store
from ..training.context import RunContext, silent
from ..training.evaluator import Evaluator
from ..training.initial import make_student
from ..training.measure import check_teacher, dataset_of, load_projector, weights_of
from ..training.streams import frozen_trunk
from ..training.student import Student

SHOWN = 8  # candidates in a message


def find(results: Path, id: str) -> Path:
    """The record of the one run below `results` whose id begins so, or that is called so: by method and id, or as its file.

    Raises:
        UsageError: there is none, or more than one; the message has candidates.
    """
    paths = sorted(results.rglob("runs/*.json"))
    name = id.rpartition("/")[2].removesuffix(".json")
    named = [path for path in paths if path.stem.rpartition("-")[2].startswith(name) or path.stem == name]
    if len(named) == 1:
        return named[0]
    if not paths:
        raise UsageError(f"no runs below {results}")
    names = [path.relative_to(results).with_suffix("").as_posix() for path in named or paths]
    what = f"{len(named)} runs have" if named else "no run has"
    raise UsageError(
        f"{what} an id that begins with {id!r}; {'these are' if named else 'there are'}: {some(names, most=SHOWN)}"
    )


class Projector(nn.Module):
    """From a student's embeddings [n, d] to the teacher's space [n, teacher's d]."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.method = student.method.eval().requires_grad_(False)

    def forward(self, embedding: Tensor) -> Tensor:
        mapped = self.method.to_teacher_space(embedding)
        assert mapped is not None
        return mapped


@dataclass(frozen=True)
class FinishedStudent:
    """A run's own network, to be taken elsewhere."""

    record: Record
    network: Shipped
    projector: Projector | None  # where its method maps into the teacher's space
    context: RunContext

    @property
    def dataset(self) -> DataSet:
        return self.context.dataset

    @property
    def on_vectors(self) -> bool:
        return self.record.spec.reads_vectors

    @property
    def parameters(self) -> int:
        """Numbers of the whole network that were learned, by whomever: its parameters, and a transform that was fitted."""
        network = self.network.network
        fitted = network.method.buffers() if isinstance(network, Compressed) else ()
        return sum(tensor.numel() for tensor in (*network.parameters(), *fitted))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a row that the network reads."""
        spec = self.record.spec
        return (self.network.network.widths.pooled,) if self.on_vectors else (spec.resize, spec.resize, 3)

    def rows(self, split: Split) -> Rows:
        """A split as the network reads it."""
        if split.vectors is not None:
            return split.vectors.of(self.record.spec.backbone)
        return self.context.images(split, self.record.spec.stream)


def open_student(
    path: Path,
    data_dir: Path,
    device: torch.device,
    progress: Callable[[str, int, int], None] = silent,
    dataset: str | None = None,
    columns: str | None = None,
) -> FinishedStudent:
    """The student of a record, whose weights are in its store.

    Args:
        dataset: where own data are, as `run` is told, and what the columns of their table are called.

    Raises:
        UsageError: the run has no network that could be taken elsewhere.
        BenchmarkError: weights are missing, or not those of the record.
        DataError: the data set is not here, or another.
    """
    record, store = read_record(path), Store(path.parents[1])
    spec = record.spec
    context = RunContext(dataset_of([record], data_dir, dataset, columns), data_dir, store, device, progress)
    network = whole_network(record, store, device)
    evaluator = Evaluator.open([spec], context)
    student = make_student(spec, evaluator.teachers, evaluator.inputs, evaluator.dataset, device)
    projector = Projector(student) if student.method.aligns and load_projector(student, record, store) else None
    return FinishedStudent(record, network, projector, context)


def whole_network(record: Record, store: Store, device: torch.device) -> Shipped:
    """A finished run's network: of a head on features behind the trunk whose features it was trained on, of what is made of a teacher's
    embeddings behind that teacher.

    Raises:
        UsageError: the run is codes of its teacher's embeddings, wants a teacher's vectors of each image, or has no network.
        BenchmarkError: weights are missing, or not those of the record.
    """
    spec, method = record.spec, entry(record.spec.method)
    if not method.is_posthoc and not method.has_head and (spec.on_features or spec.reads_vectors):
        raise UsageError(f"{spec.label} is features as they are: nothing was made of them that could be shipped")
    if method.is_posthoc and spec.builds_on_vectors:
        raise UsageError(f"{spec.label} is made of a teacher's vectors, which new images do not have: ship a student")
    content = weights_of(record, store)
    network = _compressed(record, store, content) if method.is_posthoc else _with_trunk(spec, store, device)
    network = network.to(device).eval().requires_grad_(False)
    return Shipped(network, 0 if spec.reads_vectors else spec.image, spec.resize, spec.fit).eval()


def _compressed(record: Record, store: Store, content: bytes) -> Compressed:
    """The networks that a post-hoc run is made of, and its transform, whose weights are `content`. Raises as `whole_network`."""
    spec = record.spec
    check_teacher(record, store)
    members = [_with_trunk(member, store, torch.device("cpu")) for member in spec.members]
    widths = members[0].widths
    # A transform of embeddings knows no classes.
    method = load_method(spec.method)(widths._replace(embedding=spec.dim), teacher=widths, classes=1, **spec.params)
    if method.stores:
        raise UsageError(
            f"{spec.label} is codes of the teacher's embeddings, which no exported network gives; ship the teacher, {spec.members[0].id}"
        )
    method.load_state_dict({name.removeprefix("method."): tensor for name, tensor in load(content).items()})
    return Compressed(members, method, spec.dim, normalize=spec.normalize, whole=True)


def _with_trunk(spec: Spec, store: Store, device: torch.device) -> Network:
    """A run's network, with the frozen trunk that its head was trained on. Raises a BenchmarkError where weights are missing."""
    network = load_encoder(spec, store, device)
    if not spec.on_features or spec.reads_vectors:
        return network
    trunk = frozen_trunk(spec, store, device)
    if not entry(spec.method).has_head:
        return Headless(trunk, normalize=spec.normalize)
    normalize, hidden, plain = spec.normalize, spec.hidden, spec.head == "plain"
    whole = Encoder(trunk, trunk.pooled, spec.dim, normalize=normalize, hidden=hidden, plain=plain)
    whole.load_state_dict(network.state_dict(), strict=False)  # which has all but the trunk's
    return whole
