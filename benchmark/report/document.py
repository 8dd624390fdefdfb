"""The words and tables of a report, before they are Markdown or a page: the answer, the facts, the tables, the notes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..costs import Costs
from ..record import Record
from ..spec import TEACHER_VECTORS, VECTORS
from ..tuned import Tuned, settings_for
from .cells import one_line
from .comparison import Comparison
from .cost_table import cost_table
from .decision import advice, decide, decision_table
from .families import Families, head_name
from .paper import paper_table
from .render import BUSY, FLAGS, Table, markdown, phrases
from .stats import FEW_SEEDS
from .tables import detail_table, generations_table, heads_table, likeness_table, recall_table
from .verdict import answer, verdict_of, verdict_table


@dataclass(frozen=True)
class Document:
    """One data set and preset."""

    dataset: str
    preset: str
    answer: str
    grounds: tuple[str, ...]  # what the answer rests on, in Markdown as it is
    facts: tuple[str, ...]  # in Markdown
    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    def table(self, key: str) -> Table | None:
        return next((table for table in self.tables if table.key == key), None)


def document(
    compared: Comparison,
    preset: str,
    costs: Costs | None = None,
    dataset: str = "",
    tuned: Mapping[str, Sequence[Tuned]] | None = None,
) -> Document:
    """Write all of a comparison but its figures.

    Args:
        dataset: its name among results, where that is not the data set's.
        tuned: by method, the settings that `tune` chose for this preset; None where that is not known, and nothing is said of it.
    """
    families, records = Families(compared), compared.records
    verdict = verdict_of(families)
    details = [detail_table(compared, families, dim) for dim in compared.dims]
    extra = (generations_table(compared), likeness_table(compared), cost_table(compared, costs), paper_table(compared))
    decision = decide(compared, costs)
    first = (
        verdict_table(verdict),
        recall_table(compared, families),
        decision_table(decision),
        heads_table(compared),
    )
    tables = tuple(table for table in (*first, *details, *extra) if table is not None)
    heads: dict[str, set[str]] = defaultdict(set)
    for cell in compared.candidates:
        heads[head_name(cell.row.hidden)].add(cell.row.method)
    flagged: dict[str, list[Record]] = defaultdict(list)
    for cell in compared.cells:
        for flag, guilty in compared.flagged(cell).items():
            flagged[flag] += guilty
    versions = Counter(record.environment.get("code", "unknown") for record in records)
    vectors = any(record.spec.backbone in (VECTORS, TEACHER_VECTORS) for record in records)
    facts = phrases("facts", compared=compared, vectors=vectors, versions=versions)
    notes = phrases(
        "notes",
        compared=compared,
        families=families,
        costs=costs,
        known=tuned is not None,
        untuned=_untuned(compared, tuned or {}),
        tuned_at=_tuned_at(tuned or {}, compared.dims),
        heads=heads,
        tested=len(compared.p),
        few=sorted({len(cell.recall) for cell in compared.trained if len(cell.recall) < FEW_SEEDS}),
        unit=compared.unit,
        versions=versions,
        flagged={flag: _named(flagged[flag], compared) for flag in FLAGS if flagged[flag]},
        busy_shown=any(BUSY in value.flags for table in tables for line in table.lines for value in line.values),
    )
    name = dataset or records[0].spec.dataset
    # Who brings own data asks which student to ship; the question of the families comes behind.
    own = [advice(decision)] if decision is not None and records[0].spec.data else []
    closed = ["Closed set: searched classes were trained on."] * any(record.closed for record in records)
    said, *grounds = (*own, *answer(families, verdict))
    return Document(one_line(name), one_line(preset), " ".join([*closed, said]), tuple(grounds), facts, tables, notes)


def as_markdown(made: Document) -> str:
    """`comparison.md`."""
    parts = [
        f"# {made.dataset}, preset {made.preset}\n",
        f"**{made.answer}**\n",
        *(f"{ground}\n" for ground in made.grounds),
        *(f"- {fact}" for fact in made.facts),
        "",
    ]
    for table in made.tables:
        parts += [f"## {table.title}\n", f"{table.caption}\n", markdown(table)]
    return "\n".join([*parts, "## Notes\n", *(f"- {note}" for note in made.notes), ""])


def _untuned(compared: Comparison, tuned: Mapping[str, Sequence[Tuned]]) -> set[str] | None:
    """Rows without the settings that were chosen on held-out training classes: beside others they are no fair comparison.

    None where students were trained, and none has such.
    """

    def has(record: Record, settings: Mapping[str, Any]) -> bool:
        known = {**record.spec.params, **dict(record.spec)}
        return all(name in known and known[name] == value for name, value in settings.items())

    labels: dict[bool, set[str]] = {True: set(), False: set()}
    for cell in compared.trained:
        spec = cell.records[0].spec
        chosen = settings_for(dict(spec), tuned.get(spec.method, ()))
        labels[chosen is not None and all(has(record, chosen) for record in cell.records)].add(cell.row.label)
    return None if labels[False] and not labels[True] else labels[False]


def _tuned_at(tuned: Mapping[str, Sequence[Tuned]], dims: Sequence[int]) -> list[int]:
    """The dimensions that settings were chosen for, where a table has others as well."""
    at = sorted({choice.where["dim"] for choices in tuned.values() for choice in choices if "dim" in choice.where})
    return at if {*dims} - {*at} else []


def _named(records: Sequence[Record], compared: Comparison) -> str:
    if len(records) == len(compared.records):
        return f"all {len(records)} runs"
    return ", ".join(sorted(f"`{record.spec.method}-{record.id}`" for record in records))
