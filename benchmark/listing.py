"""What there is to choose from, as rows for `benchmark list`. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from . import methods
from .data import cards
from .networks import names as zoo
from .protocol import presets

Row = dict[str, Any]


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
        for entry in methods.catalogue().values()
    ]


def backbones() -> list[Row]:
    return [family._asdict() for family in zoo.FAMILIES]


def protocols() -> list[Row]:
    found = map(presets.load, presets.names())
    return [{"name": preset.name, "for": ", ".join(preset.datasets), "title": preset.title} for preset in found]


ROWS = {"datasets": datasets, "methods": distillation_methods, "backbones": backbones, "presets": protocols}
