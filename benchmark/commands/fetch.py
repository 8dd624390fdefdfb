"""`benchmark fetch`."""

from __future__ import annotations

from pathlib import Path

from ..data.source import Source
from ..protocol.request import Mirror
from .console import out


def fetch(*, dataset: str, data: Path | None = None, mirror: Mirror = None) -> int:
    """Download, verify and unpack a data set, and check its counts against its card.

    Parameters
    ----------
    dataset
        a card (benchmark list datasets) or a card's .toml
    data
        the folder to unpack into
    """
    source = Source.named(dataset, data, mirror).fetched()
    images = source.images
    parts = {"train": images.train, "query" if images.gallery else "test": images.query, "gallery": images.gallery}
    sizes = ", ".join(split.described(name) for name, split in parts.items() if split is not None)
    out.print(f"{source.folder / source.card.folder}: {sizes}", soft_wrap=True)
    return 0
