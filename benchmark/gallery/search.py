"""Images that are found for query images, as a page to be looked at."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..report.cells import printable
from ..report.render import templates
from ..retrieval.search import Floats, Metric, prepared
from .page import picture_of


def search_page(
    name: str,
    queries: Sequence[Path],
    gallery: Sequence[Path],
    embeddings: tuple[Floats, Floats],
    metric: Metric,
    k: int,
) -> str:
    """The HTML of each query with its k nearest of the gallery; a query that is in the gallery itself is left out there.

    Args:
        embeddings: of the queries [n, d] and of the gallery [m, d].

    Raises:
        DataError: a file cannot be decoded.
    """
    query, index = prepared(*embeddings, metric)
    at = {path.resolve(): row for row, path in enumerate(gallery)}
    own = np.array([at.get(path.resolve(), -1) for path in queries])
    nearest = np.concatenate([rows for _, rows in index.search(query, k, own if (own >= 0).any() else None)])
    picture = functools.cache(picture_of)

    def hits(row: int) -> list[dict[str, object]]:
        rows = nearest[row].tolist()
        apart = _distances(embeddings[0][row], embeddings[1][rows], metric)
        return [
            {"name": _named(gallery[hit]), "picture": picture(gallery[hit]), "distance": distance}
            for hit, distance in zip(rows, apart.tolist(), strict=True)
        ]

    shown = [{"name": _named(path), "picture": picture(path), "hits": hits(row)} for row, path in enumerate(queries)]
    distance = "cosine similarity" if metric == "cosine" else "Euclidean distance"
    page = templates(html=True, package=__package__).get_template("search.html.jinja")
    return printable(page.render(name=name, queries=shown, gallery=len(gallery), distance=distance, shown_neighbours=k))


def _distances(query: Floats, rows: Floats, metric: Metric) -> Floats:
    """Cosine similarities, or Euclidean distances, of one query to some rows."""
    if metric == "cosine":
        return rows @ query / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(query), 1e-12)
    return np.linalg.norm(rows - query, axis=1)


def _named(path: Path) -> str:
    """With its folder, which is often its class."""
    return f"{path.parent.name}/{path.name}"
