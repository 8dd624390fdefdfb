"""`benchmark list`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .. import methods
from ..data import cards
from ..methods.plugins import registered
from ..networks import names as zoo
from ..protocol import presets
from .console import err, out, print_json, uncut_table
from .options import Json

Rows = Sequence[dict[str, Any]]


def list(what: Literal["datasets", "methods", "backbones", "presets"], /, *, json: Json = False) -> int:
    """Show the available data sets, methods, backbones or presets.

    Parameters
    ----------
    what
        datasets, methods, backbones or presets
    """
    rows = _rows(what)
    faults = methods.declarations.read().faults if what == "methods" else ()
    for fault in faults:
        err.print(f"benchmark: {fault}", markup=False, soft_wrap=True)
    if json:
        print_json(rows)
        return int(bool(faults))
    columns = [*dict.fromkeys(name for row in rows for name in row)]
    table = uncut_table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in columns))
    out.print(table)
    return int(bool(faults))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _rows(what: str) -> Rows:
    if what == "datasets":
        return [
            {"name": card.name, "title": card.title}
            | {split: f"{count.classes} classes, {count.images} images" for split, count in card.counts.items()}
            for card in map(cards.load_card, [*cards.names(), *registered("cards")])
        ]
    if what == "methods":
        fields = {"name": "name", "kind": "kind", "reference": "reference", "defaults": "defaults", "l2": "normalize"}
        known = methods.declarations.read().entries.values()
        return [{key: getattr(entry, name) for key, name in fields.items()} for entry in known]
    if what == "backbones":
        others = [
            {"name": name, "weights": f"{place}, of an installed package"}
            for name, place in registered("backbones").items()
        ]
        return [*({"name": name, "weights": weights} for name, weights in zoo.FAMILIES.items()), *others]
    protocols = map(presets.read_preset, presets.preset_names())
    return [{"name": preset.name, "for": ", ".join(preset.datasets), "title": preset.title} for preset in protocols]
