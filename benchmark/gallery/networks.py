"""Which networks a gallery shows, on which images, and what they retrieve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.splits import DataSet, Split
from ..errors import BenchmarkError, UsageError
from ..record import Record
from ..report.cells import ROLES
from ..report.comparison import Comparison
from ..retrieval.geometry import Space
from ..retrieval.search import Ints
from ..spec import waves
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
class ShownNetwork:
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

    def neighbours(self, query: int) -> list[tuple[int, bool]]:
        """The nearest of a query: row, and whether it is right."""
        return list(zip(self.nearest[query].tolist(), self.right[query].tolist(), strict=True))


def choose_runs(compared: Comparison) -> Chosen:
    """The students that a page shows, and the teacher of the best of them.

    Each kind is shown by the student of the best mean Recall@1 at the largest dimension, its lowest seed; of baselines only the one
    that others are held against.

    Raises:
        UsageError: there is no such student, or no teacher.
        BenchmarkError: the teacher has no record.
    """
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
    ranked = sorted((cell for cell in students if cell.dim == largest), key=lambda cell: -fmean(cell.recall.values()))
    records = [cell.records[0] for cell in ranked]  # sorted by seed
    first = {compared.roles[record.id]: record for record in reversed(records)}
    chosen = {kind: first[kind] for kind in KINDS if kind in first}
    return Chosen(_teacher_of([records[0], *chosen.values()], compared), chosen, ranked[0].row.role)


def _teacher_of(students: Sequence[Record], compared: Comparison) -> Record:
    """The record of the first one's teacher that has one; of students without, the folder's."""
    spec = next((record.spec.teacher for record in students if record.spec.teacher is not None), None)
    for record in compared.records:
        if record.id == spec.id if spec is not None else compared.roles[record.id] == "teacher":
            return record
    if spec is None:
        raise UsageError("there is no teacher to hold the students against")
    raise BenchmarkError(f"the teacher, {spec.label}, has no record beside those of its students ({spec.id})")


def shown_networks(chosen: Chosen, context: RunContext) -> list[ShownNetwork]:
    """The teacher and the students with what each retrieves, embedded in the stream that its own run was evaluated in.

    Raises:
        BenchmarkError: a network has another Recall@1 than its record; and as `Evaluator.open`.
    """
    dataset = context.dataset
    spaces: dict[str, Space] = {}
    runs = {"teacher": chosen.teacher, **chosen.students}
    for group in (group for wave in waves([record.spec for record in runs.values()]) for group in wave):
        evaluator = Evaluator.open(group, context)
        spaces |= {spec.id: evaluator.space(spec, evaluator.inputs.frozen(spec)) for spec in group}
    shown = []
    for role, record in runs.items():
        space = spaces[record.id]
        nearest = space.nearest[:, :SHOWN]
        right = searched(dataset).labels[nearest] == dataset.query.labels[:, None]
        recall = float(right[answerable(dataset), 0].mean())
        if abs(recall - record.metrics["recall@1"]) > TOLERANCE:
            raise BenchmarkError(
                f"{record.spec.label}: Recall@1 is {recall:.4f} here, and {record.metrics['recall@1']:.4f} in its record"
            )
        shown.append(ShownNetwork(role, record, space, nearest, right, role == chosen.best))
    return shown


def searched(dataset: DataSet) -> Split:
    """The images that queries are searched in."""
    return dataset.query if dataset.gallery is None else dataset.gallery


def answerable(dataset: DataSet) -> Bools:
    """[n] whether a query has another image of its class to be found; the others are not scored, and not shown."""
    counts = np.bincount(searched(dataset).labels, minlength=int(dataset.query.labels.max()) + 1)
    return counts[dataset.query.labels] > (dataset.gallery is None)
