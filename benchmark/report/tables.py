"""From records to `runs.csv`, `comparison.csv`, `comparison.md` and `tuning.csv`: the same bytes from the same records.

Nothing here reads a clock, a path or another run's files, and nothing imports torch.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..store import Metrics, Record, Store, write_atomically
from .stats import Summary, paired, summarise

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

# Groups of a table, in its order. "other": a method that the catalogue no longer has.
ROLES = {
    "teacher": "teacher",
    "untrained": "untrained student",
    "baseline": "baseline",
    "individual": "individual (IKD)",
    "relational": "relational (RKD)",
    "posthoc": "post hoc",
    "other": "other",
}
REFERENCE_ROLES = ("teacher", "untrained")  # what students are held against; never the best of a column
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

    def by_seed(self, metric: str) -> dict[int, float]:
        """Percent, by the main distance. Runs of one seed that differ in the teacher's are one sample: their mean."""
        seeds: dict[int, list[float]] = defaultdict(list)
        for record in self.records:
            seeds[record.spec.seed].append(100 * record.metrics[metric])
        return {seed: summarise(values).mean for seed, values in sorted(seeds.items())}

    def summary(self, metric: str) -> Summary | None:
        """None where a run did not measure it."""
        if any(metric not in record.metrics for record in self.records):
            return None
        return summarise(list(self.by_seed(metric).values()))

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
    """

    def __init__(self, records: Iterable[Record], kinds: Mapping[str, str]) -> None:
        self.records = tuple(records)
        self.roles = _roles(self.records, kinds)
        self.cells = _cells(self.records, self.roles)
        self.rows = sorted({cell.row for cell in self.cells}, key=lambda row: row.order)
        self.dims = sorted({cell.dim for cell in self.cells})
        self._at = {(cell.row, cell.dim): cell for cell in self.cells}

    def at(self, row: Row, dim: int) -> Cell | None:
        return self._at.get((row, dim))

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
        if spec.method == "untrained":
            return "untrained"
        kind = kinds.get(spec.method, "other")
        return "baseline" if kind == "none" else kind if kind in ROLES else "other"

    return {record.id: role(record) for record in records}


def _cells(records: Sequence[Record], roles: Mapping[str, str]) -> list[Cell]:
    named: dict[Row, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record.spec
        row = Row(roles[record.id], spec.method, spec.backbone, spec.normalize, spec.steps, "")
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
            result[prefix + name] = str(_plain(value))
    return result


def _varied(settings: Sequence[Mapping[str, str]]) -> set[str]:
    """The names that have more than one value, or are missing from some."""
    return {name for one in settings for name in one if len({other.get(name) for other in settings}) > 1}


def _plain(value: Any) -> Any:
    """A field as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def frame(records: Iterable[Record], kinds: Mapping[str, str]) -> pd.DataFrame:
    """A row a run: what it is, all its settings, and all it measured. Metrics in percent, missing values empty."""
    import pandas as pd

    records = list(records)
    roles = _roles(records, kinds)

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        row = Row(roles[record.id], spec.method, spec.backbone, spec.normalize, spec.steps, "")
        return *row.order, spec.dim, spec.seed, record.id

    def line(record: Record) -> dict[str, Any]:
        spec, found = record.spec, record.evaluation
        first = {
            "role": roles[record.id],
            "method": spec.method,
            "kind": kinds.get(spec.method, "other"),
            "backbone": spec.backbone,
            "dim": spec.dim,
            "l2": _plain(spec.normalize),
            "teacher": spec.teacher.id if spec.teacher else "",
            "seed": spec.seed,
            "steps": spec.steps,
            "params": json.dumps(spec.params, sort_keys=True) if spec.params else "",
        }
        rest = {name: _plain(value) for name, value in spec if name not in {*first, "normalize"}}
        return {
            **first,
            **{f"{name} [px]" if name in ("resize", "image") else name: value for name, value in rest.items()},
            "loss": None if record.loss is None else float(f"{record.loss:.4g}"),
            "distance": "cosine" if spec.normalize else "L2",
            **_percent(record.metrics, ""),
            **_percent(found.l2, "L2 "),
            **_percent(found.cosine, "cosine "),
            "queries": found.queries,
            "dropped": found.dropped,
            "gallery": found.gallery,
            "parameters": record.parameters,
            **{f"{name} [s]": record.seconds.get(name) for name in ("train", "evaluate")},
            "fingerprint": record.data,
            "code": record.environment.get("code", ""),
            "id": record.id,
        }

    return pd.DataFrame([line(record) for record in sorted(records, key=order)])


def _percent(metrics: Metrics, prefix: str) -> dict[str, float]:
    def order(name: str) -> tuple[bool, int, str]:
        return (False, int(name.split("@")[1]), "") if name.startswith("recall@") else (True, 0, name)

    return {f"{prefix}{name} [%]": 100 * metrics[name] for name in sorted(metrics, key=order)}


def comparison(records: Iterable[Record], kinds: Mapping[str, str]) -> pd.DataFrame:
    """A row a method and dimension: means over seeds, their spread, and the difference to the baseline."""
    import pandas as pd

    compared = Comparison(records, kinds)

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
            "l2": _plain(row.l2),
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
                    "l2": _plain(spec.normalize),
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


def markdown(records: Iterable[Record], kinds: Mapping[str, str], preset: str) -> str:
    """The comparison for people: Recall@1 over all dimensions, then everything, dimension by dimension."""
    compared = Comparison(records, kinds)
    head, body = recall_table(compared)
    parts = [
        *_introduction(compared, preset),
        "## Recall@1\n",
        "Percent, mean ± standard deviation over seeds, by the main distance: cosine where embeddings are "
        "l2-normalised, else raw L2. Bold: the best of a column, teacher and untrained student left out.\n",
        _pipes(head, body, left=5),
    ]
    for dim in compared.dims:
        if any(cell.dim == dim and cell.row.role != "teacher" for cell in compared.cells):
            parts += [f"## d = {dim}\n", _pipes(*_detail_table(compared, dim), left=5)]
    parts += ["## Notes\n", *(f"- {note}" for note in _notes(compared)), ""]
    return "\n".join(parts)


def recall_table(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and lines: a row's names, then Recall@1 as mean ± sd, a column a dimension."""
    names = {
        "group": [ROLES[row.role] for row in compared.rows],
        "method": [row.label for row in compared.rows],
        "network": [row.backbone for row in compared.rows],
        "l2": [_plain(row.l2) for row in compared.rows],
        "distance": [row.distance for row in compared.rows],
        "steps": [str(row.steps) for row in compared.rows],
    }
    values = {
        f"d = {dim}": _column([compared.at(row, dim) for row in compared.rows], _summary("recall@1"), _with_sd)
        for dim in compared.dims
    }
    return _lines(names | values)


def _detail_table(compared: Comparison, dim: int) -> tuple[list[str], list[list[str]]]:
    """Header and lines of one dimension's cells, with the teachers of whatever dimension on top."""
    cells = [cell for cell in compared.cells if cell.row.role == "teacher" or cell.dim == dim]
    recalls = [cell.summary("recall@1") for cell in cells]
    names = {
        "group": [ROLES[cell.row.role] for cell in cells],
        "method": [cell.row.label for cell in cells],
        "network": [f"{cell.row.backbone}-{cell.dim}" for cell in cells],
        "l2": [_plain(cell.row.l2) for cell in cells],
        "distance": [cell.row.distance for cell in cells],
        "steps": [str(cell.row.steps) for cell in cells],
        "seeds": [str(len(cell.by_seed("recall@1"))) for cell in cells],
    }
    values = {
        "R@1": _column(cells, _summary("recall@1"), _mean),
        "± 95 %": [DASH if one is None or one.half is None else fixed(one.half, 2) for one in recalls],
        **{name.replace("recall", "R"): _column(cells, _summary(name), _mean) for name in compared.recalls[1:]},
        "MAP@R": _column(cells, _summary("map@r"), _mean),
        f"R@1 − {BASELINE}, ± 95 %": _column(cells, compared.difference, _signed),
        "train, s": [DASH if cell.seconds is None else fixed(cell.seconds, 1) for cell in cells],
    }
    return _lines(names | values)


def _lines(columns: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def _summary(metric: str) -> Callable[[Cell], Summary | None]:
    return lambda cell: cell.summary(metric)


def _column(
    cells: Sequence[Cell | None], summary: Callable[[Cell], Summary | None], show: Callable[[Summary], str]
) -> list[str]:
    """One number of each cell, a dash where there is none, the best in bold: all that show the same best number."""
    found = [None if cell is None else summary(cell) for cell in cells]
    scores = [
        None if cell is None or one is None or cell.row.role in REFERENCE_ROLES else float(_mean(one))
        for cell, one in zip(cells, found, strict=True)
    ]
    best = max((score for score in scores if score is not None), default=None)
    texts = [DASH if one is None else show(one) for one in found]
    return [
        f"**{text}**" if score is not None and score == best else text
        for text, score in zip(texts, scores, strict=True)
    ]


def _mean(summary: Summary) -> str:
    return fixed(summary.mean, 2)


def _with_sd(summary: Summary) -> str:
    return _mean(summary) + ("" if summary.sd is None else f" ± {fixed(summary.sd, 2)}")


def _signed(summary: Summary) -> str:
    """With the half-width of its interval."""
    sign = "" if _mean(summary).startswith("-") else "+"
    return sign + _mean(summary) + ("" if summary.half is None else f" ± {fixed(summary.half, 2)}")


def fixed(value: float, digits: int) -> str:
    """Always that many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _introduction(compared: Comparison, preset: str) -> list[str]:
    records = compared.records
    students = [record for record in records if compared.roles[record.id] not in REFERENCE_ROLES] or list(records)
    trained = [record for record in students if record.spec.steps] or students
    dataset = records[0].spec.dataset
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    steps, batch, per_class, image = (
        _several(getattr(record.spec, name) for record in trained) for name in ("steps", "batch", "per_class", "image")
    )
    lines = [
        f"# {dataset}, preset {preset}\n",
        f"- {len(records)} runs; {_several(record.evaluation.queries for record in records)} queries "
        f"in a gallery of {_several(record.evaluation.gallery for record in records)} images; "
        f"{_several(record.evaluation.dropped for record in records)} queries without a partner left out",
        *(
            f"- Teacher: {cell.row.label} {cell.row.backbone}-{cell.dim}, {cell.row.steps} steps, "
            f"seed {_several(record.spec.seed for record in cell.records)}"
            for cell in teachers
        ),
        f"- Students: {steps} steps of {batch} images, {per_class} a class, at {image} px; "
        f"seed {_several(record.spec.seed for record in students)}",
        f"- Code: {_several(_code(record) for record in records)}",
        f"- Runs: `python -m benchmark run --dataset {dataset} --preset {preset}`; "
        "this file, from their records: `python -m benchmark report`\n",
    ]
    return lines


def _notes(compared: Comparison) -> list[str]:
    notes = [
        "± 95 %: half the width of the Student-t interval over seeds. "
        f"R@1 − {BASELINE}: mean difference to the {BASELINE} student of the same network, dimension and steps, "
        "in points, paired by seed. train: seconds a student."
    ]
    students = [cell for cell in compared.cells if cell.row.role not in REFERENCE_ROLES]
    seeds = min((len(cell.by_seed("recall@1")) for cell in students), default=0)
    if students and seeds < FEW_SEEDS:
        notes.append(
            f"There are rows of {seeds} seed{'s' * (seeds != 1)}: intervals of fewer than {FEW_SEEDS} are wide."
        )
    if len({record.spec.steps for cell in students for record in cell.records} - {0}) > 1:
        notes.append("Students were trained for different numbers of steps: compare rows of equal steps only.")
    images = Counter(record.data for record in compared.records)
    usual = min(images, key=lambda data: (-images[data], data))
    other = [record for record in compared.records if record.data != usual]
    if other:
        notes.append(f"Other images than the rest's (fingerprint {usual}): {_named(other, compared)}.")
    dirty = [record for record in compared.records if _code(record).endswith("+dirty")]
    if dirty:
        notes.append(f"Run with code that was not committed (+dirty): {_named(dirty, compared)}.")
    versions = Counter(map(_code, compared.records))
    if len(versions) > 1:
        counts = ", ".join(f"{code} ({count} run{'s' * (count != 1)})" for code, count in sorted(versions.items()))
        notes.append(f"Rows may mix several versions of the code: {counts}.")
    return notes


def _named(records: Sequence[Record], compared: Comparison) -> str:
    if len(records) == len(compared.records):
        return f"all {len(records)} runs"
    return ", ".join(sorted(f"`{record.spec.method}-{record.id}`" for record in records))


def _code(record: Record) -> str:
    return record.environment.get("code", "unknown")


def _several(values: Iterable[Any]) -> str:
    """Each value once, in order."""
    return ", ".join(map(str, sorted(set(values))))


def _pipes(head: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, aligned in the source as well; all but the first `left` columns to the right."""
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(texts: Sequence[str]) -> str:
        aligned = [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [f"{'-' * (width - 1)}{'-' if i < left else ':'}" for i, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, lines)]) + "\n"


def csv(table: pd.DataFrame) -> str:
    """With the decimals that a column's unit asks for: percent and points 2, seconds 1."""
    table = table.copy()
    for name in table.columns:
        digits = 2 if name.endswith(("[%]", "[points]")) else 1 if name.endswith("[s]") else None
        if digits is not None:
            texts = ["" if value is None or value != value else fixed(value, digits) for value in table[name]]
            table[name] = texts
    return table.to_csv(index=False, lineterminator="\n")


def find(results: Path) -> list[Path]:
    """All folders at or below `results` that hold records, sorted.

    Raises:
        UsageError: there is none.
    """
    folders = {path.parents[1] for kind in ("runs", "tuning") for path in results.rglob(f"{kind}/*.json")}
    if not folders:
        raise UsageError(f"no results below {results}: runs are kept as <dataset>/<preset>/runs/*.json")
    return sorted(folders)


def write_report(folder: Path, kinds: Mapping[str, str] | None = None) -> list[Path]:
    """Write the tables of one `results/<dataset>/<preset>` folder, from its records alone.

    Args:
        folder: runs.csv, comparison.csv and comparison.md come from its `runs/`, tuning.csv from its `tuning/`.
        kinds: of methods; by default as the catalogue has them.

    Returns:
        What was written.

    Raises:
        UsageError: the folder holds no records.
        BenchmarkError: a record is damaged.
    """
    kinds = _catalogued() if kinds is None else kinds
    runs, tuned = list(Store(folder)), list(Store(folder, "tuning"))
    if not runs and not tuned:
        raise UsageError(f"no results in {folder}: neither runs/ nor tuning/ holds a record")
    assert len({record.spec.dataset for record in (*runs, *tuned)}) == 1, f"{folder} mixes data sets"
    files: dict[str, str] = {}
    if runs:
        files["runs.csv"] = csv(frame(runs, kinds))
        files["comparison.csv"] = csv(comparison(runs, kinds))
        files["comparison.md"] = markdown(runs, kinds, folder.resolve().name)
    if tuned:
        files["tuning.csv"] = csv(tuning(tuned))
    for name, text in files.items():
        write_atomically(folder / name, text)
    return [folder / name for name in files]


def terminal_table(folder: Path, kinds: Mapping[str, str] | None = None) -> Table:
    """The Recall@1 table of a folder's runs, for the end of a run. Raises as `write_report`."""
    from rich.table import Table
    from rich.text import Text

    records = list(Store(folder))
    if not records:
        raise UsageError(f"no results in {folder}: runs/ holds no record")
    head, lines = recall_table(Comparison(records, _catalogued() if kinds is None else kinds))
    table = Table(
        title=f"Recall@1 in percent, mean ± sd over seeds: {records[0].spec.dataset}, {folder.resolve().name}"
    )
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < 5 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(text.strip("*"), style="bold" if text.startswith("**") else "") for text in line))
    return table


def _catalogued() -> dict[str, str]:
    from ..methods import catalogue

    return {name: entry.kind for name, entry in catalogue().items()}
