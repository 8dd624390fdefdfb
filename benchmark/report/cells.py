"""From records to the cells of a comparison: what is averaged over seeds, and what may not be averaged away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..spec import ENSEMBLE, Stream
from ..store import Record
from .stats import Summary, summarise

SELF_TAUGHT = "self-taught"
# Groups of a table, in its order. "other": a method that the catalogue no longer has.
ROLES = {
    "teacher": "teacher",
    "trunk": "trunk's own run",
    "untrained": "untrained student",
    "features": "frozen features",
    "baseline": "baseline",
    "individual": "individual (IKD)",
    "relational": "relational (RKD)",
    "mixed": "IKD + RKD",
    SELF_TAUGHT: "self-taught",  # of whatever kind its loss is, it says nothing about what a teacher transfers
    "posthoc": "post hoc",
    "other": "other",
}
# Students are held against these, which are never the best of a column.
REFERENCE_ROLES = ("teacher", "trunk", "untrained", "features", "posthoc")
OF_ANY_DIM = ("teacher", "trunk", "features")
AGREEMENT = "agreement with the teacher's 10 nearest neighbours"
DASH = "–"


# What XML and HTML cannot hold: control characters, halves of pairs, and what Unicode keeps for no character.
_NO_TEXT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_BREAK = re.compile("[\r\n\u2028\u2029]+")


class Row(NamedTuple):
    """The runs that are averaged over seeds and spread over dimensions: a line of the table."""

    role: str
    method: str
    backbone: str
    hidden: int
    l2: bool
    steps: int
    settings: str  # what else sets it apart from a row of the same name, such as "lr=0.001"; mostly empty

    @property
    def order(self) -> tuple[Any, ...]:
        return (
            list(ROLES).index(self.role), self.method, self.backbone, self.hidden, not self.l2, self.steps, self.settings,
        )  # fmt: skip

    @property
    def network(self) -> str:
        """Trunk, and what its head has beside a linear layer."""
        return f"{self.backbone}, hidden {self.hidden}" if self.hidden else self.backbone

    @property
    def distance(self) -> str:
        """The main one, as in `Record.metrics`."""
        return "cosine" if self.l2 else "L2"

    @property
    def label(self) -> str:
        return f"{self.method} ({self.settings})" if self.settings else self.method

    @property
    def trained(self) -> bool:
        """Whether it is a student that was trained, and so may be the best of its column."""
        return self.role not in REFERENCE_ROLES


@dataclass(frozen=True, eq=False)
class Cell:
    """A row at one dimension: runs that differ in nothing but seeds."""

    row: Row
    dim: int
    records: tuple[Record, ...]

    def by_seed(self, value: Callable[[Record], float]) -> dict[int, float]:
        """A number of each run. Runs of one seed that differ in the teacher's are one sample: their mean."""
        seeds: dict[int, list[float]] = defaultdict(list)
        for record in self.records:
            seeds[record.spec.seed].append(value(record))
        return {seed: summarise(values).mean for seed, values in sorted(seeds.items())}

    def over_seeds(self, value: Callable[[Record], float | None]) -> Summary | None:
        """A number of its runs; None where a run did not measure it."""
        found = {record.id: value(record) for record in self.records}
        known = {id: number for id, number in found.items() if number is not None}
        if len(known) < len(self.records):
            return None
        return summarise(list(self.by_seed(lambda record: known[record.id]).values()))

    @property
    def fixed_dim(self) -> bool:
        """Whether its dimension is no choice: a teacher, frozen features, generations of networks of the teacher's size."""
        spec = self.records[0].spec
        return self.row.role in OF_ANY_DIM or spec.generation > 0 or spec.method == ENSEMBLE

    @property
    def network(self) -> str:
        """Trunk, dimension, and what its head has beside a linear layer."""
        return f"{self.row.backbone}-{self.dim}" + (f", hidden {self.row.hidden}" if self.row.hidden else "")

    @cached_property
    def recall(self) -> dict[int, float]:
        """Recall@1 in percent, by seed."""
        return self.by_seed(lambda record: 100 * record.metrics["recall@1"])

    def summary(self, metric: str) -> Summary | None:
        """Percent, by the main distance; None where a run did not measure it."""
        return self.over_seeds(percent(metric))

    @property
    def asymmetric(self) -> Summary | None:
        """Recall@1 of the student's queries in the teacher's gallery; None where the method does not align coordinates."""
        return self.over_seeds(lambda record: scaled(record.asymmetric_metrics.get("recall@1")))

    @property
    def seconds(self) -> float | None:
        """Seconds of training a run."""
        values = [record.seconds["train"] for record in self.records if "train" in record.seconds]
        return summarise(values).mean if values else None


def percent(metric: str) -> Callable[[Record], float | None]:
    """Get a metric of a record by its main distance."""
    return lambda record: scaled(record.metrics.get(metric))


def scaled(fraction: float | None) -> float | None:
    """As a percentage."""
    return None if fraction is None else 100 * fraction


def batches(cell: Cell) -> tuple[Any, ...]:
    """The settings common to runs that see the same batches through the same trunk at each seed, and so make pairs."""
    spec = cell.records[0].spec
    fields = (getattr(spec, name) for name in Stream.model_fields if name != "seed")
    return *fields, spec.backbone, spec.precision, cell.records[0].data


def code(record: Record) -> str:
    return record.environment.get("code", "unknown")


def roles_of(records: Sequence[Record], kinds: Mapping[str, str]) -> dict[str, str]:
    """The role of each record by id. A teacher is a run without a teacher that another run names as its own; a trunk likewise."""
    teachers = set()
    for record in records:
        teacher = record.spec.teacher
        while teacher is not None:
            teachers.add(teacher.id)
            teacher = teacher.teacher

    trunks = {record.spec.trunk.id for record in records if record.spec.trunk is not None}

    def role(record: Record) -> str:
        spec = record.spec
        if spec.teacher is None and record.id in teachers:
            return "teacher"
        if record.id in trunks:
            return "trunk"
        if spec.method in ("untrained", "features"):
            return spec.method
        kind = kinds.get(spec.method, "other")
        return "baseline" if kind == "none" else kind if kind in ROLES else "other"

    return {record.id: role(record) for record in records}


def cells_of(records: Sequence[Record], roles: Mapping[str, str]) -> list[Cell]:
    named: dict[Row, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record.spec
        row = Row(roles[record.id], spec.name, spec.backbone, spec.hidden, spec.normalize, spec.steps, "")
        named[row][spec.dim].append(record)
    cells: dict[tuple[Row, int], list[Record]] = defaultdict(list)
    for row, by_dim in named.items():
        # Where a name at one dimension covers runs of two settings, these become two rows that say what they differ in.
        apart = sorted(set().union(*(varied(list(map(settings, runs))) for runs in by_dim.values())))
        for dim, runs in by_dim.items():
            for record in runs:
                found = settings(record) if apart else {}
                text = ", ".join(f"{name.removeprefix('params.')}={found.get(name, DASH)}" for name in apart)
                cells[row._replace(settings=text), dim].append(record)
    ordered = sorted(cells.items(), key=lambda item: (item[0][0].order, item[0][1]))
    return [
        Cell(row, dim, tuple(sorted(runs, key=lambda run: (run.spec.seed, run.id)))) for (row, dim), runs in ordered
    ]


def settings(record: Record) -> dict[str, str]:
    """All that may set runs apart but seeds, flat: lr, params.weight, teacher.steps, ..., the images' fingerprint."""
    return {**_flat(record.spec.model_dump(mode="json")), "fingerprint": record.data}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            result |= _flat(value, f"{prefix}{name}.")
        elif name != "seed":
            result[prefix + name] = str(plain(value))
    return result


def varied(runs: Sequence[Mapping[str, str]]) -> set[str]:
    """The names of settings that have more than one value, or are missing from some."""
    names = {name for one in runs for name in one}
    return {name for name in names if len({one.get(name) for one in runs}) > 1}


def plain(value: Any) -> Any:
    """A field as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def printable(text: str) -> str:
    """With a replacement character for each one that is no text: a record may be a stranger's."""
    return _NO_TEXT.sub("\ufffd", text)


def one_line(text: object) -> str:
    """Printable, and without the line breaks that would end a row of a table."""
    return _BREAK.sub(" ", printable(str(text)))


def fixed(value: float, digits: int) -> str:
    """Always that many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def signed(mean: float, half: float | None, digits: int = 2) -> str:
    """With its sign, a true minus, and the half-width of its interval where there is one."""
    number = fixed(mean, digits).replace("-", "−")
    return ("" if number.startswith("−") else "+") + number + ("" if half is None else f" ± {fixed(half, digits)}")
