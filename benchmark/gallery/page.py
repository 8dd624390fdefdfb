"""The page of a gallery."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..data.decode import rgb
from ..data.splits import DataSet, Split
from ..data.vectors import VectorRows
from ..report.cells import printable
from .cases import Section
from .map import Map
from .networks import SHOWN, Shown, answerable, searched

PIXELS = 96  # the longer side of an image on the page


class Picture(NamedTuple):
    uri: str
    name: str  # of its class
    row: int  # in its split


class Neighbour(NamedTuple):
    picture: Picture
    right: bool


class Case(NamedTuple):
    """A query, and what each network finds."""

    query: Picture
    found: list[tuple[Shown, list[Neighbour]]]


def page(title: str, shown: Sequence[Shown], parts: Sequence[Section], dataset: DataSet, drawn: Map | None) -> str:
    import jinja2

    @functools.cache
    def picture(split: Split, row: int) -> Picture:
        return Picture(thumbnail(split, row), split.names[split.labels[row]], row)

    def case(query: int) -> Case:
        found = [
            (
                one,
                [
                    Neighbour(picture(searched(dataset), row), right)
                    for row, right in zip(one.nearest[query].tolist(), one.right[query].tolist(), strict=True)
                ],
            )
            for one in shown
        ]
        return Case(picture(dataset.query, query), found)

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    scored = int(answerable(dataset).sum())
    template = resources.files("benchmark.report").joinpath("gallery.html.jinja").read_text(encoding="utf-8")
    made = environment.from_string(template).render(
        title=title,
        shown=shown,
        teacher=shown[0],
        best=next(one for one in shown if one.best),
        scored=scored,
        both=scored - sum(part.total for part in parts),
        dropped=len(dataset.query) - scored,
        searched=len(searched(dataset)),
        among_themselves=dataset.gallery is None,
        parts=[(part, [case(query) for query in part.queries.tolist()]) for part in parts],
        neighbours=SHOWN,
        map=drawn,
        map_data="" if drawn is None else base64.b64encode(drawn.svg.encode()).decode(),
    )
    return printable(made)


def thumbnail(split: Split, row: int) -> str:
    """An image as a data: URI, JPEG, its longer side at most PIXELS; in its own proportions, which networks do not see.

    Raises:
        DataError: the file cannot be decoded.
    """
    images = split.images
    assert not isinstance(images, VectorRows)
    small = Image.fromarray(images[row]) if isinstance(images, np.ndarray) else rgb(images[row], 2 * PIXELS)
    small.thumbnail((PIXELS, PIXELS))
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
