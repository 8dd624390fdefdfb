"""From records to `runs.csv`, `comparison.csv`, `comparison.md` and `tuning.csv`: the same bytes from the same records.

Nothing here reads a clock, a path or another run's files, and nothing imports torch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..store import Metrics, Record
from .stats import Summary, paired, summarise

if TYPE_CHECKING:
    import pandas as pd

# Groups of a table, in its order. "other": a method that the catalogue no longer has.
ROLES = {
    "teacher": "teacher",
    "untrained": "untrained student",
    "features": "frozen features",
    "baseline": "baseline",
    "individual": "individual (IKD)",
    "relational": "relational (RKD)",
    "mixed": "IKD + RKD",
    "posthoc": "post hoc",
    "other": "other",
}
REFERENCE_ROLES = (
    "teacher",
    "untrained",
    "features",
    "posthoc",
)  # what students are held against; never the best of a column
OF_ANY_DIM = ("teacher", "features")  # have a dimension of their own: shown beside the students of every one
AGREEMENT = "agreement with the teacher's 10 nearest neighbours"
BASELINE = "triplet"
FEW_SEEDS = 6
DASH = "–"


class Row(NamedTuple):
    """What is averaged over seeds and spread over dimensions: a line of the table."""

    role: str
    method: str
    backbone: str
    l2: bool
    steps: int
    settings: str  # what else sets it apart from a row of the same name, such as "lr=0.001"; mostly empty

    @property
    def order(self) -> tuple[Any, ...]:
        return list(ROLES).index(self.role), self.method, self.backbone, not self.l2, self.steps, self.settings

    @property
    def distance(self) -> str:
        """The main one, as in `Record.metrics`."""
        return "cosine" if self.l2 else "L2"

    @property
    def label(self) -> str:
        return f"{self.method} ({self.settings})" if self.settings else self.method


@dataclass(frozen=True)
class Cell:
    """A row at one dimension: runs that differ in nothing but seeds."""

    row: Row
    dim: int
    records: tuple[Record, ...]

    def by_seed(self, metric: str, asymmetric: bool = False) -> dict[int, float]:
        """Percent, by the main distance. Runs of one seed that differ in the teacher's are one sample: their mean."""
        seeds: dict[int, list[float]] = defaultdict(list)
        for record in self.records:
            metrics = record.asymmetric_metrics if asymmetric else record.metrics
            seeds[record.spec.seed].append(100 * metrics[metric])
        return {seed: summarise(values).mean for seed, values in sorted(seeds.items())}

    def summary(self, metric: str) -> Summary | None:
        """None where a run did not measure it."""
        if any(metric not in record.metrics for record in self.records):
            return None
        return summarise(list(self.by_seed(metric).values()))

    @property
    def asymmetric(self) -> Summary | None:
        """Recall@1 of the student's queries in the teacher's gallery; None where the method does not align coordinates."""
        if not all(record.asymmetric_metrics for record in self.records):
            return None
        return summarise(list(self.by_seed("recall@1", asymmetric=True).values()))

    @property
    def seconds(self) -> float | None:
        """Of training, a run."""
        values = [record.seconds["train"] for record in self.records if "train" in record.seconds]
        return summarise(values).mean if values else None


class Comparison:
    """The cells of a folder's records, and which of them is whose baseline.

    Args:
        records: at least one.
        kinds: the kind of each method, as in the catalogue.
        need_maps: methods that read feature maps: rows of dashes where all students are heads on features, which have none.
    """

    def __init__(self, records: Iterable[Record], kinds: Mapping[str, str], need_maps: Sequence[str] = ()) -> None:
        self.records = tuple(records)
        taught = [record for record in self.records if record.spec.teacher is not None]
        on_features = bool(taught) and all(record.spec.views for record in taught)
        self.left_out = [(kinds[name], name) for name in need_maps] if on_features else []
        self.kinds = kinds
        self.roles = _roles(self.records, kinds)
        self.cells = _cells(self.records, self.roles)
        self.rows = sorted({cell.row for cell in self.cells}, key=lambda row: row.order)
        self.dims = sorted({cell.dim for cell in self.cells})
        self._at = {(cell.row, cell.dim): cell for cell in self.cells}

    def at(self, row: Row, dim: int) -> Cell | None:
        return self._at.get((row, dim))

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

    def baseline(self, cell: Cell) -> Cell | None:
        """The triplet student of the same images, backbone, dimension and steps; of several, the one most alike."""
        if cell.row.method == BASELINE:
            return None
        same = [
            other
            for other in self.cells
            if other.row.method == BASELINE
            and other.row.role == "baseline"
            and (other.row.backbone, other.dim, other.row.steps) == (cell.row.backbone, cell.dim, cell.row.steps)
            and other.records[0].data == cell.records[0].data
        ]
        ours = _settings(cell.records[0]).items()

        def unlike(other: Cell) -> tuple[Any, ...]:
            theirs = _settings(other.records[0]).items()
            return other.row.l2 != cell.row.l2, len(ours ^ theirs), other.row.order

        return min(same, key=unlike, default=None)

    def difference(self, cell: Cell) -> Summary | None:
        """Of Recall@1 to the baseline, in points, paired by seed."""
        other = self.baseline(cell)
        return None if other is None else paired(cell.by_seed("recall@1"), other.by_seed("recall@1"))


def _roles(records: Sequence[Record], kinds: Mapping[str, str]) -> dict[str, str]:
    """The role of each record by id. A teacher is a run without a teacher that another run names as its own."""
    teachers = set()
    for record in records:
        teacher = record.spec.teacher
        while teacher is not None:
            teachers.add(teacher.id)
            teacher = teacher.teacher

    def role(record: Record) -> str:
        spec = record.spec
        if spec.teacher is None and record.id in teachers:
            return "teacher"
        if spec.method in ("untrained", "features"):
            return spec.method
        kind = kinds.get(spec.method, "other")
        return "baseline" if kind == "none" else kind if kind in ROLES else "other"

    return {record.id: role(record) for record in records}


def _cells(records: Sequence[Record], roles: Mapping[str, str]) -> list[Cell]:
    named: dict[Row, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record.spec
        row = Row(roles[record.id], spec.name, spec.backbone, spec.normalize, spec.steps, "")
        named[row][spec.dim].append(record)
    cells: dict[tuple[Row, int], list[Record]] = defaultdict(list)
    for row, by_dim in named.items():
        # Where a name at one dimension covers runs of two settings, these become two rows that say what they differ in.
        varied = sorted(set().union(*(_varied(list(map(_settings, runs))) for runs in by_dim.values())))
        for dim, runs in by_dim.items():
            for record in runs:
                settings = _settings(record)
                text = ", ".join(f"{name.removeprefix('params.')}={settings.get(name, DASH)}" for name in varied)
                cells[row._replace(settings=text), dim].append(record)
    ordered = sorted(cells.items(), key=lambda item: (item[0][0].order, item[0][1]))
    return [
        Cell(row, dim, tuple(sorted(runs, key=lambda run: (run.spec.seed, run.id)))) for (row, dim), runs in ordered
    ]


def _settings(record: Record) -> dict[str, str]:
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


def _varied(settings: Sequence[Mapping[str, str]]) -> set[str]:
    """The names that have more than one value, or are missing from some."""
    return {name for one in settings for name in one if len({other.get(name) for other in settings}) > 1}


def plain(value: Any) -> Any:
    """A field as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def frame(compared: Comparison) -> pd.DataFrame:
    """A row a run: what it is, all its settings, and all it measured. Metrics in percent, missing values empty."""
    import pandas as pd

    roles = compared.roles

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        row = Row(roles[record.id], spec.name, spec.backbone, spec.normalize, spec.steps, "")
        return *row.order, spec.dim, spec.seed, record.id

    def asymmetric(record: Record) -> float | None:
        return 100 * record.asymmetric_metrics["recall@1"] if record.asymmetric_metrics else None

    def line(record: Record) -> dict[str, Any]:
        spec, found = record.spec, record.evaluation
        first = {
            "role": roles[record.id],
            "method": spec.method,
            "kind": compared.kinds.get(spec.method, "other"),
            "backbone": spec.backbone,
            "dim": spec.dim,
            "l2": plain(spec.normalize),
            "teacher": spec.teacher.id if spec.teacher else "",
            "seed": spec.seed,
            "steps": spec.steps,
            "params": json.dumps(spec.params, sort_keys=True) if spec.params else "",
        }
        rest = {name: plain(value) for name, value in spec if name not in {*first, "normalize"}}
        return {
            **first,
            **{f"{name} [px]" if name in ("resize", "image") else name: value for name, value in rest.items()},
            "loss": None if record.loss is None else float(f"{record.loss:.4g}"),
            "distance": "cosine" if spec.normalize else "L2",
            **_percent(record.metrics, ""),
            **_percent(found.l2, "L2 "),
            **_percent(found.cosine, "cosine "),
            **({"asymmetric recall@1 [%]": asymmetric(record)} if compared.asymmetric else {}),
            "queries": found.queries,
            "dropped": found.dropped,
            "gallery": found.gallery,
            "parameters": record.parameters,
            **{f"{name} [s]": record.seconds.get(name) for name in ("train", "evaluate")},
            "fingerprint": record.data,
            "code": record.environment.get("code", ""),
            "id": record.id,
        }

    return pd.DataFrame([line(record) for record in sorted(compared.records, key=order)])


def _percent(metrics: Metrics, prefix: str) -> dict[str, float]:
    def order(name: str) -> tuple[bool, int, str]:
        return (False, int(name.split("@")[1]), "") if name.startswith("recall@") else (True, 0, name)

    return {f"{prefix}{name} [%]": 100 * metrics[name] for name in sorted(metrics, key=order)}


def comparison(compared: Comparison) -> pd.DataFrame:
    """A row a method and dimension: means over seeds, their spread, and the difference to the baseline."""
    import pandas as pd

    def line(cell: Cell) -> dict[str, Any]:
        row, recall, others = cell.row, cell.summary("recall@1"), [*compared.recalls[1:], "map@r"]
        difference = compared.difference(cell)
        means = {name: cell.summary(name) for name in others}
        return {
            "role": row.role,
            "method": row.method,
            "settings": row.settings,
            "backbone": row.backbone,
            "dim": cell.dim,
            "l2": plain(row.l2),
            "distance": row.distance,
            "steps": row.steps,
            "seeds": len(cell.by_seed("recall@1")),
            "recall@1 mean [%]": recall and recall.mean,
            "recall@1 sd [points]": recall and recall.sd,
            "recall@1 95% half-width [points]": recall and recall.half,
            **{f"{name} mean [%]": summary and summary.mean for name, summary in means.items()},
            f"recall@1 minus {BASELINE} [points]": difference and difference.mean,
            "difference 95% half-width [points]": difference and difference.half,
            "difference seeds": difference.n if difference else 0,
            **(
                {"asymmetric recall@1 mean [%]": cell.asymmetric and cell.asymmetric.mean}
                if compared.asymmetric
                else {}
            ),
            "train [s]": cell.seconds,
        }

    return pd.DataFrame([line(cell) for cell in compared.cells])


def tuning(records: Iterable[Record]) -> pd.DataFrame:
    """A row a validation run and evaluated step: what was varied, and what it gave on held-out training classes."""
    import pandas as pd

    by_method: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_method[record.spec.method].append(record)
    always = {"method", "backbone", "dim", "normalize", "lr"}
    varied = sorted(set().union(*(_varied(list(map(_settings, runs))) for runs in by_method.values())) - always)

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        return spec.method, spec.backbone, spec.dim, not spec.normalize, spec.lr, spec.seed, record.id

    lines = []
    for record in sorted((record for runs in by_method.values() for record in runs), key=order):
        spec, settings = record.spec, _settings(record)
        points = {point.step: point.evaluation for point in record.curve} | {spec.steps: record.evaluation}
        for step, found in sorted(points.items()):
            metrics = found.cosine if spec.normalize else found.l2
            lines.append(
                {
                    "method": spec.method,
                    "backbone": spec.backbone,
                    "dim": spec.dim,
                    "l2": plain(spec.normalize),
                    "lr": spec.lr,
                    **{name: settings.get(name, "") for name in varied},
                    "seed": spec.seed,
                    "step": step,
                    "recall@1 [%]": 100 * metrics["recall@1"],
                    "map@r [%]": 100 * metrics["map@r"],
                    "id": record.id,
                }
            )
    return pd.DataFrame(lines)


def fixed(value: float, digits: int) -> str:
    """Always that many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def csv(table: pd.DataFrame) -> str:
    """With the decimals that a column's unit asks for: percent and points 2, seconds 1."""
    table = table.copy()
    for name in table.columns:
        digits = 2 if name.endswith(("[%]", "[points]")) else 1 if name.endswith("[s]") else None
        if digits is not None:
            texts = ["" if value is None or value != value else fixed(value, digits) for value in table[name]]
            table[name] = texts
    return table.to_csv(index=False, lineterminator="\n")
