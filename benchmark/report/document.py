"""What a report says, before it is Markdown or a page: the answer, the facts, the tables and what must be known about them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..costs import Costs
from ..spec import TEACHER_VECTORS, VECTORS, Spec
from ..store import Record
from .cells import AGREEMENT, code, one_line
from .comparison import Comparison
from .cost_table import cost_table
from .families import FAMILIES, Families
from .paper import paper_table
from .render import BUSY, FLAGS, LEGEND, Table, markdown
from .stats import FEW_SEEDS
from .tables import detail_table, generations_table, likeness_table, recall_table


@dataclass(frozen=True)
class Document:
    """One data set and preset."""

    dataset: str
    preset: str
    answer: str
    facts: tuple[str, ...]  # in Markdown
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def document(
    compared: Comparison,
    preset: str,
    costs: Costs | None = None,
    dataset: str = "",
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
) -> Document:
    """Of a comparison, everything but its figures.

    Args:
        dataset: its name among results, where that is not the data set's.
        tuned: by method, the settings that `tune` chose for this preset.
    """
    families = Families(compared)
    details = (detail_table(compared, families, dim) for dim in compared.dims)
    extra = (generations_table(compared), likeness_table(compared), cost_table(compared, costs), paper_table(compared))
    return Document(
        dataset=one_line(dataset or compared.records[0].spec.dataset),
        preset=one_line(preset),
        answer=one_line(families.answer()),
        facts=tuple(map(one_line, _facts(compared, preset))),
        tables=(recall_table(compared, families), *details, *(table for table in extra if table is not None)),
        notes=tuple(map(one_line, _notes(compared, families, costs, tuned or {}))),
    )


def as_markdown(made: Document) -> str:
    """`comparison.md`."""
    parts = [
        f"# {made.dataset}, preset {made.preset}\n",
        f"**{made.answer}**\n",
        *(f"- {fact}" for fact in made.facts),
        "",
    ]
    for table in made.tables:
        parts += [f"## {table.title}\n", f"{table.caption}\n", markdown(table)]
    parts += ["## Notes\n", *(f"- {note}" for note in made.notes), ""]
    return "\n".join(parts)


def _facts(compared: Comparison, preset: str) -> list[str]:
    records = compared.records
    students = [record for cell in compared.trained for record in cell.records] or list(records)
    trained = [record for record in students if record.spec.steps] or students
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    steps, batch, per_class, image = (
        several(getattr(record.spec, name) for record in trained) for name in ("steps", "batch", "per_class", "image")
    )
    vectors = bool({VECTORS, TEACHER_VECTORS} & {record.spec.backbone for record in records})
    seen, at = ("vectors", "") if vectors else ("images", f", at {image} px")
    kind = "Students" if compared.taught else "No students; runs without a teacher"
    source = shlex.join(_data_options(records[0].spec))
    return [
        f"{len(records)} runs; {several(record.evaluation.queries for record in records)} queries "
        f"in a gallery of {several(record.evaluation.gallery for record in records)} {seen}; "
        f"{several(record.evaluation.dropped for record in records)} queries without a partner left out",
        *(
            f"Teacher: {cell.row.label} {cell.row.backbone}-{cell.dim}, {cell.row.steps} steps, "
            f"seed {several(record.spec.seed for record in cell.records)}"
            for cell in teachers
        ),
        f"{kind}: {steps} steps of {batch} {seen}{'' if compared.agreement else f', {per_class} a class'}{at}; "
        f"seed {several(record.spec.seed for record in students)}",
        f"Code: {several(code(record) for record in records)}",
        f"Runs: `python -m benchmark run {source} --preset {preset}`; "
        "this file, from their records: `python -m benchmark report`",
    ]


def _data_options(spec: Spec) -> list[str]:
    """The options that name a run's data."""
    if spec.backbone in (VECTORS, TEACHER_VECTORS):
        words = ["--features", "FILE", "..."]
    else:
        words = ["--dataset", f"path/to/{spec.dataset}" if spec.data else spec.dataset]
    return words + (["--subset", spec.subset] if spec.subset else [])


def _notes(
    compared: Comparison, families: Families, costs: Costs | None, tuned: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    baseline = compared.baseline
    notes = [
        "± 95 %: half the width of the Student-t interval over seeds. l2: whether embeddings are l2-normalised, as each method is "
        "published. own d: Recall@1 of what has a dimension of its own, with that dimension. "
        f"R@1 − {baseline}: mean difference to the {baseline} student of the same batches, trunk and dimension, "
        "in points, paired by seed. train: seconds a student. All students of a teacher share that one network: "
        "intervals hold for it, not for teachers at large."
    ]
    if families.pools:
        notes.append(
            "Mean of n methods: each method of a family with the same weight, seed by seed; of a method's rows the one of most "
            "runs, of those the first; methods that lack a seed or a dimension which most have, and generations, are left out. "
            f"Its interval is over seeds: it says nothing about methods that were not run. {_members(families)}."
        )
    notes += _tuned(compared, tuned)
    heads: dict[str, set[str]] = {}
    for cell in compared.candidates:
        heads.setdefault(f"hidden layer of {cell.row.hidden}" if cell.row.hidden else "linear", set()).add(
            cell.row.method
        )
    if len(heads) > 1:
        named = "; ".join(f"{head}: {', '.join(sorted(names))}" for head, names in sorted(heads.items()))
        notes.append(
            f"Heads differ between methods, as tuned or set: {named}. A difference of two such rows is of both."
        )
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
    few = sorted({len(cell.recall) for cell in compared.trained if len(cell.recall) < FEW_SEEDS})
    if few:
        notes.append(
            f"There are rows of {several(few)} seed{'s' * (few != [1])}: intervals of fewer than {FEW_SEEDS} are wide, and no "
            "p-value is printed for them, since a t test of so few pairs rests on a distribution that nobody has seen."
        )
    tested = sum(found is not None and found.p is not None for found in map(compared.difference, compared.cells))
    if tested:
        notes.append(
            f"p: Student's paired t test of the difference to {baseline}, corrected by Holm's method for all {tested} of this report."
        )
    if len({cell.row.steps for cell in compared.trained} - {0}) > 1:
        notes.append("Students were trained for different numbers of steps: compare rows of equal steps only.")
    if all(record.dirty for record in compared.records):
        notes.append("All runs: code that was not committed (+dirty).")
    flagged = {flag: [cell for cell in compared.cells if flag in compared.flags(cell)] for flag in FLAGS}
    for flag, cells in flagged.items():
        if cells:
            notes.append(f"{flag} {FLAGS[flag]}: {_named(_guilty(flag, cells, compared), compared)}.")
    if costs is not None:
        notes.append(
            f"Cost was measured on {costs.environment.get('device', 'unknown')}, "
            f"{costs.environment.get('threads', '?')} threads, torch {costs.environment.get('torch', '?')}."
        )
        shown = cost_table(compared, costs)
        if shown is not None and any(BUSY in value.flags for line in shown.lines for value in line.values):
            notes.append(f"{BUSY} {LEGEND[BUSY]}.")
    versions = Counter(map(code, compared.records))
    if len(versions) > 1:
        counts = ", ".join(
            f"{version} ({count} run{'s' * (count != 1)})" for version, count in sorted(versions.items())
        )
        notes.append(f"Rows may mix several versions of the code: {counts}.")
    return notes


def _tuned(compared: Comparison, tuned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which rows have the settings that were chosen on held-out training classes: others beside them are no fair comparison."""

    def has(record: Record, name: str, value: Any) -> bool:
        known = {**record.spec.params, **dict(record.spec)}
        return known.get(name) == value

    rows: dict[bool, set[str]] = {True: set(), False: set()}
    for cell in compared.trained:
        chosen = tuned.get(cell.records[0].spec.method)
        met = chosen is not None and all(has(one, *item) for one in cell.records for item in chosen.items())
        rows[met].add(cell.row.label)
    if not rows[True]:
        return ["No row has settings that were tuned on held-out training classes."] if compared.trained else []
    if not rows[False]:
        return ["All students have the settings that were tuned for their method on held-out training classes."]
    return [
        "Not tuned, while the others have the settings chosen for their method on held-out training classes: "
        f"{', '.join(sorted(rows[False]))}."
    ]


def _members(families: Families) -> str:
    """Which methods each family's mean is of."""
    named: dict[str, str] = {}
    for pool in families.pools:
        named.setdefault(f"{FAMILIES[pool.role]}: {', '.join(row.label for row in pool.rows)}", "")
    return "; ".join(named)


def _guilty(flag: str, cells: Sequence[Any], compared: Comparison) -> list[Record]:
    """The records for which cells have a flag."""
    records = [record for cell in cells for record in cell.records]
    if flag == "†":
        return [record for record in records if record.dirty]
    if flag == "§":
        return [record for record in records if record.data != compared.usual_data]
    if flag == "¶":
        return [record for record in records if compared.taught_anew(record)]
    return records


def _named(records: Sequence[Record], compared: Comparison) -> str:
    if len(records) == len(compared.records):
        return f"all {len(records)} runs"
    return ", ".join(sorted(f"`{record.spec.method}-{record.id}`" for record in records))


def several(values: Iterable[Any]) -> str:
    """Each value once, in order."""
    return ", ".join(map(str, sorted(set(values))))
