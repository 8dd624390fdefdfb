"""A data set and where it lies, before and after it is read."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from . import cards
from .cards import NOTHING_SAID, Card, OwnImages, Vectors
from .fetch import fetch
from .layouts import load_images
from .splits import DataSet
from .vector_sets import join_vectors


@dataclass(frozen=True)
class Source:
    """A data set in the folder of all data; images or vectors are fetched and read when they are first asked for.

    Args:
        mirror: a folder to take archives from.
        subset: of each split, CLASSESxIMAGES; empty: all.
        taught_by: a teacher's vectors of the images.
    """

    card: Card
    folder: Path
    mirror: Path | None = None
    subset: str = ""
    taught_by: Vectors | None = None

    @classmethod
    def named(
        cls,
        dataset: str,
        folder: Path | None,
        mirror: Path | None = None,
        subset: str = "",
        own: OwnImages = NOTHING_SAID,
    ) -> Source:
        """The source of a name, a card's file or a folder of images. Raises as `cards.load_card`."""
        folder = folder or cards.default_data_dir()
        return cls(cards.load_card(dataset, folder, own), folder, mirror, subset)

    @functools.cached_property
    def images(self) -> DataSet:
        """The data set. Raises as `fetch`, `load_images` and `join_vectors`."""
        fetch(self.card, self.folder, self.mirror)
        images = load_images(self.card, self.folder, self.subset)
        return images if self.taught_by is None else join_vectors(images, self.taught_by)

    @property
    def here(self) -> bool:
        """Whether it need not be fetched: it is own data, or there is something in its folder."""
        if self.card.vectors is not None or not (self.card.archives or self.card.layout == "glyphs"):
            return True
        folder = self.folder / self.card.folder
        return folder.is_dir() and any(folder.iterdir())

    def fetched(self) -> Source:
        """The source with its data here, and the card that a mirror may have for a reduced copy."""
        fetch(self.card, self.folder, self.mirror)
        return replace(self, card=cards.replacement(self.card, self.folder))

    @property
    def own(self) -> str:
        """The fingerprint of own data (a folder, a card, a reduced copy), which their name does not tell; else empty."""
        return self.images.fingerprint if cards.is_own(self.card) else ""

    @property
    def name(self) -> str:
        """Its name among results: own data have a part of their fingerprint in it, so that no two are mixed up."""
        return "-".join(filter(None, (self.card.name, self.own[:6], self.subset)))
