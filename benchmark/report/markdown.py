"""The comparison for people: `comparison.md`, and the table at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..store import Record
from ..zoo import TEACHER_VECTORS, VECTORS
from .stats import Summary
from .tables import (
    AGREEMENT,
    BASELINE,
    DASH,
    FEW_SEEDS,
    OF_ANY_DIM,
    REFERENCE_ROLES,
    ROLES,
    Cell,
    Comparison,
    fixed,
    plain,
)

if TYPE_CHECKING:
    from rich.table import Table


def markdown(compared: Comparison, preset: str) -> str:
    """The comparison for people: Recall@1 over all dimensions, then everything, dimension by dimension."""
    head, body = recall_table(compared)
    parts = [
        *_introduction(compared, preset),
        "## Recall@1\n",
        f"Percent{_of(compared)}, mean ± standard deviation over seeds, by the main distance: cosine where embeddings are "
        f"l2-normalised, else raw L2. Bold: the best of a column, {_references(compared)} left out.\n",
        _pipes(head, body, left=5),
    ]
    for dim in compared.dims:
        if any(cell.dim == dim and cell.row.role not in OF_ANY_DIM for cell in compared.cells):
            parts += [f"## d = {dim}\n", _pipes(*_detail_table(compared, dim), left=5)]
    parts += ["## Notes\n", *(f"- {note}" for note in _notes(compared)), ""]
    return "\n".join(parts)


def recall_table(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and lines: a row's names, then Recall@1 as mean ± sd, a column a dimension."""
    names = {
        "group": [ROLES[row.role] for row in compared.rows],
        "method": [row.label for row in compared.rows],
        "network": [row.backbone for row in compared.rows],
        "l2": [plain(row.l2) for row in compared.rows],
        "distance": [row.distance for row in compared.rows],
        "steps": [str(row.steps) for row in compared.rows],
    }
    values = {
        f"d = {dim}": _column([compared.at(row, dim) for row in compared.rows], _summary("recall@1"), _with_sd)
        for dim in compared.dims
    }
    head, lines = _lines(names | values)
    dashes = [DASH] * (len(head) - 2)
    return head, lines + [[ROLES[role], name, *dashes] for role, name in compared.left_out]


def compact_table(compared: Comparison, title: str) -> Table:
    """Recall@1 for a terminal: without the columns in which all trained students agree."""
    from rich.table import Table
    from rich.text import Text

    head, lines = recall_table(compared)
    trained = [i for i, row in enumerate(compared.rows) if row.role not in REFERENCE_ROLES]
    constant = {
        name
        for column, name in enumerate(head)
        if name in ("network", "l2", "distance", "steps") and len({lines[i][column] for i in trained}) <= 1
    }
    table = Table(title=title)
    shown = [column for column, name in enumerate(head) if name not in constant | {"distance"}]
    for column in shown:
        table.add_column(head[column], justify="right" if head[column].startswith("d =") else "left")
    for line in lines:
        texts = (line[column] for column in shown)
        table.add_row(*(Text(text.strip("*"), style="bold" if text.startswith("**") else "") for text in texts))
    return table


def _detail_table(compared: Comparison, dim: int) -> tuple[list[str], list[list[str]]]:
    """Header and lines of one dimension's cells, with teachers and frozen features of whatever dimension on top."""
    cells = [cell for cell in compared.cells if cell.row.role in OF_ANY_DIM or cell.dim == dim]
    recalls = [cell.summary("recall@1") for cell in cells]
    names = {
        "group": [ROLES[cell.row.role] for cell in cells],
        "method": [cell.row.label for cell in cells],
        "network": [f"{cell.row.backbone}-{cell.dim}" for cell in cells],
        "l2": [plain(cell.row.l2) for cell in cells],
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
        **({"asym. R@1": _column(cells, lambda cell: cell.asymmetric, _mean)} if compared.asymmetric else {}),
        "train, s": [DASH if cell.seconds is None else fixed(cell.seconds, 1) for cell in cells],
    }
    return _lines(names | values)


def _of(compared: Comparison) -> str:
    """What the numbers are a percentage of, where that is not the usual."""
    return f" of {AGREEMENT}" if compared.agreement else ""


def _references(compared: Comparison) -> str:
    names = {"features": "frozen features", "posthoc": "post-hoc controls"}
    found = [name for role, name in names.items() if any(row.role == role for row in compared.rows)]
    first = ["teacher", "untrained student", *found]
    return ", ".join(first[:-1]) + f" and {first[-1]}"


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


def _introduction(compared: Comparison, preset: str) -> list[str]:
    records = compared.records
    students = [record for record in records if compared.roles[record.id] not in REFERENCE_ROLES] or list(records)
    trained = [record for record in students if record.spec.steps] or students
    dataset = records[0].spec.dataset
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    steps, batch, per_class, image = (
        _several(getattr(record.spec, name) for record in trained) for name in ("steps", "batch", "per_class", "image")
    )
    vectors = bool({VECTORS, TEACHER_VECTORS} & {record.spec.backbone for record in records})
    seen, at, source = (
        ("vectors", "", "--features FILE") if vectors else ("images", f", at {image} px", f"--dataset {dataset}")
    )
    lines = [
        f"# {dataset}, preset {preset}\n",
        f"- {len(records)} runs; {_several(record.evaluation.queries for record in records)} queries "
        f"in a gallery of {_several(record.evaluation.gallery for record in records)} {seen}; "
        f"{_several(record.evaluation.dropped for record in records)} queries without a partner left out",
        *(
            f"- Teacher: {cell.row.label} {cell.row.backbone}-{cell.dim}, {cell.row.steps} steps, "
            f"seed {_several(record.spec.seed for record in cell.records)}"
            for cell in teachers
        ),
        f"- Students: {steps} steps of {batch} {seen}{'' if compared.agreement else f', {per_class} a class'}{at}; "
        f"seed {_several(record.spec.seed for record in students)}",
        f"- Code: {_several(_code(record) for record in records)}",
        f"- Runs: `python -m benchmark run {source} --preset {preset}`; "
        "this file, from their records: `python -m benchmark report`\n",
    ]
    return lines


def _notes(compared: Comparison) -> list[str]:
    notes = [
        "± 95 %: half the width of the Student-t interval over seeds. "
        f"R@1 − {BASELINE}: mean difference to the {BASELINE} student of the same network, dimension and steps, "
        "in points, paired by seed. train: seconds a student. All students of a teacher share that one network: "
        "intervals hold for it, not for teachers at large."
    ]
    if compared.agreement:
        notes.append(
            f"There are no labels: every number is of {AGREEMENT} by cosine, which are what a query is to find. "
            "R@1: the share of queries whose first hit is one of them; R of MAP@R is 10."
        )
    if compared.asymmetric:
        notes.append(
            "asym. R@1: the student's queries, mapped into the teacher's space, in the gallery as the teacher has indexed it. "
            "A dash: the method aligns no coordinates, or was run before this was measured."
        )
    if compared.left_out:
        named = ", ".join(name for _, name in compared.left_out)
        notes.append(
            f"Not applicable: {named}. Feature maps are needed there, and features of a frozen trunk have none."
        )
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
    teachers: dict[str, set[str]] = {}
    for record in compared.records:
        if record.spec.teacher is not None and record.teacher:
            teachers.setdefault(record.spec.teacher.id, set()).add(record.teacher)
    for id, weights in sorted(teachers.items()):
        if len(weights) > 1:
            notes.append(
                f"The teacher {id} was trained {len(weights)} times, to different weights; its students differ by that too."
            )
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
