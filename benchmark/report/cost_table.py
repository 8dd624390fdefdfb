"""Costs of running a method's network, beside the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from ..costs import Costs, paid
from ..spec import TEACHER_VECTORS, VECTORS
from .cells import Cell
from .columns import Column, headings
from .comparison import Comparison
from .render import BUSY, Heading, Line, Table, Value, captioned, text

FLOAT = 4  # bytes


class Price(NamedTuple):
    """Costs of one image, and of the whole gallery."""

    parameters: int | None
    multiply_adds: int | None
    latency: float | None  # seconds
    throughput: float | None  # images a second
    single: float | None  # seconds, by torch with one thread
    onnx: float | None  # seconds, by onnxruntime with all threads
    onnx_single: float | None  # and with one
    onnx_throughput: float | None  # images a second, with all
    embedding: int  # bytes
    gallery: int  # bytes of an exact index
    search: float | None  # seconds a query
    busy: frozenset[str]  # fields that were measured while the machine was busy


RUNTIME = "not measured: benchmark costs --onnxruntime"
OPTIONAL = "single", "onnx", "onnx_single", "onnx_throughput"
COLUMNS = tuple(
    Column[Price](
        name, label, unit, digits, of=attrgetter(name), times=times, note=note or "not measured: benchmark costs"
    )
    for name, label, unit, digits, times, note in (
        ("parameters", "parameters, M", "M", 2, 1e-6, ""),
        ("multiply_adds", "multiply-adds, M", "M", 1, 1e-6, ""),
        ("latency", "latency, ms", "ms", 2, 1e3, ""),
        ("throughput", "images/s", "1/s", 0, 1, ""),
        ("single", "one thread, ms", "ms", 2, 1e3, RUNTIME),
        ("onnx", "onnxruntime, ms", "ms", 2, 1e3, RUNTIME),
        ("onnx_single", "onnxruntime one thread, ms", "ms", 2, 1e3, RUNTIME),
        ("onnx_throughput", "onnxruntime, images/s", "1/s", 0, 1, RUNTIME),
        ("embedding", "embedding, bytes", "bytes", 0, 1, ""),
        ("gallery", "index, MB", "MB", 2, 1e-6, ""),
        ("search", "search, ms", "ms", 3, 1e3, "not measured, or an index of codes"),
    )
)


def price(cell: Cell, costs: Costs | None) -> Price:
    """The price of a cell. Several networks of an ensemble run one after the other: their costs add up."""
    record = cell.records[0]
    networks = [network for spec in paid(record.spec) if costs is not None and (network := costs.network(spec))]
    measured = len(networks) == len(paid(record.spec))

    def total(field: str, costs: Sequence[Any]) -> Any:
        """A cost of all networks: images a second of networks in turn add up as seconds do."""
        if not measured or not all(costs):
            return None
        values = [getattr(cost, field) for cost in costs]
        return 1 / sum(1 / value for value in values) if field == "throughput" else sum(values)

    def by(runtime: str, *, alone: bool) -> list[Any]:
        return [network.by(runtime, alone=alone) for network in networks]

    stored = FLOAT * cell.dim  # of pq as well: its codes take what d float32 numbers would
    search = costs.search(cell.dim, record.evaluation.gallery) if costs is not None else None
    busy = {"latency", "throughput"} if any(network.busy for network in networks) else set()
    busy |= set(OPTIONAL) if any(cost.busy for network in networks for cost in network.runtimes) else set()
    counted = None if record.spec.views else record.parameters  # of a head on features, that of the head alone
    return Price(
        parameters=total("parameters", networks) if measured else counted,
        multiply_adds=total("multiply_adds", networks),
        latency=total("latency", networks),
        throughput=total("throughput", networks),
        single=total("latency", by("torch", alone=True)),
        onnx=total("latency", by("onnxruntime", alone=False)),
        onnx_single=total("latency", by("onnxruntime", alone=True)),
        onnx_throughput=total("throughput", by("onnxruntime", alone=False)),
        embedding=stored,
        gallery=stored * record.evaluation.gallery,
        search=search.seconds if search is not None and record.spec.method != "pq" else None,
        busy=frozenset(busy | ({"search"} if search is not None and search.busy else set())),
    )


def cost_table(compared: Comparison, costs: Costs | None) -> Table | None:
    """A line each different price, with the methods that pay it; None where there is nothing but own vectors."""
    if any(record.spec.backbone in (VECTORS, TEACHER_VECTORS) for record in compared.records):
        return None
    paying: dict[tuple[str, str, int, Price, Price | None], list[str]] = {}
    for cell in compared.cells:
        kind = {"teacher": "teacher", "posthoc": "post hoc"}.get(cell.row.role, "student")
        spec = paid(cell.records[0].spec)[0]
        hidden = f", hidden {spec.hidden}" if spec.hidden else ""
        smaller = f" to {cell.dim}" if kind == "post hoc" else ""
        teacher = cell if kind == "teacher" else compared.teacher_of(cell)
        reference = None if teacher is None else price(teacher, costs)
        key = (kind, f"{spec.backbone}-{spec.dim}{hidden}{smaller}", cell.dim, price(cell, costs), reference)
        paying.setdefault(key, []).append(cell.row.method)
    shown = [
        column for column in COLUMNS if column.key not in OPTIONAL or any(getattr(key[3], column.key) for key in paying)
    ]
    lines = [
        Line((*map(text, (kind, network, ", ".join(dict.fromkeys(names)))), *_values(shown, own, reference)), dim=dim)
        for (kind, network, dim, own, reference), names in paying.items()
    ]
    heads = (Heading(name, numeric=False) for name in ("", "network", "methods"))
    return captioned("cost", [*heads, *headings(shown)], lines)


def _values(columns: Sequence[Column[Price]], own: Price, teacher: Price | None) -> list[Value]:
    """Costs, in brackets beside the teacher."""

    def entry(column: Column[Price]) -> Value:
        value, reference = getattr(own, column.key), getattr(teacher, column.key, None)
        shown = column.entry(own)
        if value is None:
            return shown
        relative = f" ({value / reference:.2f}×)" if reference else ""
        busy = column.key in own.busy or (teacher is not None and column.key in teacher.busy)
        return shown._replace(text=shown.text + relative, flags=BUSY * busy)

    return list(map(entry, columns))
