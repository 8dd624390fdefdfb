"""The cells of a folder's records against each other: baselines, differences, the best of a column, what is flagged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ..store import Record
from .cells import OF_ANY_DIM, Cell, Row, batches, cells_of, roles_of, settings
from .stats import Summary, holm, p_value, paired, summarise

BASELINE = "triplet"
NO_STUDENTS = (
    "There are no students: no run here has a teacher, and what stands as baseline may be one whose students failed."
)


class Difference(NamedTuple):
    """Distance of a cell's Recall@1 from its baseline's, in points, paired by seed."""

    summary: Summary
    p: float | None  # of Student's paired test, corrected by Holm's method for all of the table; None of few seeds


class Comparison:
    """The cells of a folder's records, and which of them is whose baseline.

    Args:
        records: at least one.
        kinds: the kind of each method, as in the catalogue.
        need_maps: methods that read feature maps: rows of dashes where all students are heads on features, which have none.
        baseline: the method that the others are held against.
    """

    def __init__(
        self,
        records: Iterable[Record],
        kinds: Mapping[str, str],
        need_maps: Sequence[str] = (),
        baseline: str = BASELINE,
    ) -> None:
        self.records = tuple(records)
        self.taught = [record for record in self.records if record.spec.teacher is not None]
        on_features = bool(self.taught) and all(record.spec.views for record in self.taught)
        self.left_out = [(kinds[name], name) for name in need_maps] if on_features else []
        self.kinds = kinds
        self.baseline = baseline
        self.roles = roles_of(self.records, kinds)
        self.cells = cells_of(self.records, self.roles)
        self.rows = sorted({cell.row for cell in self.cells}, key=lambda row: row.order)
        # What has a dimension of its own is shown beside the students of every one, and is no column.
        self.dims = sorted({cell.dim for cell in self.cells if not cell.fixed_dim})
        self._at = {(cell.row, cell.dim): cell for cell in self.cells}

    def at(self, row: Row, dim: int) -> Cell | None:
        """The cell of a row whose dimension is a choice."""
        found = self._at.get((row, dim))
        return None if found is None or found.fixed_dim else found

    @property
    def trained(self) -> list[Cell]:
        """The cells of students that were trained."""
        return [cell for cell in self.cells if cell.row.trained]

    @cached_property
    def candidates(self) -> list[Cell]:
        """Those that may be the best of a column: students of the usual images, at a dimension that is a choice."""
        return [cell for cell in self.trained if not cell.fixed_dim and not self._foreign(cell)]

    def _foreign(self, cell: Cell) -> bool:
        return any(record.data != self.usual_data for record in cell.records)

    @property
    def agreement(self) -> bool:
        """Whether a hit is a neighbour by the teacher, not an item of the query's class."""
        return any(record.evaluation.relevance == "teacher" for record in self.records)

    @property
    def asymmetric(self) -> bool:
        """Whether a student's queries were searched in the teacher's gallery as well."""
        return any(record.asymmetric_metrics for record in self.records)

    @cached_property
    def recalls(self) -> list[str]:
        """recall@1, recall@2, ...: every K that a run has."""
        names = {name for record in self.records for name in record.metrics if name.startswith("recall@")}
        return sorted(names, key=lambda name: int(name.removeprefix("recall@")))

    def baseline_of(self, cell: Cell) -> Cell | None:
        """The baseline's student of the same batches, trunk and dimension; of several, the one most alike.

        Heads may differ where each method's was tuned: the network is in the table.
        """
        if cell.row.method == self.baseline or cell.row.role in OF_ANY_DIM:
            return None
        same = [
            other
            for other in self.cells
            if other.row.method == self.baseline
            and other.row.trained
            and other.dim == cell.dim
            and batches(other) == batches(cell)
        ]
        ours = settings(cell.records[0]).items()

        def unlike(other: Cell) -> tuple[Any, ...]:
            theirs = settings(other.records[0]).items()
            return other.row.hidden != cell.row.hidden, other.row.l2 != cell.row.l2, len(ours ^ theirs), other.row.order

        return min(same, key=unlike, default=None)

    def difference(self, cell: Cell) -> Difference | None:
        """To the baseline; None where there is none."""
        return self._differences.get((cell.row, cell.dim))

    @cached_property
    def _differences(self) -> dict[tuple[Row, int], Difference]:
        found = {
            (cell.row, cell.dim): summary
            for cell in self.cells
            if (other := self.baseline_of(cell)) is not None
            and (summary := paired(cell.recall, other.recall)) is not None
        }
        p = {key: value for key, summary in found.items() if (value := p_value(summary)) is not None}
        corrected = dict(zip(p, holm(list(p.values())), strict=True))
        return {key: Difference(summary, corrected.get(key)) for key, summary in found.items()}

    @cached_property
    def ranked(self) -> list[Cell]:
        """Candidates that may be marked in a table: those of several seeds, since of one nobody knows what another would have given."""
        return [cell for cell in self.candidates if len(cell.recall) > 1]

    @cached_property
    def best(self) -> dict[int, Cell]:
        """By dimension, the trained student of several seeds of the highest mean Recall@1; generations are no students."""
        result: dict[int, Cell] = {}
        for cell in self.ranked:
            held = result.get(cell.dim)
            if held is None or summarise(list(cell.recall.values())).mean > summarise(list(held.recall.values())).mean:
                result[cell.dim] = cell
        return result

    def near_best(self, cell: Cell) -> bool:
        """Whether it is no best of its column, and there is a paired interval which does not separate it from that."""
        if cell not in self.ranked or cell is self.best[cell.dim]:
            return False
        difference = paired(self.best[cell.dim].recall, cell.recall)
        return difference is not None and difference.zero is True

    @cached_property
    def usual_data(self) -> str:
        """The fingerprint of most runs."""
        return _usual(record.data for record in self.records)

    def flags(self, cell: Cell) -> str:
        """Those of `FLAGS` that hold for a cell; not what holds for all, which is no difference."""
        held = {
            "†": self._mixed and any(record.dirty for record in cell.records),
            "‡": cell.row.trained and cell.row.steps in self._odd_steps.get(cell.dim, ()),
            "§": self._foreign(cell),
            "¶": any(map(self.taught_anew, cell.records)),
        }
        return "".join(flag for flag, holds in held.items() if holds)

    def taught_anew(self, record: Record) -> bool:
        """Whether its teacher had other weights than that of most students."""
        teacher = record.spec.teacher
        return teacher is not None and bool(record.teacher) and record.teacher != self._usual_teachers[teacher.id]

    @cached_property
    def _mixed(self) -> bool:
        """Whether some runs had clean code."""
        return not all(record.dirty for record in self.records)

    @cached_property
    def _odd_steps(self) -> dict[int, set[int]]:
        """By dimension, the numbers of steps that fewer than half as many rows have as the most usual number."""
        counts: dict[int, Counter[int]] = defaultdict(Counter)
        for cell in self.trained:
            counts[cell.dim][cell.row.steps] += 1
        return {
            dim: {steps for steps, rows in found.items() if 2 * rows < max(found.values())}
            for dim, found in counts.items()
        }

    @cached_property
    def _usual_teachers(self) -> dict[str, str]:
        """By a teacher's id, the digest of the weights that most of its students had."""
        weights: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            if record.spec.teacher is not None and record.teacher:
                weights[record.spec.teacher.id].append(record.teacher)
        return {id: _usual(found) for id, found in weights.items()}

    @cached_property
    def usual_steps(self) -> int:
        """Steps of the main comparison: what most rows were trained for, of several the largest."""
        steps = [cell.row.steps for cell in self.candidates]
        return max(steps, key=lambda one: (steps.count(one), one), default=0)

    def name(self, row: Row) -> str:
        """The row's label, with its network and l2 where others of that label have other ones."""
        same = {(other.network, other.l2) for other in self.rows if other.label == row.label}
        network = [row.network] if len({network for network, _ in same}) > 1 else []
        raw = ["raw" if not row.l2 else "l2"] if len({l2 for _, l2 in same}) > 1 else []
        return ", ".join([row.label, *network, *raw])

    def teacher_of(self, cell: Cell) -> Cell | None:
        """The cell of the network that taught it; of what had no teacher the folder's, where there is only one."""
        teachers = [other for other in self.cells if other.row.role == "teacher"]
        taught = {record.spec.teacher.id for record in cell.records if record.spec.teacher is not None}
        own = [other for other in teachers if taught & {record.id for record in other.records}]
        found = own if taught else teachers
        return found[0] if len(found) == 1 else None

    def why_missing(self, row: Row, dim: int) -> str:
        """Why the table has a dash there."""
        cells = [cell for cell in self.cells if cell.row == row]
        if all(cell.fixed_dim for cell in cells):
            return f"it has a dimension of its own, {cells[0].dim}"
        return f"not run at d = {dim}"


def _usual(values: Iterable[str]) -> str:
    """The most frequent; of several the first by alphabet."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))
