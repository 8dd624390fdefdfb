"""The paper's numbers beside ours: a difference only where the protocol is the paper's, as the preset `paper` has it."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any, NamedTuple

from ..spec import Spec
from .cells import Cell
from .columns import Column, difference_column, laid_out
from .comparison import Comparison
from .render import Table
from .stats import Summary


class Published(NamedTuple):
    """A Recall@1 in percent as the paper prints it."""

    table: str
    method: str
    backbone: str
    dim: int
    l2: bool
    generation: int  # 0 of Table 1
    recall: float


@functools.cache
def data() -> Mapping[str, Any]:
    """All numbers, from the one file that has them."""
    return tomllib.loads(resources.files(__package__).joinpath("paper.toml").read_text(encoding="utf-8"))


def published(dataset: str) -> Iterator[Published]:
    """List a data set's numbers of Tables 1 and 2, and the authors' own of Table 3."""
    for row in data()["rows"]:
        for dim, recall in zip(row["dims"], row[dataset], strict=True) if dataset in row else ():
            number = (row["method"], row["backbone"], dim, row["l2"], row["generation"], recall)
            yield Published(row["table"], *number)


def of_protocol(spec: Spec) -> bool:
    """Tell whether a run is as the paper's are: every field but method, dimension, l2 and seed, and its teacher likewise."""
    protocol = data()["protocol"]
    taught, first = spec.teacher, protocol["teacher"]
    if spec.dataset not in protocol["datasets"] or spec.method not in protocol["params"]:
        return False
    if (taught is None) != (spec.method == first["method"]):
        return False
    if taught is not None and not (
        of_protocol(taught)
        and taught.backbone == first["backbone"]
        and taught.generation == max(0, spec.generation - 1)
    ):
        return False
    role = "teacher" if taught is None and spec.backbone == first["backbone"] else "student"
    fields = protocol["shared"] | protocol[role] | protocol.get(spec.dataset, {}).get(role, {})
    if spec.generation:
        fields |= {name: first[name] for name in ("backbone", "dim")}
    free = {name: getattr(spec, name) for name in ("dataset", "method", "dim", "normalize", "seed", "teacher")}
    return spec.id == Spec(**{**free, **fields}, params=protocol["params"][spec.method]).id


def paper_table(compared: Comparison) -> Table | None:
    """Published beside ours; where no run is of the paper's protocol, what is published alone. None for sets that the paper has not."""
    first = compared.records[0].spec
    numbers = [] if first.data or first.subset else list(published(first.dataset))
    if not numbers:
        return None
    alike = [cell for cell in compared.cells if all(of_protocol(record.spec) for record in cell.records)]
    besides = [
        Beside(number, cell)
        for number in numbers
        for cell in tuple(cell for cell in alike if _is(cell.records[0].spec, number)) or (None,)
    ]
    kind, columns = ("paper", COLUMNS) if alike else ("published", COLUMNS[:-2])
    lines = ((beside, "", beside.number.dim) for beside in besides)
    return replace(laid_out(kind, columns, lines, source=data()["source"]), key="paper")


class Beside(NamedTuple):
    """A published number, and a cell of the same protocol."""

    number: Published
    cell: Cell | None

    @property
    def method(self) -> str:
        generation = f" generation {self.number.generation}" if self.number.generation else ""
        settings = f" ({self.cell.row.settings})" if self.cell and self.cell.row.settings else ""
        return f"{self.number.method}{generation}{settings}"

    @property
    def difference(self) -> Summary | None:
        if self.cell is None:
            return None
        return self.cell.recalled._replace(mean=self.cell.mean - self.number.recall)


COLUMNS: tuple[Column[Beside], ...] = (
    Column("", "Table", of=lambda beside: beside.number.table),
    Column("", "method", of=lambda beside: beside.method),
    Column("", "network", of=lambda beside: f"{beside.number.backbone}-{beside.number.dim}"),
    Column("", "l2", of=lambda beside: beside.number.l2),
    Column("", "published", "%", 2, of=lambda beside: beside.number.recall),
    Column("", "ours", "%", 2, of=lambda beside: beside.cell and beside.cell.recalled, note="not run"),
    difference_column("ours − published, ± 95 %", lambda beside: beside.difference, "not run"),
)


def _is(spec: Spec, number: Published) -> bool:
    return (spec.method, spec.backbone, spec.dim, spec.normalize, spec.generation) == number[1:6]
