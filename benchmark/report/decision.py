"""Which student to ship: what it keeps of the teacher's Recall@1, for how many bytes and how much time."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import NamedTuple

from ..costs import Costs
from ..record import Record
from ..spec import TEACHER_VECTORS
from .cells import Cell, percent
from .columns import Column, laid_out
from .comparison import Comparison
from .cost_table import price
from .render import BUSY, Table, phrases
from .stats import Summary

CODES = "codes"  # of product quantisation: no network gives them, so that nothing exports them
BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 1 / 8}  # of a number, by the form of storage
ALIKE = 0.1  # of a time: what is not told apart
KEEP = 0.95  # share of the teacher's Recall@1 that is to be kept


class Budget(NamedTuple):
    """The most that a student may cost, and the least that it must keep; None: whatever it is."""

    keep: float = KEEP
    bytes: float | None = None  # an item in the index
    milliseconds: float | None = None  # an image

    def allows(self, option: Option) -> bool:
        if self.bytes is not None and option.bytes > self.bytes:
            return False
        return self.milliseconds is None or (option.latency is not None and 1000 * option.latency <= self.milliseconds)

    def keeps(self, option: Option) -> bool:
        """Whether the lower end of the interval is enough; of one run, which has none and is not sure, the number itself."""
        return option.kept.mean - (option.kept.half or 0) >= 100 * self.keep


class Option(NamedTuple):
    """A student, or what is made of the teacher's embeddings, in one form of storage."""

    cell: Cell
    form: str  # a key of BYTES, or CODES
    kept: Summary  # percent of the teacher's Recall@1
    recall: Summary  # percent
    bytes: float  # an item in the index
    latency: float | None  # seconds an image
    search: float | None  # seconds a query, of float32
    busy: frozenset[str] = frozenset()  # of latency and search, what was measured while the machine was busy

    @property
    def sure(self) -> bool:
        """Whether several runs say how sure its numbers are."""
        return self.kept.half is not None

    @property
    def run(self) -> str:
        """The run to export: of the lowest seed."""
        return self.cell.records[0].id

    @property
    def network(self) -> str:
        """Its own, or the teacher's that it is made of."""
        return f"{self.cell.row.method}, {self.cell.network}"

    def beaten_by(self, other: Option) -> bool:
        """Whether another is nowhere worse and somewhere better; a time that is not known is worse than any."""
        own, its = self._merits, other._merits
        return its != own and all(merit >= mine for mine, merit in zip(own, its, strict=True))

    @property
    def _merits(self) -> tuple[float, float, float]:
        # Times within a tenth are equal: a machine is not quieter than that.
        slowness = math.inf if self.latency is None else round(math.log(self.latency) / math.log(1 + ALIKE))
        return self.kept.mean, -self.bytes, -slowness


class Decision(NamedTuple):
    """The options that nothing beats, and the one that a rule takes of all."""

    front: tuple[Option, ...]
    chosen: Option | None  # None where the budget allows nothing
    enough: bool  # whether it keeps as much as is to be kept
    budget: Budget
    teacher: Option
    agreement: bool = False  # without labels: Recall@1 is of the teacher's neighbours, of whom it finds all itself
    vectors: tuple[str, ...] = ()  # methods that are left out, since new images have no vectors of the teacher
    codes: tuple[str, ...] = ()  # methods that are in the table alone, since nothing exports codes
    busy: bool = False  # whether times that it goes by were measured while the machine was busy

    @property
    def chance(self) -> bool:
        """Whether the teacher finds no more than chance, within two standard errors, so that a share of it means nothing."""
        record = self.teacher.cell.records[0]
        if record.by_class is None:
            return False
        queries = sum(record.by_class.queries)
        share = sum(number**2 for number in record.by_class.queries) / queries**2
        return self.teacher.recall.mean <= 100 * (share + 2 * math.sqrt(share * (1 - share) / queries))


def decide(compared: Comparison, costs: Costs | None, budget: Budget = Budget()) -> Decision | None:  # noqa: B008  (it is a tuple)
    """Take of what surely keeps enough the fastest, then the smallest; then of what keeps enough by one run; else what keeps most.

    None where there is no teacher to hold students against, or nothing but it.
    """
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    if not teachers:
        return None
    # Of several the best, so that nobody's share is large because its own teacher is poor.
    best = max(teachers, key=lambda cell: cell.mean)
    reference = _option(best, "float32", best.mean, costs)
    cells = [cell for cell in compared.cells if cell.row.trained or cell.row.role in ("posthoc", "control")]
    # New images have no vectors of a teacher that nobody can run.
    vectors = [cell for cell in cells if any(map(_needs_vectors, cell.records))]
    forms = [(cell, form) for cell in cells if not cell.fixed_dim and cell not in vectors for form in BYTES]
    options = [option for cell, form in forms if (option := _option(cell, form, best.mean, costs)) is not None]
    if not options or reference is None:
        return None
    front = [option for option in options if not any(map(option.beaten_by, options))]
    front.sort(key=lambda option: option._merits, reverse=True)
    allowed = [option for option in options if option.form != CODES and budget.allows(option)]
    enough = [option for option in allowed if budget.keeps(option)]
    several = [option for option in enough if option.sure] or enough
    chosen = max(several, key=lambda option: (option._merits[2], option._merits[1], option._merits[0]), default=None)
    chosen = chosen or max(allowed, key=attrgetter("_merits"), default=None)
    coded = [option.cell for option in options if option.form == CODES]
    lacking, codes = (tuple(dict.fromkeys(cell.row.method for cell in cells)) for cells in (vectors, coded))
    busy = any("latency" in option.busy for option in options)
    return Decision(tuple(front), chosen, bool(enough), budget, reference, compared.agreement, lacking, codes, busy)


def _needs_vectors(record: Record) -> bool:
    """Whether images would have to come with a teacher's vectors."""
    spec = record.spec
    return not spec.steps and not spec.views and any(each.backbone.startswith(TEACHER_VECTORS) for each in spec.members)


def _option(cell: Cell, form: str, teachers: float, costs: Costs | None) -> Option | None:
    """A cell in a form of storage, beside the teacher's Recall@1 in percent; None where that was not measured."""
    codes = cell.row.method == "pq"
    if codes and form != "float32":
        return None

    def recall(record: Record) -> float | None:
        return record.metrics["recall@1"] if form == "float32" else record.storage.get(form)  # type: ignore[call-overload]

    recalls = cell.over_units(lambda record: percent(recall(record)))
    if recalls is None or not teachers:
        return None
    share = 100 / teachers
    scaled = (None if number is None else share * number for number in (recalls.sd, recalls.half))
    shares = Summary(recalls.n, share * recalls.mean, *scaled)
    paid = price(cell, costs)
    size = paid.embedding if codes else BYTES[form] * cell.dim
    return Option(cell, CODES if codes else form, shares, recalls, size, paid.latency, paid.search, paid.busy)


def _time(field: str, label: str, digits: int, note: str) -> Column[Option]:
    """A time in milliseconds, with a mark where it was measured while the machine was busy."""

    def flags(option: Option) -> str:
        return BUSY * (field in option.busy)

    return Column("", label, "ms", digits, of=attrgetter(field), times=1e3, note=note, flags=flags)


COLUMNS: tuple[Column[Option], ...] = (
    Column("", "method", of=attrgetter("cell.row.method")),
    Column("", "network", of=attrgetter("cell.network")),
    Column("", "stored as", of=attrgetter("form")),
    Column("", "kept of the teacher's R@1", "%", 1, of=attrgetter("kept"), spread="half"),
    Column("", "R@1", "%", 2, of=attrgetter("recall"), spread="half"),
    Column("", "bytes an item", "", 0, of=attrgetter("bytes")),
    _time("latency", "ms an image", 2, "not measured: benchmark costs"),
    _time("search", "ms a query", 3, "not measured, or an index of codes"),
    Column("", "run", of=attrgetter("run")),
)


def decision_table(decision: Decision | None) -> Table | None:
    """The options that nothing beats, most kept first; None where there are none."""
    if decision is None:
        return None
    lines = ((option, option.cell.row.role, option.cell.dim) for option in decision.front)
    return laid_out("decision", COLUMNS, lines, keep=f"{100 * decision.budget.keep:g}")


def advice(decision: Decision) -> str:
    """Say in a sentence which student to ship."""
    (words,) = phrases("advice", decision=decision)
    return words
