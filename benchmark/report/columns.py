"""Every column of the tables of runs, cells, families and tuning, declared once.

CSV has the columns with a key, readers those with a label, in the order of their list. Tables without CSV declare theirs beside their text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..record import Geometry, Metrics, Record
from ..spec import Spec
from . import render
from .cells import ROLES, Cell, displayed, fixed, percent, signed
from .comparison import Comparison
from .render import Heading, Line, Table, Value, dash, text
from .stats import Summary

T = TypeVar("T")
TEXT = "text"  # the unit of what is no number, and stands on the left
ONE_SEED = "one seed, or teacher, has no interval"
NO_TEST = "no test: fewer than six pairs, equal differences, or nothing to compare with"


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of tables whose lines are each about a T."""

    key: str  # its name in CSV, without the unit; "": it is not there
    label: str = ""  # its heading for readers; "": it is in CSV alone
    unit: str = TEXT  # "%", "points", "s", ...; "" of bare numbers
    # Decimals; "p": two significant digits, for readers 4 decimals; None: as is.
    digits: int | Literal["p"] | None = None
    of: Callable[[T], Any] = field(kw_only=True)  # the value, or a Summary, whose mean it is; None where there is none
    note: str | Callable[[T], str] = ""  # why there is none, which a reader sees at the dash
    spread: Literal["", "sd", "half"] = ""  # of a Summary, what readers see behind ±; points that have it are signed
    times: float = 1  # makes a value one of the unit; the page sorts by the value itself
    best: Callable[[T], bool] | None = None  # whether nothing is better, which is bold
    flags: Callable[[T], str] | None = None  # marks of `LEGEND`, behind the value

    def exact(self, subject: T) -> Any:
        """The value for CSV; empty where there is none."""
        value = self._value(self.of(subject))
        if value is None or value != value:
            return ""
        if self.digits is None or isinstance(value, str):
            return displayed(value)
        return f"{value:.2g}" if self.digits == "p" else fixed(self.times * value, self.digits)

    def entry(self, subject: T) -> Value:
        """The value for readers, with its marks; a dash with its reason where there is none."""
        given = self.of(subject)
        value = self._value(given)
        if value is None:
            return dash(self.note if isinstance(self.note, str) else self.note(subject))
        best, flags = bool(self.best and self.best(subject)), self.flags(subject) if self.flags else ""
        if self.digits is None or isinstance(value, str):
            return text(displayed(value))._replace(best=best, flags=flags)
        if self.digits == "p":
            return Value("< 0.0001" if value < 1e-4 else fixed(value, 4), best, flags, number=value)
        spread = getattr(given, self.spread) if self.spread else None
        if self.unit == "points" and self.spread:
            return Value(signed(value, spread, self.digits), best, flags, number=value)
        shown = fixed(self.times * value, self.digits) + ("" if spread is None else f" ± {fixed(spread, self.digits)}")
        # A width is sorted by its text.
        return Value(shown, best, flags, number=None if self.unit == "points" else value)

    @staticmethod
    def _value(given: Any) -> Any:
        return given.mean if isinstance(given, Summary) else given


def headings(columns: Sequence[Column[T]]) -> list[Heading]:
    return [Heading(column.label, column.unit != TEXT) for column in columns]


def laid_out(
    kind: str, columns: Sequence[Column[T]], about: Iterable[tuple[T, *tuple[Any, ...]]], **captioned: Any
) -> Table:
    """A table of a line each subject, behind which stands what else a `Line` has; the caption as in `captioned`."""
    lines = [Line(tuple(column.entry(subject) for column in columns), *more) for subject, *more in about]
    return render.captioned(kind, headings(columns), lines, **captioned)


def recall_column(label: str, compared: Comparison) -> Column[Cell]:
    """Recall@1 in percent ± its standard deviation, for readers; bold where nothing of its head is better, and with flags."""
    column = metric_column("recall@1", compared)
    return replace(column, label=label, of=attrgetter("recalled"), flags=compared.flags)


def metric_column(name: str, compared: Comparison) -> Column[Cell]:
    """The same of any metric, without flags."""
    label, of = metric_heading(name), partial(Cell.metric, name=name)
    return Column("", label, "%", 2, of=of, spread="sd", best=lambda cell: cell in compared.leading(name))


def difference_column(label: str, of: Callable[[T], Summary | None], note: str | Callable[[T], str] = "") -> Column[T]:
    """A difference ± half its interval, for readers."""
    return Column("", label, "points", 2, of=of, note=note, spread="half")


def of_runs(compared: Comparison) -> list[Column[Record]]:
    """`runs.csv` has what a run is, all its settings, and all it measured; the page what it shows of every run."""
    roles, kinds = compared.roles, compared.kinds

    def setting(name: str, label: str = "", unit: str = TEXT, key: str = "") -> Column[Record]:
        unit = "px" if name in ("resize", "image") else unit
        return Column(key or name, label, unit, of=lambda record: displayed(getattr(record.spec, name)))

    def metric(name: str, distance: str, of: Callable[[Record], Metrics]) -> Column[Record]:
        """A metric by one distance; readers have the two that matter by the main one."""
        label = metric_heading(name) if not distance and name in ("recall@1", "map@r") else ""
        return Column(
            distance + name, label, "%", 2, of=lambda record: of(record).get(name), note="not measured", times=100
        )

    first: list[Column[Record]] = [
        Column("role", of=lambda record: roles[record.id]),
        Column("", "group", of=lambda record: ROLES[roles[record.id]]),
        Column("method", of=attrgetter("spec.method")),
        Column("", "method", of=attrgetter("spec.name")),
        Column("kind", of=lambda record: kinds.get(record.spec.method, "other")),
        *[Column("labels", of=lambda record: record.spec.method in compared.labelled)] * bool(compared.labelled),
        *[Column("paper", of=lambda record: compared.papers.get(record.spec.method))] * bool(compared.papers),
        setting("backbone"),
        Column("", "network", of=lambda record: f"{record.spec.backbone}-{record.spec.dim}"),
        setting("dim"),
        setting("normalize", key="l2"),
        Column("teacher", of=lambda record: record.spec.teacher and record.spec.teacher.id),
        setting("seed", "seed", ""),
        setting("steps", "steps", ""),
        Column(
            "params", of=lambda record: json.dumps(record.spec.params, sort_keys=True) if record.spec.params else ""
        ),
    ]
    named = {"normalize", *(column.key for column in first)}
    metrics = _metrics(compared)
    return [
        *first,
        *(setting(name) for name in Spec.model_fields if name not in named),
        Column("loss", of=lambda record: None if record.loss is None else float(f"{record.loss:.4g}")),
        Column("distance", of=lambda record: "cosine" if record.spec.normalize else "L2"),
        *(metric(name, "", attrgetter("metrics")) for name in metrics),
        *(metric(name, "L2 ", attrgetter("evaluation.l2")) for name in metrics),
        *(metric(name, "cosine ", attrgetter("evaluation.cosine")) for name in metrics),
        *[metric("recall@1", "asymmetric ", attrgetter("asymmetric_metrics"))] * compared.asymmetric,
        *(Column(name, of=attrgetter(f"evaluation.{name}")) for name in ("queries", "dropped", "gallery")),
        Column("parameters", of=attrgetter("parameters")),
        Column("train", "train, s", "s", 1, of=lambda record: record.seconds.get("train"), note="nothing is trained"),
        Column("evaluate", "", "s", 1, of=lambda record: record.seconds.get("evaluate")),
        *(Column(name.replace("_", " "), of=_geometry(name)) for name in Geometry.model_fields),
        Column("", "device", of=lambda record: record.environment.get("device", "unknown")),
        Column("", "code", of=lambda record: record.environment.get("code", "unknown")),
        Column("fingerprint", "images", of=attrgetter("data")),
        Column("code", of=lambda record: record.environment.get("code")),
        Column("id", "id", of=attrgetter("id")),
    ]


def _metrics(compared: Comparison, *more: str) -> list[str]:
    """All that a run has, Recall@K by K before the others."""
    names = {*more, *(name for record in compared.records for name in record.metrics)}
    return sorted(names, key=lambda name: (False, int(name[7:]), "") if name.startswith("recall@") else (True, 0, name))


def metric_heading(metric: str) -> str:
    return "R-Precision" if metric == "r_precision" else metric.upper().replace("RECALL", "R")


def _geometry(name: str) -> Callable[[Record], float | None]:
    return lambda record: getattr(record.geometry, name, None)


def of_names(compared: Comparison, network: str = "network") -> list[Column[Cell]]:
    """Name a cell; readers see the network by that attribute."""
    labels = Column[Cell](
        "labels", "labels", of=lambda cell: cell.row.method in compared.labelled if cell.records else ""
    )
    return [
        Column("role", of=attrgetter("row.role")),
        Column("", "group", of=lambda cell: ROLES[cell.row.role.removesuffix(" family")]),
        Column("method", of=attrgetter("row.method")),
        Column("", "method", of=attrgetter("row.label")),
        *[labels] * bool(compared.labelled),
        Column("settings", of=attrgetter("row.settings")),
        Column("backbone", of=attrgetter("row.backbone")),
        Column("", "network", of=attrgetter(network)),
        Column("hidden", of=attrgetter("row.hidden")),
        Column("dim", of=attrgetter("dim")),
        Column("l2", "l2", of=lambda cell: "" if cell.row.l2 is None else cell.row.l2),
        Column("distance", of=lambda cell: {None: None, True: "cosine", False: "L2"}[cell.row.l2]),
        Column("steps", "steps", "", of=attrgetter("row.steps")),
    ]


def of_cells(compared: Comparison) -> list[Column[Cell]]:
    """`comparison.csv` and the tables of one dimension: means over seeds, their spread, and the difference to the baseline."""
    baseline, gap = compared.baseline, compared.differences.get

    def why(cell: Cell) -> str:
        if cell.row.method == baseline and cell.row.trained:
            return "it is the baseline"
        if not cell.row.trained:
            return "it is no student that was trained on the same batches"
        return f"no {baseline} student of the same batches, trunk and dimension"

    def unless_family(reason: str) -> Callable[[Cell], str]:
        return lambda cell: reason if cell.records else "of Recall@1 alone"

    def metric(name: str) -> Column[Cell]:
        column = metric_column(name, compared)
        best = column.best if name == "map@r" else None
        return replace(column, key=f"{name} mean", note=unmeasured, spread="", best=best)

    others = [name for name in _metrics(compared, "map@r") if name not in ("recall@1", "r_precision")]
    measured = Geometry.model_fields if any(record.geometry for record in compared.records) else ()
    asymmetric = _over_units(lambda record: percent(record.asymmetric_metrics.get("recall@1")))
    unaligned, unmeasured = unless_family("the method aligns no coordinates"), unless_family("not measured")
    return [
        *of_names(compared),
        Column("seeds", "seeds", "", of=attrgetter("seeds")),
        *[Column("teachers", "teachers", "", of=attrgetter("teachers"))] * (compared.unit == "teacher"),
        replace(recall_column("R@1", compared), key="recall@1 mean", spread=""),
        Column("recall@1 leads", of=lambda cell: bool(cell.records) and cell in compared.leading("recall@1")),
        Column("recall@1 sd", "", "points", 2, of=attrgetter("recalled.sd")),
        Column("recall@1 95% half-width", "R@1 ± 95 %", "points", 2, of=attrgetter("recalled.half"), note=ONE_SEED),
        # In CSV it is three columns, behind all that is measured.
        difference_column(f"R@1 − {baseline}, ± 95 %", compared.difference, why),
        Column("", "p", "", "p", of=compared.p.get, note=unless_family(NO_TEST)),
        *(metric(name) for name in others),
        Column(f"recall@1 minus {baseline}", "", "points", 2, of=gap),
        Column("difference 95% half-width", "", "points", 2, of=lambda cell: getattr(gap(cell), "half", None)),
        Column(f"difference {compared.unit}s", of=lambda cell: getattr(gap(cell), "n", 0)),
        Column("difference p (Holm)", "", "", "p", of=compared.p.get),
        *[Column("asymmetric recall@1 mean", "asym. R@1", "%", 2, of=asymmetric, note=unaligned)] * compared.asymmetric,
        *(Column(f"{name.replace('_', ' ')} mean", "", "", 4, of=_over_units(_geometry(name))) for name in measured),
        Column("train", "train, s", "s", 1, of=attrgetter("seconds"), note=unless_family("nothing is trained")),
        Column("flags", of=lambda cell: compared.flags(cell) if cell.records else ""),
    ]


def of_likeness() -> list[Column[Cell]]:
    """How an embedding lies in its space, rounded for readers, and the overlap in percent."""
    none = "not measured when it was run: benchmark measure"
    no_teacher = "no teacher taught it, or not measured when it was run"
    overlap = _over_units(lambda record: percent(_geometry("overlap")(record)))
    return [
        Column("", "overlap, %", "%", 2, of=overlap, note=no_teacher),
        Column("", "rank correlation", "", 3, of=_over_units(_geometry("rank_correlation")), note=no_teacher),
        Column("", "effective dimension", "", 1, of=_over_units(_geometry("effective_dimension")), note=none),
        Column("", "spectral decay", "", 3, of=_over_units(_geometry("spectral_decay")), note=none),
    ]


def _over_units(value: Callable[[Record], float | None]) -> Callable[[Cell], Summary | None]:
    return lambda cell: cell.over_units(value)


class Tried(NamedTuple):
    """A validation run at a step."""

    record: Record
    settings: Mapping[str, str]
    step: int
    metrics: Mapping[str, float]  # by the main distance


def of_tuning(varied: Sequence[str]) -> list[Column[Tried]]:
    """`tuning.csv`: what was varied, and what it gave on held-out training classes."""

    def setting(name: str) -> Column[Tried]:
        return Column(name, of=lambda tried: tried.settings.get(name))

    def metric(name: str) -> Column[Tried]:
        return Column(name, "", "%", 2, of=lambda tried: tried.metrics.get(name), times=100)

    return [
        *(Column(name, of=attrgetter(f"record.spec.{name}")) for name in ("method", "backbone", "dim")),
        Column("l2", of=attrgetter("record.spec.normalize")),
        Column("lr", of=attrgetter("record.spec.lr")),
        *map(setting, varied),
        Column("seed", of=attrgetter("record.spec.seed")),
        Column("step", of=attrgetter("step")),
        *map(metric, ("recall@1", "map@r")),
        Column("id", of=attrgetter("record.id")),
    ]
