"""Which networks a gallery shows, on which images, and what they retrieve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data import cards
from ..data.layouts import load
from ..data.splits import DataSet, Split
from ..errors import BenchmarkError, DataError, UsageError
from ..report.cells import ROLES, Cell
from ..report.comparison import Comparison
from ..report.stats import summarise
from ..retrieval.geometry import Space
from ..retrieval.search import Ints
from ..spec import Spec, waves
from ..store import Record
from ..training.context import RunContext
from ..training.evaluator import Evaluator
from ..training.measure import TOLERANCE

SHOWN = 5  # neighbours of a query
KINDS = ("baseline", "individual", "relational")  # of the students that are shown, in the order of the page

Bools = NDArray[np.bool_]


class Chosen(NamedTuple):
    """The runs that are shown."""

    teacher: Record
    students: dict[str, Record]  # by kind
    best: str  # kind


@dataclass(frozen=True, eq=False)
class Shown:
    """A network on the page, and what it retrieves.

    Args:
        role: teacher, or the student's kind.
        space: the embeddings that its record was measured with.
        nearest: [n, SHOWN or fewer] rows of the gallery by the main distance, nearest first.
        right: [n, SHOWN or fewer] whether these are of the query's class.
        best: whether it is the student that the sections are about.
    """

    role: str
    record: Record
    space: Space
    nearest: Ints
    right: Bools
    best: bool

    @property
    def title(self) -> str:
        spec = self.record.spec
        return f"{'best student, ' if self.best else ''}{ROLES[self.role]}: {spec.name} {spec.backbone}-{spec.dim}"

    @property
    def recall(self) -> str:
        return f"Recall@1 {100 * self.record.metrics['recall@1']:.1f} %"

    @property
    def distance(self) -> str:
        return "cosine" if self.space.metric == "cosine" else "L2"

    @property
    def first(self) -> Bools:
        """[n] whether the nearest neighbour is right."""
        return self.right[:, 0]


def choose(compared: Comparison) -> Chosen:
    """Of each kind the student of the best mean Recall@1 at the largest dimension, its lowest seed; and the teacher of the best of them.

    Of baselines only the one that others are held against.

    Raises:
        UsageError: there is no such student, or no teacher.
        BenchmarkError: the teacher has no record.
    """

    def mean(cell: Cell) -> float:
        return summarise(list(cell.recall.values())).mean

    students = [
        cell
        for cell in compared.candidates
        if cell.row.role in KINDS and (cell.row.role != "baseline" or cell.row.method == compared.baseline)
    ]
    if not students:
        raise UsageError(
            "there is no student to show: none of the runs is of a baseline, individual or relational method"
        )
    largest = max(cell.dim for cell in students)
    best: dict[str, Cell] = {}
    for kind in KINDS:
        cells = [cell for cell in students if cell.row.role == kind and cell.dim == largest]
        if cells:
            best[kind] = max(cells, key=mean)
    winner = max(best, key=lambda kind: mean(best[kind]))
    chosen = {kind: cell.records[0] for kind, cell in best.items()}  # sorted by seed
    return Chosen(_teacher_of([chosen[winner], *chosen.values()], compared), chosen, winner)


def _teacher_of(students: Sequence[Record], compared: Comparison) -> Record:
    """The record of the first one's teacher that has one; of students without, the folder's."""
    spec = next((record.spec.teacher for record in students if record.spec.teacher is not None), None)
    if spec is None:
        found = [record for record in compared.records if compared.roles[record.id] == "teacher"]
        if not found:
            raise UsageError("there is no teacher to hold the students against")
        return found[0]
    for record in compared.records:
        if record.id == spec.id:
            return record
    raise BenchmarkError(f"the teacher, {spec.label}, has no record beside those of its students ({spec.id})")


def dataset_of(records: Sequence[Record], data_dir: Path) -> DataSet:
    """The images that the records were measured on."""
    spec = records[0].spec
    dataset = load(_card(spec.dataset, data_dir), data_dir, spec.subset)
    for record in records:
        if not record.was_of(dataset.fingerprint, dataset.listing):
            raise DataError(
                f"the {spec.dataset} images in {data_dir} are not those of {record.spec.label}: "
                f"their fingerprint is {dataset.fingerprint}, that of its record {record.data}"
            )
    return dataset


def _card(name: str, data_dir: Path) -> cards.Card:
    """Of a data set of the suite, or of the folder of own images of that name: a record does not say where that was."""
    if name in cards.names():
        return cards.load(name, data_dir)
    for folder in (data_dir.resolve(), data_dir / name):
        if folder.name == name and folder.is_dir():
            return cards.load(str(folder))
    raise DataError(
        f"the images {name} are missing: {data_dir} is not that folder and does not hold it; name it by --data"
    )


def spaces(specs: Sequence[Spec], context: RunContext) -> dict[str, Space]:
    """Of finished runs, by id: the embeddings that each was evaluated with, in its own stream. Raises as `Evaluator.open`."""
    found = {}
    for group in (group for wave in waves(list(specs)) for group in wave):
        evaluator = Evaluator.open(group, context)
        for spec in group:
            found[spec.id] = evaluator.space(spec, evaluator.inputs.frozen(spec))
    return found


def searched(dataset: DataSet) -> Split:
    return dataset.query if dataset.gallery is None else dataset.gallery


def retrieved(role: str, record: Record, space: Space, dataset: DataSet, *, best: bool) -> Shown:
    nearest = space.nearest[:, :SHOWN]
    right = searched(dataset).labels[nearest] == dataset.query.labels[:, None]
    found = float(right[answerable(dataset), 0].mean())
    if abs(found - record.metrics["recall@1"]) > TOLERANCE:
        raise BenchmarkError(
            f"{record.spec.label}: Recall@1 is {found:.4f} here, and {record.metrics['recall@1']:.4f} in its record"
        )
    return Shown(role, record, space, nearest, right, best)


def answerable(dataset: DataSet) -> Bools:
    """[n] whether a query has another image of its class to be found; the others are not scored, and not shown."""
    counts = np.bincount(searched(dataset).labels, minlength=int(dataset.query.labels.max()) + 1)
    return counts[dataset.query.labels] > (dataset.gallery is None)
