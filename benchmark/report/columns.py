"""Every column of the tables of runs, cells, families and tuning, declared once.

CSV has the columns with a key; Markdown, LaTeX, the page and the terminal have those with a label; all in the order of their list. Tables
that have no CSV (costs, the paper's numbers, contrasts, the overview) declare theirs beside their text, as lists of the same `Column`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..spec import Spec
from ..store import Geometry, Metrics, Record
from .cells import ROLES, Cell, code, fixed, percent, plain, scaled, settings, signed
from .comparison import Comparison
from .render import Heading, Line, Value, dash, text
from .stats import Summary

T = TypeVar("T")
Plain = str | int | float | bool | None
TEXT = "text"  # the unit of what is no number, and stands on the left
ONE_SEED = "one seed has no interval"
UNALIGNED = "the method aligns no coordinates"
NO_TEST = "no test: fewer than six pairs, equal differences, or nothing to compare with"


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of tables whose lines are each about a T."""

    key: str  # its name in CSV, without the unit; "": it is not there
    label: str = ""  # its heading for readers; "": it is in CSV alone
    unit: str = TEXT  # "%", "points", "s", ...; "" of bare numbers
    digits: int | Literal["p"] | None = (
        None  # decimals; "p": two significant digits, for readers 4 decimals; None: as is
    )
    of: Callable[[T], Plain] = field(kw_only=True)  # the value; None where there is none
    note: str | Callable[[T], str] = ""  # why there is none, which a reader sees at the dash
    spread: Callable[[T], float | None] | None = None  # what readers see behind ±; points that have it are signed
    times: float = 1  # makes a value one of the unit; the page sorts by the value itself
    marks: Literal["", "best", "recall"] = ""  # "best": that is bold; "recall": as Recall@1, ≈ and `FLAGS` as well

    def exact(self, subject: T) -> Any:
        """The value for CSV; empty where there is none."""
        value = self.of(subject)
        if value is None or value != value:
            return ""
        if self.digits is None or isinstance(value, str):
            return plain(value)
        return f"{value:.2g}" if self.digits == "p" else fixed(self.times * value, self.digits)

    def entry(self, subject: T) -> Value:
        """The value for readers; a dash with its reason where there is none."""
        value = self.of(subject)
        if value is None:
            return dash(self.note if isinstance(self.note, str) else self.note(subject))
        if self.digits is None or isinstance(value, str):
            return text(plain(value))
        if self.digits == "p":
            return Value("< 0.0001" if value < 1e-4 else fixed(value, 4), number=value)
        shown = fixed(self.times * value, self.digits)
        if self.spread is None:  # a width is sorted by its text
            return Value(shown, number=None if self.unit == "points" else value)
        spread = self.spread(subject)
        if self.unit == "points":
            return Value(signed(value, spread, self.digits), number=value)
        return Value(shown if spread is None else f"{shown} ± {fixed(spread, self.digits)}", number=value)


def readable(columns: Sequence[Column[T]]) -> list[Column[T]]:
    """Those that readers see."""
    return [column for column in columns if column.label]


def headings(columns: Sequence[Column[T]]) -> tuple[Heading, ...]:
    return tuple(Heading(column.label, column.unit != TEXT) for column in columns)


def line(columns: Sequence[Column[T]], subject: T, *about: Any) -> Line:
    """A line of entries; `about` as in `Line`."""
    return Line(tuple(column.entry(subject) for column in columns), *about)


def part(whole: Callable[[T], object | None], name: str) -> Callable[[T], Any]:
    """A field of what may be missing: of a summary, the geometry, a difference."""

    def of(subject: T) -> Any:
        value = whole(subject)
        return None if value is None else getattr(value, name)

    return of


def mean(label: str, summary: Callable[[T], Summary | None], note: str = "") -> Column[T]:
    """A mean in percent, for readers."""
    return Column("", label, "%", 2, of=part(summary, "mean"), note=note)


def mean_sd(label: str, summary: Callable[[T], Summary | None]) -> Column[T]:
    """A mean in percent ± its standard deviation: Recall@1, for readers."""
    return Column("", label, "%", 2, of=part(summary, "mean"), spread=part(summary, "sd"), marks="recall")


def difference(label: str, summary: Callable[[T], Summary | None], note: str | Callable[[T], str] = "") -> Column[T]:
    """A difference ± half its interval, for readers."""
    return Column("", label, "points", 2, of=part(summary, "mean"), note=note, spread=part(summary, "half"))


def recall_at_1(cell: Cell) -> Summary | None:
    return cell.summary("recall@1")


def of_runs(compared: Comparison) -> list[Column[Record]]:
    """`runs.csv` has what a run is, all its settings, and all it measured; the page what it shows of every run."""
    roles, kinds = compared.roles, compared.kinds
    first: list[Column[Record]] = [
        Column("role", of=lambda record: roles[record.id]),
        Column("", "group", of=lambda record: ROLES[roles[record.id]]),
        Column("method", of=lambda record: record.spec.method),
        Column("", "method", of=lambda record: record.spec.name),
        Column("kind", of=lambda record: kinds.get(record.spec.method, "other")),
        _setting("backbone"),
        Column("", "network", of=lambda record: f"{record.spec.backbone}-{record.spec.dim}"),
        _setting("dim"),
        _setting("normalize", key="l2"),
        Column("teacher", of=lambda record: record.spec.teacher.id if record.spec.teacher else None),
        _setting("seed", "seed", ""),
        _setting("steps", "steps", ""),
        Column(
            "params", of=lambda record: json.dumps(record.spec.params, sort_keys=True) if record.spec.params else ""
        ),
    ]
    named = {"normalize", *(column.key for column in first)}
    metrics = sorted({name for record in compared.records for name in record.metrics}, key=_metric_order)
    return [
        *first,
        *(_setting(name) for name in Spec.model_fields if name not in named),
        Column("loss", of=lambda record: None if record.loss is None else float(f"{record.loss:.4g}")),
        Column("distance", of=lambda record: "cosine" if record.spec.normalize else "L2"),
        *(_metric(name, "", lambda record: record.metrics) for name in metrics),
        *(_metric(name, "L2 ", lambda record: record.evaluation.l2) for name in metrics),
        *(_metric(name, "cosine ", lambda record: record.evaluation.cosine) for name in metrics),
        *[_metric("recall@1", "asymmetric ", lambda record: record.asymmetric_metrics)] * compared.asymmetric,
        *(Column(name, of=attrgetter(f"evaluation.{name}")) for name in ("queries", "dropped", "gallery")),
        Column("parameters", of=lambda record: record.parameters),
        Column("train", "train, s", "s", 1, of=lambda record: record.seconds.get("train"), note="nothing is trained"),
        Column("evaluate", "", "s", 1, of=lambda record: record.seconds.get("evaluate")),
        *(Column(name.replace("_", " "), of=_geometry(name)) for name in Geometry.model_fields),
        Column("", "device", of=lambda record: record.environment.get("device", "unknown")),
        Column("", "code", of=code),
        Column("fingerprint", "images", of=lambda record: record.data),
        Column("code", of=lambda record: record.environment.get("code")),
        Column("id", "id", of=lambda record: record.id),
    ]


def _setting(name: str, label: str = "", unit: str = TEXT, key: str = "") -> Column[Record]:
    def of(record: Record) -> Plain:
        value: Any = plain(getattr(record.spec, name))
        return str(value) if isinstance(value, Spec) else value

    return Column(key or name, label, "px" if name in ("resize", "image") else unit, of=of)


def _metric_order(name: str) -> tuple[bool, int, str]:
    """Recall@K by K before the others."""
    return (False, int(name.split("@")[1]), "") if name.startswith("recall@") else (True, 0, name)


def _metric(name: str, distance: str, metrics: Callable[[Record], Metrics]) -> Column[Record]:
    """A metric by one distance; readers have the two that matter by the main one."""
    label = "" if distance else {"recall@1": "R@1", "map@r": "MAP@R"}.get(name, "")
    return Column(
        distance + name, label, "%", 2, of=lambda record: metrics(record).get(name), note="not measured", times=100
    )


def _geometry(name: str) -> Callable[[Record], float | None]:
    return part(lambda record: record.geometry, name)


def of_names(network: Callable[[Cell], str] = lambda cell: cell.network) -> list[Column[Cell]]:
    """Name a cell; readers see the network as `network` has it."""
    return [
        Column("role", of=lambda cell: cell.row.role),
        Column("", "group", of=lambda cell: ROLES[cell.row.role]),
        Column("method", of=lambda cell: cell.row.method),
        Column("", "method", of=lambda cell: cell.row.label),
        Column("settings", of=lambda cell: cell.row.settings),
        Column("backbone", of=lambda cell: cell.row.backbone),
        Column("", "network", of=network),
        Column("hidden", of=lambda cell: cell.row.hidden),
        Column("dim", of=lambda cell: cell.dim),
        Column("l2", "l2", of=lambda cell: cell.row.l2),
        Column("distance", of=lambda cell: cell.row.distance),
        Column("steps", "steps", "", of=lambda cell: cell.row.steps),
    ]


def of_cells(compared: Comparison) -> list[Column[Cell]]:
    """`comparison.csv` and the tables of one dimension: means over seeds, their spread, and the difference to the baseline."""
    baseline = compared.baseline
    asymmetric: Callable[[Cell], float | None] = part(attrgetter("asymmetric"), "mean")
    gap: Callable[[Cell], Summary | None] = part(compared.difference, "summary")
    p: Callable[[Cell], float | None] = part(compared.difference, "p")

    def why(cell: Cell) -> str:
        if cell.row.method == baseline and cell.row.trained:
            return "it is the baseline"
        if not cell.row.trained:
            return "it is no student that was trained on the same batches"
        return f"no {baseline} student of the same batches, trunk and dimension"

    others = [(name, name.replace("recall", "R")) for name in compared.recalls[1:]] + [("map@r", "MAP@R")]
    measured = Geometry.model_fields if any(record.geometry for record in compared.records) else ()
    return [
        *of_names(),
        Column("seeds", "seeds", "", of=lambda cell: len(cell.recall)),
        Column("recall@1 mean", "R@1", "%", 2, of=part(recall_at_1, "mean"), marks="recall"),
        Column("recall@1 sd", "", "points", 2, of=part(recall_at_1, "sd")),
        Column("recall@1 95% half-width", "R@1 ± 95 %", "points", 2, of=part(recall_at_1, "half"), note=ONE_SEED),
        difference(f"R@1 − {baseline}, ± 95 %", gap, why),  # in CSV it is three columns, behind all that is measured
        Column("", "p", "", "p", of=p, note=NO_TEST),
        *(
            Column(f"{name} mean", label, "%", 2, of=_over_seeds(percent(name)), note="not measured", marks="best")
            for name, label in others
        ),
        Column(f"recall@1 minus {baseline}", "", "points", 2, of=part(gap, "mean")),
        Column("difference 95% half-width", "", "points", 2, of=part(gap, "half")),
        Column("difference seeds", of=lambda cell: getattr(gap(cell), "n", 0)),
        Column("difference p (Holm)", "", "", "p", of=p),
        *[Column("asymmetric recall@1 mean", "asym. R@1", "%", 2, of=asymmetric, note=UNALIGNED)] * compared.asymmetric,
        *(Column(f"{name.replace('_', ' ')} mean", "", "", 4, of=_over_seeds(_geometry(name))) for name in measured),
        Column("train", "train, s", "s", 1, of=lambda cell: cell.seconds, note="nothing is trained"),
        Column("flags", of=compared.flags),
    ]


def of_likeness() -> list[Column[Cell]]:
    """How an embedding lies in its space, rounded for readers, and the overlap in percent."""
    none = "not measured when it was run: benchmark measure"
    no_teacher = "no teacher taught it, or not measured when it was run"
    overlap = _over_seeds(lambda record: scaled(_geometry("overlap")(record)))
    return [
        Column("", "overlap, %", "%", 2, of=overlap, note=no_teacher),
        Column("", "rank correlation", "", 3, of=_over_seeds(_geometry("rank_correlation")), note=no_teacher),
        Column("", "effective dimension", "", 1, of=_over_seeds(_geometry("effective_dimension")), note=none),
        Column("", "spectral decay", "", 3, of=_over_seeds(_geometry("spectral_decay")), note=none),
    ]


def _over_seeds(value: Callable[[Record], float | None]) -> Callable[[Cell], float | None]:
    """The mean over seeds."""
    return part(lambda cell: cell.over_seeds(value), "mean")


class Tried(NamedTuple):
    """A validation run at a step."""

    record: Record
    step: int
    metrics: Metrics  # by the main distance


def of_tuning(varied: Sequence[str]) -> list[Column[Tried]]:
    """`tuning.csv`: what was varied, and what it gave on held-out training classes."""

    def field_of(name: str, key: str = "") -> Column[Tried]:
        return Column(key or name, of=lambda tried: plain(getattr(tried.record.spec, name)))

    def setting(name: str) -> Column[Tried]:
        return Column(name, of=lambda tried: settings(tried.record).get(name))

    def metric(name: str) -> Column[Tried]:
        return Column(name, "", "%", 2, of=lambda tried: tried.metrics.get(name), times=100)

    return [
        *(field_of(name) for name in ("method", "backbone", "dim")),
        field_of("normalize", "l2"),
        field_of("lr"),
        *map(setting, varied),
        field_of("seed"),
        Column("step", of=lambda tried: tried.step),
        *map(metric, ("recall@1", "map@r")),
        Column("id", of=lambda tried: tried.record.id),
    ]
