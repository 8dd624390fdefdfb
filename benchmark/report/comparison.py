"""The cells of a folder's records against each other: baselines, differences, the best of a column, what is flagged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..record import Record
from .cells import OF_ANY_DIM, Cell, Row, batches, cells_of, head_of, roles_of, settings, units_of
from .estimands import outranked
from .render import FLAGS
from .stats import Summary, corrected_p, paired

BASELINE = "triplet"


class Comparison:
    """The cells of a folder's records, and which of them is whose baseline.

    Args:
        records: at least one.
        kinds: the kind of each method, as in the catalogue.
        need_maps: methods that read feature maps: rows of dashes where all students are heads on features, which have none.
        baseline: the method that the others are held against.
        labelled: methods that use labels.
        papers: what groups methods that are drawn together; a method that is not there is of a paper of its own.
    """

    def __init__(
        self,
        records: Iterable[Record],
        kinds: Mapping[str, str],
        need_maps: Sequence[str] = (),
        baseline: str = BASELINE,
        labelled: Collection[str] = (),
        papers: Mapping[str, str] | None = None,
    ) -> None:
        self.records = tuple(records)
        self.taught = [record for record in self.records if record.spec.teacher is not None]
        on_features = bool(self.taught) and all(record.spec.views for record in self.taught)
        self.left_out = [(kinds[name], name) for name in need_maps] if on_features else []
        self.kinds = kinds
        self.baseline = baseline
        self.labelled = frozenset(labelled)
        self.papers = papers or {}
        self.roles = roles_of(self.records, kinds)
        self.cells = cells_of(self.records, self.roles)
        self.rows = sorted({cell.row for cell in self.cells}, key=lambda row: row.order)
        # What has a dimension of its own is shown beside the students of every one, and is no column.
        self.dims = sorted({cell.dim for cell in self.cells if not cell.fixed_dim})
        self.trained = [cell for cell in self.cells if cell.row.trained]
        self.usual_data = usual(record.data for record in self.records)
        # Those that may be the best of a column: students of the usual images, at a dimension that is a choice.
        self.candidates = [
            cell
            for cell in self.trained
            if not cell.fixed_dim and all(record.data == self.usual_data for record in cell.records)
        ]
        # By what a number is counted: a teacher with its seeds, or a seed.
        self.unit = "teacher" if units_of(self.records, self.roles) else "seed"
        # Whether a hit is a neighbour by the teacher, not an item of the query's class.
        self.agreement = any(record.evaluation.relevance == "teacher" for record in self.records)
        self.asymmetric = any(record.asymmetric_metrics for record in self.records)
        self._mixed = not all(record.dirty for record in self.records)
        self.leading = cache(self._leading)
        steps = Counter(cell.row.steps for cell in self.candidates)
        # Of the main comparison: what most rows were trained for, of several the largest.
        self.usual_steps = max(steps, key=lambda number: (steps[number], number), default=0)

    def baseline_of(self, cell: Cell) -> Cell | None:
        """The baseline's student of the same batches, trunk and dimension; of listed, the one most alike.

        Heads may differ where each method's was tuned: the network is in the table.
        """
        if cell.row.method == self.baseline or cell.row.role in OF_ANY_DIM:
            return None
        own = settings(cell.records[0]).items()

        def unlike(other: Cell) -> tuple[Any, ...]:
            differing = own ^ settings(other.records[0]).items()
            return other.row.hidden != cell.row.hidden, other.row.l2 != cell.row.l2, len(differing), other.row.order

        baselines = (other for other in self.trained if other.row.method == self.baseline and other.dim == cell.dim)
        return min((other for other in baselines if batches(other) == batches(cell)), key=unlike, default=None)

    @cached_property
    def differences(self) -> dict[Cell, Summary]:
        """Distances of cells' Recall@1 from their baselines', in points, paired by seed; of those that have one."""
        pairs = [(cell, other) for cell in self.cells if (other := self.baseline_of(cell)) is not None]
        gaps = ((cell, paired(cell.recall, other.recall)) for cell, other in pairs)
        return {cell: gap for cell, gap in gaps if gap is not None}

    def difference(self, cell: Cell) -> Summary | None:
        """Find a cell's, or that of a family to the baseline of its methods; None where there is none."""
        if cell.records:
            return self.differences.get(cell)
        other = self.baseline_of(cell.cells[0])
        return None if other is None else paired(cell.recall, other.recall)

    @cached_property
    def p(self) -> dict[Cell, float]:
        """Student's paired test of the differences, corrected by Holm's method for all of these; not of few seeds."""
        return corrected_p(self.differences)

    def _leading(self, metric: str) -> frozenset[Cell]:
        """The students than which no other of the same head, batches and dimension is better, as far as units tell: in a folder of
        equal methods, 95 times in 100 these are all of them. Only where they are at most half of them: else there is little to mark."""
        groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
        for cell in self.candidates:
            if len(cell.recall) > 1 and all(metric in record.metrics for record in cell.records):
                groups[cell.dim, *head_of(cell), *batches(cell)].append(cell)
        tables = []
        for cells in groups.values():
            values = [cell.percents(metric) for cell in cells]
            units = sorted(set().union(*values))
            tables.append(np.array([[own.get(unit, np.nan) for unit in units] for own in values]))
        told = zip(groups.values(), outranked(tables), strict=True)
        few = [(cells, worse) for cells, worse in told if 2 * worse.sum() >= len(cells)]
        return frozenset(cell for cells, worse in few for cell, behind in zip(cells, worse, strict=True) if not behind)

    def flags(self, cell: Cell) -> str:
        """List those of `render.FLAGS` that hold for a cell."""
        held = {flag for part in cell.cells for flag, records in self.flagged(part).items() if records}
        return "".join(flag for flag in FLAGS if flag in held)

    def flagged(self, cell: Cell) -> dict[str, list[Record]]:
        """By flag, the records for which a cell has it; not what holds for all, which is no difference."""
        odd = cell.row.trained and cell.row.steps in self._odd_steps.get(cell.dim, ())

        def taught_anew(record: Record) -> bool:
            teacher = record.spec.teacher
            return teacher is not None and bool(record.teacher) and record.teacher != self._usual_teachers[teacher.id]

        holds: dict[str, Callable[[Record], bool]] = {
            "†": lambda record: self._mixed and record.dirty,
            "‡": lambda record: odd,
            "§": lambda record: record.data != self.usual_data,
            "¶": taught_anew,
            # Where no commit tells what the file of its method said.
            "‖": lambda record: record.edited_freely and len(self._editions[record.spec.method]) > 1,
        }
        return {flag: list(filter(test, cell.records)) for flag, test in holds.items()}

    @cached_property
    def _editions(self) -> dict[str, set[str]]:
        """By method, the editions of its file."""
        editions: dict[str, set[str]] = defaultdict(set)
        for record in self.records:
            editions[record.spec.method].add(record.environment.get("method", ""))
        return editions

    @cached_property
    def _odd_steps(self) -> dict[int, set[int]]:
        """By dimension, the numbers of steps that fewer than half as many rows have as the most usual number."""
        counts: dict[int, Counter[int]] = defaultdict(Counter)
        for cell in self.trained:
            counts[cell.dim][cell.row.steps] += 1
        return {
            dim: {steps for steps, rows in count.items() if 2 * rows < max(count.values())}
            for dim, count in counts.items()
        }

    @cached_property
    def _usual_teachers(self) -> dict[str, str]:
        """By a teacher's id, the digest of the weights that most of its students had."""
        weights: dict[str, list[str]] = defaultdict(list)
        for record in self.taught:
            if record.spec.teacher is not None and record.teacher:
                weights[record.spec.teacher.id].append(record.teacher)
        return {id: usual(digests) for id, digests in weights.items()}

    def name(self, row: Row, *, head: bool = True) -> str:
        """The row's label, with its network and l2 where others of that label and role have other ones.

        Args:
            head: whether the network's head is in it; not where a reader sees that anyway.
        """
        same = [other for other in self.rows if other.label == row.label and other.role == row.role]
        networks = {other.network if head else other.backbone for other in same}
        network = [row.network if head else row.backbone] * (len(networks) > 1)
        return ", ".join([row.label, *network, *["l2" if row.l2 else "raw"] * (len({other.l2 for other in same}) > 1)])

    def teacher_of(self, cell: Cell) -> Cell | None:
        """The cell of the network that taught it; of what had no teacher the folder's, where there is only one."""
        teachers = [other for other in self.cells if other.row.role == "teacher"]
        if taught := {record.spec.teacher.id for record in cell.records if record.spec.teacher is not None}:
            teachers = [other for other in teachers if taught & {record.id for record in other.records}]
        return teachers[0] if len(teachers) == 1 else None


def usual(values: Iterable[str]) -> str:
    """The most frequent; of several the first by alphabet."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value), default="")


def in_order(name: str) -> str:
    """A method's name as runs have it: a sum has its parts in the order of the alphabet. A row's name with settings stays."""
    return name if " " in name else "+".join(sorted(name.split("+")))
