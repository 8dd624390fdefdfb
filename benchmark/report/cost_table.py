"""What a method's network costs to run, beside the teacher's."""

from __future__ import annotations

from typing import NamedTuple

from ..costs import Costs, paid
from ..spec import TEACHER_VECTORS, VECTORS
from .cells import Cell, fixed
from .comparison import Comparison
from .render import Column, Line, Table, Value, dash, text

FLOAT = 4  # bytes
NOT_MEASURED = "not measured: benchmark costs"
BUSY = "*"
BUSY_MEANS = "measured while the machine was busy: benchmark costs measures it again"


class Price(NamedTuple):
    """Of one image, and of the whole gallery."""

    parameters: int | None
    multiply_adds: int | None
    latency: float | None  # seconds
    throughput: float | None  # images a second
    embedding: int  # bytes
    gallery: int  # bytes of an exact index
    search: float | None  # seconds a query
    busy: frozenset[str]  # fields that were measured while the machine was busy


def price(cell: Cell, costs: Costs | None) -> Price:
    """Of a cell. Several networks of an ensemble run one after the other: their costs add up."""
    record = cell.records[0]
    found = [costs.network(spec) if costs is not None else None for spec in paid(record.spec)]
    known = [one for one in found if one is not None]
    measured = len(known) == len(found)
    stored = FLOAT * cell.dim  # of pq as well: its codes take what d float32 numbers would
    search = costs.search(cell.dim, record.evaluation.gallery) if costs is not None else None
    busy = [("latency", "throughput")] * any(one.busy for one in known) + [("search",)] * (
        search is not None and search.busy
    )
    return Price(
        # Of a head on features, the record counts the head alone.
        parameters=sum(one.parameters for one in known)
        if measured
        else None
        if record.spec.views
        else record.parameters,
        multiply_adds=sum(one.multiply_adds for one in known) if measured else None,
        latency=sum(one.latency for one in known) if measured else None,
        throughput=1 / sum(1 / one.throughput for one in known) if measured else None,
        embedding=stored,
        gallery=stored * record.evaluation.gallery,
        search=search.seconds if search is not None and record.spec.method != "pq" else None,
        busy=frozenset(name for names in busy for name in names),
    )


def cost_table(compared: Comparison, costs: Costs | None) -> Table | None:
    """A line each different price, with the methods that pay it; None where there is nothing but own vectors."""
    if any(record.spec.backbone in (VECTORS, TEACHER_VECTORS) for record in compared.records):
        return None
    paying: dict[tuple[str, str, int, Price, Price | None], list[str]] = {}
    for cell in compared.cells:
        kind = "teacher" if cell.row.role == "teacher" else "post hoc" if cell.row.role == "posthoc" else "student"
        spec = paid(cell.records[0].spec)[0]
        hidden = f", hidden {spec.hidden}" if spec.hidden else ""
        smaller = f" to {cell.dim}" if kind == "post hoc" else ""
        teacher = cell if kind == "teacher" else compared.teacher_of(cell)
        reference = None if teacher is None else price(teacher, costs)
        key = (kind, f"{spec.backbone}-{spec.dim}{hidden}{smaller}", cell.dim, price(cell, costs), reference)
        names = paying.setdefault(key, [])
        if cell.row.method not in names:
            names.append(cell.row.method)
    lines = [
        Line((text(kind), text(network), text(", ".join(names)), *_values(found, reference)), dim=dim)
        for (kind, network, dim, found, reference), names in paying.items()
    ]
    return Table(
        "cost",
        "What it costs",
        "Of one image: parameters, multiply-adds, latency alone, throughput in batches; bytes of an embedding; then of the whole "
        "gallery: bytes of an exact index, and the search of a query in it. In brackets: relative to the teacher.",
        (
            Column("", False),
            Column("network", False),
            Column("methods", False),
            Column("parameters, M"),
            Column("multiply-adds, M"),
            Column("latency, ms"),
            Column("images/s"),
            Column("embedding, bytes"),
            Column("index, MB"),
            Column("search, ms"),
        ),
        tuple(lines),
    )


def _values(found: Price, teacher: Price | None) -> list[Value]:
    def shown(name: str, factor: float, digits: int) -> Value:
        value, reference = getattr(found, name), getattr(teacher, name, None)
        if value is None:
            return dash(NOT_MEASURED if name != "search" else "not measured, or an index of codes")
        relative = f" ({value / reference:.2f}×)" if reference else ""
        busy = name in found.busy or (teacher is not None and name in teacher.busy)
        return Value(f"{fixed(factor * value, digits)}{relative}", flags=BUSY * busy, number=value)

    return [
        shown("parameters", 1e-6, 2),
        shown("multiply_adds", 1e-6, 1),
        shown("latency", 1e3, 2),
        shown("throughput", 1, 0),
        shown("embedding", 1, 0),
        shown("gallery", 1e-6, 2),
        shown("search", 1e3, 3),
    ]
