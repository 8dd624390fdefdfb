"""`benchmark list`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rich.table import Table

from .. import methods
from ..data import cards
from ..networks import names as zoo
from ..protocol import presets
from .console import out, print_json
from .options import Json

Rows = Sequence[dict[str, Any]]


def list(what: Literal["datasets", "methods", "backbones", "presets"], /, *, json: Json = False) -> int:
    """Show what there is to choose from.

    Parameters
    ----------
    what
        datasets, methods, backbones or presets
    """
    rows = ROWS[what]()
    if json:
        print_json(rows)
        return 0
    columns = [*dict.fromkeys(name for row in rows for name in row)]
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in columns))
    out.print(table)
    return 0


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def datasets() -> Rows:
    return [
        {
            "name": card.name,
            "title": card.title,
            **{split: f"{count.classes} classes, {count.images} images" for split, count in card.counts.items()},
        }
        for card in map(cards.load, cards.names())
    ]


def distillation_methods() -> Rows:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "reference": entry.reference,
            "defaults": entry.defaults,
            "l2": entry.normalize,
        }
        for entry in methods.catalogue().values()
    ]


def backbones() -> Rows:
    return [family._asdict() for family in zoo.FAMILIES]


def protocols() -> Rows:
    known = map(presets.read_preset, presets.preset_names())
    return [{"name": preset.name, "for": ", ".join(preset.datasets), "title": preset.title} for preset in known]


ROWS = {"datasets": datasets, "methods": distillation_methods, "backbones": backbones, "presets": protocols}
