"""`benchmark fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..data import cards
from .console import out

if TYPE_CHECKING:
    from ..data.splits import DataSet


def fetch(*, dataset: str, data: Path | None = None, mirror: Path | None = None) -> int:
    """Download, verify and unpack a data set, and check that it holds what its card says.

    Parameters
    ----------
    dataset
        a card (benchmark list datasets) or a card's .toml
    data
        the folder to unpack into
    mirror
        a folder to take archives from instead of the network
    """
    from ..data.fetch import fetch as fetch_data
    from ..data.layouts import load

    folder = data or cards.default_data_dir()
    path = fetch_data(cards.load(dataset, folder), folder, mirror)
    found = load(cards.load(dataset, folder), folder)
    out.print(f"{path}: {_sizes(found)}", soft_wrap=True)
    return 0


def _sizes(images: DataSet) -> str:
    parts = [
        ("train", images.train),
        ("query" if images.gallery else "test", images.query),
        ("gallery", images.gallery),
    ]
    return ", ".join(split.described(name) for name, split in parts if split is not None)
