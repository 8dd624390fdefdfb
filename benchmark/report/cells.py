"""From records to the cells of a comparison: what is averaged over seeds, and what may not be averaged away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

from ..record import Record
from ..spec import ENSEMBLE, MATRYOSHKA, Spec, Stream
from .stats import Summary, summarise

SELF_TAUGHT = "self-taught"
FAMILIES = {"individual": "individual (IKD)", "relational": "relational (RKD)"}
# Groups of a table, in its order. "other": a method that the catalogue no longer has.
ROLES = {
    "teacher": "teacher",
    "trunk": "trunk's own run",
    "untrained": "untrained student",
    "features": "frozen features",
    "baseline": "baseline (labels only)",
    "control": "control (student's features)",
    **FAMILIES,
    "mixed": "IKD + RKD",
    "nested": "nested (one student, all d)",
    SELF_TAUGHT: "self-taught",  # of whatever kind its loss is, it says nothing about what a teacher transfers
    "posthoc": "post hoc",
    "other": "other",
}
# Students are held against these, which are never the best of a column.
REFERENCE_ROLES = ("teacher", "trunk", "untrained", "features", "control", "posthoc")
OF_ANY_DIM = ("teacher", "trunk", "features")
AGREEMENT = "agreement with the teacher's 10 nearest neighbours"
DASH = "–"

# What XML and HTML cannot hold: control characters, halves of pairs, and what Unicode keeps for no character.
_NO_CHARACTERS = "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
_NO_TEXT = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NO_CHARACTERS}]")
_BREAK = re.compile("[\r\n\u2028\u2029]+")


class Row(NamedTuple):
    """The runs that are averaged over seeds and spread over dimensions: a line of the table."""

    role: str
    method: str
    backbone: str
    hidden: int | None
    l2: bool | None  # None of a family of methods
    steps: int
    settings: str  # what else sets it apart from a row of the same name, such as "lr=0.001"; mostly empty

    @property
    def order(self) -> tuple[Any, ...]:
        """Each head is a group of its own within a role."""
        role, head = list(ROLES).index(self.role), self.hidden or 0
        return role, head, self.method, self.backbone, not self.l2, self.steps, self.settings

    @property
    def network(self) -> str:
        """Trunk, and what its head has beside a linear layer."""
        return f"{self.backbone}, hidden {self.hidden}" if self.hidden else self.backbone

    @property
    def label(self) -> str:
        return f"{self.method} ({self.settings})" if self.settings and self.l2 is not None else self.method

    @property
    def trained(self) -> bool:
        """Whether it is a student that was trained, and so may be the best of its column."""
        return self.role not in REFERENCE_ROLES


@dataclass(frozen=True, eq=False)
class Cell:
    """A row at one dimension: runs that differ in nothing but seeds, and in the teacher where each seed has one."""

    row: Row
    dim: int
    records: tuple[Record, ...]
    units: Mapping[int, int] = field(default_factory=dict)  # as `units_of` gives them

    def by_unit(self, value: Callable[[Record], float]) -> dict[int, float]:
        """A number of each seed, or of each teacher's seeds the mean. Runs of one seed whose teachers differ in seeds are one sample."""
        seeds: dict[int, list[float]] = defaultdict(list)
        for record in self.records:
            seeds[record.spec.seed].append(value(record))
        units: dict[int, list[float]] = defaultdict(list)
        for seed, values in sorted(seeds.items()):
            units[self.units.get(seed, seed)].append(fmean(values))
        return {unit: fmean(values) for unit, values in sorted(units.items())}

    @property
    def seeds(self) -> int:
        return len({record.spec.seed for record in self.records})

    @property
    def teachers(self) -> int:
        """How many networks taught its runs."""
        return len({record.spec.teacher.id for record in self.records if record.spec.teacher is not None})

    def percents(self, metric: str) -> dict[int, float]:
        """A metric that all of its runs measured, by unit."""
        return self.by_unit(lambda record: 100 * record.metrics[metric])

    def over_units(self, value: Callable[[Record], float | None]) -> Summary | None:
        """A number of its runs; None where a run did not measure it."""
        values = {record.id: value(record) for record in self.records}
        known = {id: number for id, number in values.items() if number is not None}
        return summarise(self.by_unit(lambda record: known[record.id]).values()) if known == values else None

    def metric(self, name: str) -> Summary | None:
        """A metric in percent; None where a run did not measure it."""
        return self.over_units(lambda record: percent(record.metrics.get(name)))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that its marks are of: of a family its methods'."""
        return (self,)

    @property
    def fixed_dim(self) -> bool:
        """Whether its dimension is no choice: a teacher, frozen features, generations of networks of the teacher's size."""
        specs = [record.spec for record in self.records[:1]]
        return self.row.role in OF_ANY_DIM or any(spec.generation or spec.method == ENSEMBLE for spec in specs)

    @property
    def network(self) -> str:
        """Trunk, dimension, and what its head has beside a linear layer."""
        return self.row.network.replace(self.row.backbone, f"{self.row.backbone}-{self.dim}", 1)

    @cached_property
    def recall(self) -> dict[int, float]:
        """Recall@1 in percent, by unit."""
        return self.percents("recall@1")

    @cached_property
    def recalled(self) -> Summary:
        """Recall@1 in percent."""
        return summarise(self.recall.values())

    @property
    def mean(self) -> float:
        """Mean Recall@1 in percent."""
        return self.recalled.mean

    @property
    def seconds(self) -> float | None:
        """Seconds of training a run."""
        values = [record.seconds["train"] for record in self.records if "train" in record.seconds]
        return fmean(values) if values else None


def percent(fraction: float | None) -> float | None:
    """Give a fraction as a percentage."""
    return None if fraction is None else 100 * fraction


def batches(cell: Cell) -> tuple[Any, ...]:
    """The settings common to runs that see the same batches through the same trunk at each seed, and so make pairs."""
    spec = cell.records[0].spec
    fields = (getattr(spec, name) for name in Stream.model_fields if name != "seed")
    return *fields, spec.backbone, spec.precision, cell.records[0].data


def head_of(cell: Cell) -> tuple[int, str]:
    """The head of a cell's networks: methods are held against each other at equal ones."""
    return cell.records[0].spec.hidden, cell.records[0].spec.head


def roles_of(records: Sequence[Record], kinds: Mapping[str, str]) -> dict[str, str]:
    """The role of each record by id. A teacher is a run without a teacher that another run names as its own; a trunk likewise."""

    def chain(spec: Spec) -> Iterable[str]:
        while spec.teacher is not None:
            spec = spec.teacher
            yield spec.id

    teachers = {id for record in records for id in chain(record.spec)}
    trunks = {record.spec.trunk.id for record in records if record.spec.trunk is not None}

    def role(spec: Spec) -> str:
        if spec.teacher is None and spec.id in teachers:
            return "teacher"
        if spec.id in trunks:
            return "trunk"
        if spec.method in ("untrained", "features"):
            return spec.method
        if spec.name.startswith(MATRYOSHKA):
            return "nested"
        kind = kinds.get(spec.method, "other")
        return "baseline" if kind == "none" else kind if kind in ROLES else "other"

    return {record.id: role(record.spec) for record in records}


def units_of(records: Iterable[Record], roles: Mapping[str, str]) -> dict[int, int]:
    """The unit of each seed, by which it is counted: its teacher, numbered by its first seed, where several teachers have seeds of
    their own. Empty where a seed is a unit: all have one teacher, or some seed has several."""
    teachers: dict[int, set[str]] = defaultdict(set)
    for record in records:
        if roles[record.id] in FAMILIES and record.spec.teacher is not None and not record.spec.generation:
            teachers[record.spec.seed].add(record.spec.teacher.id)
    if any(len(own) > 1 for own in teachers.values()) or len(set().union(*teachers.values())) < 2:
        return {}
    return {seed: min(other for other, taught in teachers.items() if taught == own) for seed, own in teachers.items()}


def cells_of(records: Sequence[Record], roles: Mapping[str, str]) -> list[Cell]:
    """Group records by all that is not their seed, in the order of a table; teachers that have seeds of their own are samples too."""
    units = units_of(records, roles)
    named: dict[Row, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record.spec.nested_in or record.spec
        row = Row(roles[record.id], spec.name, spec.backbone, spec.hidden, spec.normalize, spec.steps, "")
        named[row][record.spec.dim].append(record)
    cells: dict[tuple[Row, int], list[Record]] = defaultdict(list)
    for row, by_dim in named.items():
        # Where a name at one dimension covers runs of two settings, these become two rows that say what they differ in.
        apart = sorted(set().union(*map(_apart, by_dim.values())))
        for dim, runs in by_dim.items():
            for record in runs:
                own = settings(record) if apart else {}
                text = ", ".join(f"{name.removeprefix('params.')}={own.get(name, DASH)}" for name in apart)
                cells[row._replace(settings=text), dim].append(record)
    ordered = sorted(cells.items(), key=lambda item: (item[0][0].order, item[0][1]))
    return [Cell(*key, tuple(sorted(runs, key=lambda run: (run.spec.seed, run.id))), units) for key, runs in ordered]


def _apart(runs: Sequence[Record]) -> set[str]:
    """The settings that make rows of their own of runs of one name and dimension: not those of teachers that share no seed."""
    own = [settings(run) for run in runs]
    names = varied(own)
    rest = sorted(name for name in names if not name.startswith("teacher."))
    taught: dict[tuple[Any, ...], set[tuple[str | None, ...]]] = defaultdict(set)
    for run, known in zip(runs, own, strict=True):
        alike = run.spec.seed, *(known.get(name) for name in rest)
        taught[alike].add(tuple(known.get(name) for name in sorted(names) if name.startswith("teacher.")))
    return names if any(len(teachers) > 1 for teachers in taught.values()) else set(rest)


def settings(record: Record) -> dict[str, str]:
    """All that may set runs apart but seeds, flat: lr, params.weight, teacher.steps, ..., the images' fingerprint."""

    def flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
        result: dict[str, str] = {}
        for name, value in fields.items():
            if isinstance(value, dict):
                result |= flat(value, f"{prefix}{name}.")
            elif name != "seed":
                result[prefix + name] = str(displayed(value))
        return result

    return {**flat(record.spec.model_dump(mode="json")), "fingerprint": record.data}


def varied(runs: Iterable[Mapping[str, str]]) -> set[str]:
    """The names of settings that have more than one value, or are missing from some."""
    known = list(runs)
    return {name for name in set().union(*known) if len({run.get(name) for run in known}) > 1}


def displayed(value: Any) -> Any:
    """A field as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value) if isinstance(value, Spec) else value


def printable(text: str) -> str:
    """With a replacement character for each one that is no text: a record may be a stranger's."""
    return _NO_TEXT.sub("\ufffd", text)


def one_line(text: object) -> str:
    """Printable, and without the line breaks that would end a row of a table."""
    return _BREAK.sub(" ", printable(str(text)))


def listed(values: Iterable[Any]) -> str:
    """Each value once, in order."""
    return ", ".join(map(str, sorted(set(values))))


def fixed(value: float, digits: int) -> str:
    """Always that many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def signed(mean: float, half: float | None, digits: int = 2) -> str:
    """With its sign, a true minus, and the half-width of its interval where there is one."""
    number = fixed(mean, digits).replace("-", "−")
    return ("" if number.startswith("−") else "+") + number + ("" if half is None else f" ± {fixed(half, digits)}")
