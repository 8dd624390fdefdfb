"""The paper's numbers beside ours: a difference only where the protocol is the paper's."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

from ..spec import Spec
from .comparison import Comparison
from .render import Column, Line, Table, Value, dash, difference, text


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
    """Of a data set, the numbers of Tables 1 and 2, and the authors' own of Table 3."""
    found, protocol = data(), data()["protocol"]
    student, teacher = protocol["student"]["backbone"], protocol["teacher"]
    one = found["table1"].get(dataset)
    if one is not None:
        yield Published("1", teacher["method"], teacher["backbone"], teacher["dim"], True, 0, one["teacher"])
        for l2, key in ((True, "l2"), (False, "raw")):
            for method, recalls in one[key].items():
                for dim, recall in zip(one["dims"], recalls, strict=True):
                    yield Published("1", method, student, dim, l2, 0, recall)
    for generation, recall in enumerate(found["table2"].get(dataset, [])):
        if generation:
            yield Published("2", "rkd-da", teacher["backbone"], found["table2"]["dim"], False, generation, recall)
        elif one is None:
            yield Published("2", teacher["method"], teacher["backbone"], teacher["dim"], True, 0, recall)
    for network, recalls in found["table3"].items():
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
    ours = [cell for cell in compared.cells if all(of_protocol(record.spec) for record in cell.records)]
    source = data()["source"]
    columns = [Column("Table", False), Column("method", False), Column("network", False), Column("l2", False)]
    if not ours:
        return Table(
            "paper",
            "Published, under another protocol",
            f"Recall@1 in percent, {source}, Tables 1 to 3: ResNet50-512 to ResNet18 at 224 px, thousands of steps of 128 images. "
            "No run here was made like that, so no difference is given.",
            (*columns, Column("published")),
            tuple(Line((*_names(one), _number(one.recall)), dim=one.dim) for one in numbers),
        )

    def lines(one: Published) -> Iterator[Line]:
        same = [cell for cell in ours if _is(cell.records[0].spec, one)]
        if not same:
            yield Line((*_names(one), _number(one.recall), dash("not run"), dash("not run")), dim=one.dim)
        for cell in same:
            found = cell.summary("recall@1")
            assert found is not None
            table, method, *rest = _names(one)
            names = (
                table,
                method._replace(text=f"{method.text} ({cell.row.settings})") if cell.row.settings else method,
                *rest,
            )
            off = found._replace(mean=found.mean - one.recall)
            yield Line((*names, _number(one.recall), _number(found.mean), difference(off)), dim=one.dim)

    return Table(
        "paper",
        "The paper against ours",
        f"Recall@1 in percent, {source}, Tables 1 to 3, beside runs of the same protocol. The paper has one run of each; "
        "the interval is of our seeds alone.",
        (*columns, Column("published"), Column("ours"), Column("ours − published, ± 95 %")),
        tuple(line for one in numbers for line in lines(one)),
    )


def _names(one: Published) -> tuple[Value, ...]:
    method = f"{one.method} generation {one.generation}" if one.generation else one.method
    return text(one.table), text(method), text(f"{one.backbone}-{one.dim}"), text("yes" if one.l2 else "no")


def _number(value: float) -> Value:
    return Value(f"{value:.2f}", number=value)


def _is(spec: Spec, one: Published) -> bool:
    return (spec.method, spec.backbone, spec.dim, spec.normalize, spec.generation) == (
        one.method, one.backbone, one.dim, one.l2, one.generation,
    )  # fmt: skip
