"""The set that needs no download: letters and digits of the 12 DejaVu faces that come inside matplotlib's wheel.

A class is a character, an instance is a face under a small affine distortion of its own. Outlines are read in exact
font units and filled here, so the pixels depend on the font files alone, not on a FreeType or Pillow version; random
numbers come from SHA-256, so they depend on no version either.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .cards import Card

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

FACES = tuple(
    f"DejaVu{family}{style}.ttf"
    for family, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
)
SIZE = 32  # pixels a side
FILE = "glyphs.npz"  # pixels: uint8 [classes, 12, SIZE, SIZE], characters: [classes]

_SUPERSAMPLING = 4  # samples a pixel and axis
_CURVE = 4  # straight pieces of a quadratic curve; a power of two keeps the points exact, so equal outlines stay equal
_MIDDLE = 740  # height above the baseline that is put at the centre, in units of 1/2048 em
_SCALE = 23 / 2048  # pixels a unit: an em is 23 px, so that accented capitals and descenders fit
_WIDEST = 27.0  # pixels; wider characters are made smaller

Point = tuple[float, float]
Edges = np.ndarray  # float64 [e, 4]: x0, y0, x1, y1 in font units, y up, the bounding box centred at x = 0


def render(characters: str = "") -> tuple[np.ndarray, tuple[str, ...]]:
    """Draw the set.

    Args:
        characters: the only ones to draw; empty: every letter and digit that all faces have.

    Returns:
        uint8 [classes, 12, 32, 32], white on black, and the classes' characters; both shuffled, always in the same
        way: in code point order, the first and the second half of the classes would be of different scripts.

    Raises:
        DataError: matplotlib's font files are not there.
    """
    classes = _classes(characters)
    names = tuple(sorted(classes, key=lambda name: hashlib.sha256(name.encode()).digest()))
    pixels = np.empty((len(names), len(FACES), SIZE, SIZE), np.uint8)
    for row, name in zip(pixels, names, strict=True):
        for image, face, edges in zip(row, FACES, classes[name], strict=True):
            image[:] = _fill(_place(edges, _uniform(f"{ord(name)} {face}", 6)))
    return pixels, names


def verify(card: Card, pixels: np.ndarray, source: str) -> None:
    """Compare with the checksum that the card pins.

    Raises:
        DataError: other pixels, with the versions that they were pinned with and the ones here.
    """
    if card.checksum and hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() != card.checksum:
        pinned = ", ".join(f"{package} {number}" for package, number in card.pinned_with.items())
        here = ", ".join(f"{package} {version(package)}" for package in card.pinned_with)
        raise DataError(f"{card.name}: {source} is not what its card pins (pinned with {pinned}; here {here})")


def _classes(characters: str) -> dict[str, list[Edges]]:
    """Outlines in all faces by character, without those that share an outline with an earlier one: Α (Greek) beside A.

    One shared face is enough: its image would have two right answers.
    """
    import matplotlib
    from fontTools.ttLib import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = []
    for face in FACES:
        if not (folder / face).is_file():
            raise DataError(f"{folder / face} is missing: the glyphs are drawn from the fonts in matplotlib's wheel")
        fonts.append(TTFont(folder / face, lazy=True))
    codes = set.intersection(*(set(font.getBestCmap()) for font in fonts))
    codes = {code for code in codes if unicodedata.category(chr(code))[0] in "LN"}
    if characters:
        codes &= set(map(ord, characters))
    read = [_reader(font) for font in fonts]
    classes: dict[str, list[Edges]] = {}
    seen: set[tuple[int, bytes]] = set()
    for code in sorted(codes):
        faces = [outline(code) for outline in read]
        # Sorted: the same outline may start at another point or list its contours in another order.
        keys = {(face, edges[np.lexsort(edges.T)].tobytes()) for face, edges in enumerate(faces)}
        if all(map(len, faces)) and seen.isdisjoint(keys):
            seen |= keys
            classes[chr(code)] = faces
    return classes


def _reader(font: TTFont) -> Callable[[int], Edges]:
    """A function from code point to edges in one face."""
    from fontTools.pens.basePen import BasePen

    class Flatten(BasePen):
        """Collects outlines as straight pieces; composite characters come decomposed from the base class."""

        def __init__(self) -> None:
            super().__init__(glyphs)
            self.pieces: list[tuple[float, float, float, float]] = []

        def _moveTo(self, pt: Point) -> None:
            self.start = pt

        def _lineTo(self, pt: Point) -> None:
            self.pieces.append((*self._getCurrentPoint(), *pt))

        def _qCurveToOne(self, pt1: Point, pt2: Point) -> None:
            last = self._getCurrentPoint()
            (x0, y0), (x1, y1), (x2, y2) = last, pt1, pt2
            for step in range(1, _CURVE + 1):
                t = step / _CURVE
                a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
                point = (a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2)
                self.pieces.append((*last, *point))
                last = point

        def _closePath(self) -> None:
            if self._getCurrentPoint() != self.start:
                self._lineTo(self.start)

    glyphs, names = font.getGlyphSet(), font.getBestCmap()

    def outline(code: int) -> Edges:
        pen = Flatten()
        glyphs[names[code]].draw(pen)
        edges = np.array(pen.pieces, np.float64).reshape(-1, 4)
        if len(edges):
            x = edges[:, 0::2]
            x -= (x.min() + x.max()) / 2
        return edges

    return outline


def _uniform(purpose: str, count: int) -> np.ndarray:
    """Up to eight numbers in [-1, 1) that depend on what they are for and on nothing else."""
    return np.frombuffer(hashlib.sha256(purpose.encode()).digest(), "<u4")[:count] / 2.0**31 - 1


def _place(edges: Edges, random: np.ndarray) -> Edges:
    """Font units to pixels, y down: turned by up to 12°, sheared and scaled by up to 12 %, shifted by up to 1.5 px."""
    turn, shear, scale, stretch = random[:4] * (math.radians(12), 0.12, 0.12, 0.06)
    size = min(_SCALE, _WIDEST / np.ptp(edges[:, 0::2])) * (1 + scale)
    cos, sin = math.cos(turn), math.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ [[1 + stretch, shear], [0, 1 - stretch]] * size
    points = (edges.reshape(-1, 2) - (0, _MIDDLE)) @ matrix.T * (1, -1) + SIZE / 2 + 1.5 * random[4:]
    # A grid of 1/256 px swallows the last bits, in which machines differ.
    return (np.round(points * 256) / 256).reshape(-1, 4)


def _fill(edges: Edges) -> np.ndarray:
    """uint8 [SIZE, SIZE] of the area whose winding number is not zero, as TrueType defines the inside."""
    side = SIZE * _SUPERSAMPLING
    x0, y0, x1, y1 = (edges.T * _SUPERSAMPLING)[:, :, None]
    rows = np.arange(side) + 0.5
    edge, row = np.nonzero((np.minimum(y0, y1) <= rows) & (rows < np.maximum(y0, y1)))
    slope = (x1 - x0) / np.where(y1 == y0, 1, y1 - y0)
    crossing = x0[edge, 0] + (rows[row] - y0[edge, 0]) * slope[edge, 0]
    column = np.clip(np.ceil(crossing - 0.5), 0, side).astype(np.intp)
    # A crossing changes the winding number of everything to its right.
    change = np.bincount(row * (side + 1) + column, np.sign(y1 - y0)[edge, 0], side * (side + 1))
    inside = change.reshape(side, side + 1).cumsum(1)[:, :side] != 0
    area = inside.reshape(SIZE, _SUPERSAMPLING, SIZE, _SUPERSAMPLING).sum((1, 3))
    return np.round(area * (255 / _SUPERSAMPLING**2)).astype(np.uint8)
