"""Which queries a gallery shows, and its page."""

from __future__ import annotations

import base64
import functools
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..data.decode import rgb
from ..data.splits import DataSet, Split
from ..data.vectors import VectorRows
from ..report.cells import printable
from ..report.render import templates
from ..retrieval.metrics import Labels
from ..retrieval.search import Ints
from .map import Map
from .networks import SHOWN, Bools, ShownNetwork, answerable, searched

PIXELS = 96  # the longer side of an image on the page


class Cases(NamedTuple):
    """A kind of case: how many queries it has, and which of them are shown."""

    key: str
    title: str
    rule: str
    total: int
    queries: Ints


def sections(teacher: ShownNetwork, student: ShownNetwork, dataset: DataSet, n: int) -> list[Cases]:
    """The cases in which one network is right and the other wrong, and those in which both are; at most n queries each."""
    scored, labels = answerable(dataset), dataset.query.labels
    taught, teaching = student.right[:, 0], teacher.right[:, 0]
    margin = student.right.sum(axis=1) - teacher.right.sum(axis=1)
    both = student.right.sum(axis=1) + teacher.right.sum(axis=1)
    beats = f"largest margin first (its right neighbours among the {SHOWN} shown, less those of the other)"
    fewest = f"fewest right neighbours first (of both networks, among the {SHOWN} shown)"
    cases = [
        ("student", "The student beats the teacher", beats, scored & taught & ~teaching, margin),
        ("teacher", "The teacher beats the student", beats, scored & teaching & ~taught, -margin),
        ("neither", "Both wrong", fewest, scored & ~teaching & ~taught, -both),
    ]
    return [
        Cases(key, title, rule, int(wanted.sum()), pick(wanted, score, labels, n))
        for key, title, rule, wanted, score in cases
    ]


def pick(wanted: Bools, score: Ints, labels: Labels, n: int) -> Ints:
    """At most n of the wanted queries, those of the highest score [n] first, of equal ones the lowest index.

    Each class gets one, before there is a second one of any.
    """
    order = np.argsort(-score, kind="stable")
    order = order[wanted[order]]
    seen: Counter[Any] = Counter()
    turns = []
    for label in labels[order].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return order[np.argsort(np.array(turns, np.int64), kind="stable")][:n]


def gallery_page(
    title: str, shown: Sequence[ShownNetwork], parts: Sequence[Cases], dataset: DataSet, drawn: Map | None
) -> str:
    """The HTML of a gallery, which stands alone: images are within it."""

    @functools.cache
    def picture(split: Split, row: int) -> dict[str, str]:
        return {"uri": thumbnail(split, row), "name": split.names[split.labels[row]]}

    scored = int(answerable(dataset).sum())
    made = (
        templates(html=True, package=__package__)
        .get_template("page.html.jinja")
        .render(
            title=title,
            shown=shown,
            best=next(network for network in shown if network.best),
            scored=scored,
            both=scored - sum(part.total for part in parts),
            dropped=len(dataset.query) - scored,
            dataset=dataset,
            searched=searched(dataset),
            parts=parts,
            picture=picture,
            shown_neighbours=SHOWN,
            map=drawn,
            map_data="" if drawn is None else base64.b64encode(drawn.svg.encode()).decode(),
        )
    )
    return printable(made)


def thumbnail(split: Split, row: int) -> str:
    """An image of a split as `picture_of` a file."""
    images = split.images
    assert not isinstance(images, VectorRows)
    return picture_of(images[row])


def picture_of(image: Path | np.ndarray) -> str:
    """An image as a data: URI, JPEG, its longer side at most PIXELS; in its own proportions, which networks do not see.

    Args:
        image: a file, or grey pixels [h, w].

    Raises:
        DataError: the file cannot be decoded.
    """
    small = Image.fromarray(image) if isinstance(image, np.ndarray) else rgb(image, 2 * PIXELS)
    small.thumbnail((PIXELS, PIXELS))
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
