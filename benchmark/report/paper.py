"""The paper's numbers beside ours: a difference only where the protocol is the paper's."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

from ..spec import Spec
from .cells import Cell
from .columns import Column, difference, headings, line, mean
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
    tables, protocol = data(), data()["protocol"]
    student, teacher = protocol["student"]["backbone"], protocol["teacher"]
    first = tables["table1"].get(dataset)
    if first is not None:
        yield Published("1", teacher["method"], teacher["backbone"], teacher["dim"], True, 0, first["teacher"])
        for l2, key in ((True, "l2"), (False, "raw")):
            for method, recalls in first[key].items():
                for dim, recall in zip(first["dims"], recalls, strict=True):
                    yield Published("1", method, student, dim, l2, 0, recall)
    for generation, recall in enumerate(tables["table2"].get(dataset, [])):
        if generation:
            yield Published("2", "rkd-da", teacher["backbone"], tables["table2"]["dim"], False, generation, recall)
        elif first is None:
            yield Published("2", teacher["method"], teacher["backbone"], teacher["dim"], True, 0, recall)
    for network, recalls in tables["table3"].items():
        if dataset in recalls:
            backbone, _, dim = network.rpartition("-")
            yield Published("3", "rkd-da", backbone, int(dim), False, 0, recalls[dataset])


def of_protocol(spec: Spec) -> bool:
    """Whether a run was made as the paper's were: images, batch, networks, steps, and a teacher made likewise."""
    protocol = data()["protocol"]
    shared = {key: value for key, value in protocol.items() if not isinstance(value, dict)}
    if any(getattr(spec, key) != value for key, value in shared.items()) or spec.views or spec.trunk:
        return False
    if spec.hidden:
        return False
    teachers = protocol["teacher"]
    if spec.teacher is None and spec.backbone == teachers["backbone"]:
        return all(getattr(spec, key) == value for key, value in teachers.items())
    if spec.steps != protocol["steps"].get(spec.dataset):
        return False
    if spec.generation:
        return spec.backbone == teachers["backbone"] and spec.teacher is not None and of_protocol(spec.teacher)
    return spec.backbone == protocol["student"]["backbone"] and (spec.teacher is None or of_protocol(spec.teacher))


def paper_table(compared: Comparison) -> Table | None:
    """Published beside ours; where no run is of the paper's protocol, what is published alone. None for sets that the paper has not."""
    first = compared.records[0].spec
    numbers = [] if first.data or first.subset else list(published(first.dataset))
    if not numbers:
        return None
    alike = [cell for cell in compared.cells if all(of_protocol(record.spec) for record in cell.records)]
    source = f"Recall@1 in percent, {data()['source']}, Tables 1 to 3"
    title, caption = (
        "The paper against ours",
        (
            f"{source}, beside runs of the same protocol. The paper has one run of each; the interval is of our seeds alone."
        ),
    )
    if not alike:
        title, caption = (
            "Published, under another protocol",
            (
                f"{source}: ResNet50-512 to ResNet18 at 224 px, thousands of steps of 128 images. "
                "No run here was made like that, so no difference is given."
            ),
        )
    columns = COLUMNS if alike else COLUMNS[:-2]
    same = [(number, [cell for cell in alike if _is(cell.records[0].spec, number)]) for number in numbers]
    lines = [Beside(number, cell) for number, cells in same for cell in cells or (None,)]
    shown = tuple(line(columns, beside, "", beside.number.dim) for beside in lines)
    return Table("paper", title, caption, headings(columns), shown)


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
    def recall(self) -> Summary | None:
        return None if self.cell is None else self.cell.summary("recall@1")

    @property
    def difference(self) -> Summary | None:
        recall = self.recall
        return None if recall is None else recall._replace(mean=recall.mean - self.number.recall)


COLUMNS: tuple[Column[Beside], ...] = (
    Column("", "Table", of=lambda beside: beside.number.table),
    Column("", "method", of=lambda beside: beside.method),
    Column("", "network", of=lambda beside: f"{beside.number.backbone}-{beside.number.dim}"),
    Column("", "l2", of=lambda beside: beside.number.l2),
    Column("", "published", "%", 2, of=lambda beside: beside.number.recall),
    mean("ours", lambda beside: beside.recall, "not run"),
    difference("ours − published, ± 95 %", lambda beside: beside.difference, "not run"),
)


def _is(spec: Spec, number: Published) -> bool:
    return (spec.method, spec.backbone, spec.dim, spec.normalize, spec.generation) == (
        number.method, number.backbone, number.dim, number.l2, number.generation,
    )  # fmt: skip
