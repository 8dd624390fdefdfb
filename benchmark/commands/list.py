"""`benchmark list`: what there is to choose from."""

from __future__ import annotations

from typing import Any, Literal

from rich.table import Table

from .. import methods
from ..data import cards
from ..networks import names as zoo
from ..protocol import presets
from .console import err, out, print_json

Row = dict[str, Any]


def list_command(what: Literal["datasets", "methods", "backbones", "presets"], /, *, json: bool = False) -> int:
    """Show what there is to choose from.

    Parameters
    ----------
    what
        datasets, methods, backbones or presets
    json
        print JSON
    """
    rows = ROWS[what]()
    faults = methods.faults() if what == "methods" else ()
    for fault in faults:
        err.print(f"benchmark: {fault}", markup=False, soft_wrap=True)
    if json:
        print_json(rows)
        return int(bool(faults))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in columns))
    out.print(table)
    return int(bool(faults))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def datasets() -> list[Row]:
    return [
        {
            "name": card.name,
            "title": card.title,
            **{split: f"{count.classes} classes, {count.images} images" for split, count in card.counts.items()},
        }
        for card in map(cards.load, cards.names())
    ]


def distillation_methods() -> list[Row]:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "reference": entry.reference,
            "defaults": entry.defaults,
            "l2": entry.normalize,
        }
        for entry in methods.declarations.read().entries.values()
    ]


def backbones() -> list[Row]:
    return [family._asdict() for family in zoo.FAMILIES]


def protocols() -> list[Row]:
    found = map(presets.load, presets.names())
    return [{"name": preset.name, "for": ", ".join(preset.datasets), "title": preset.title} for preset in found]


ROWS = {"datasets": datasets, "methods": distillation_methods, "backbones": backbones, "presets": protocols}
