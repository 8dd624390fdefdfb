"""`benchmark evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.table import Table

from ..absurd import absurd_rows, told
from ..data.arrays import EMBEDDINGS, LABELS, open_array
from ..protocol.experiment import integers
from ..retrieval import metrics
from .console import err, out, print_json
from .options import Json


def evaluate(
    *,
    embeddings: Path,
    labels: Path,
    gallery_embeddings: Path | None = None,
    gallery_labels: Path | None = None,
    metric: Literal["l2", "cosine"] | None = None,
    at: str = "1,2,4,8",
    json: Json = False,
) -> int:
    """Measure retrieval by embeddings from anywhere, with the definitions of the suite.

    Parameters
    ----------
    embeddings
        .npy, or .npz with an array of that name or one array alone, [n, d]
    labels
        the same, [n] integers or strings
    gallery_embeddings
        the same, named embeddings, [m, d]; without it, queries are searched among themselves, each without itself
    gallery_labels
        the same, named labels, [m]
    metric
        l2 or cosine; both without it
    at
        comma-separated K of Recall@K
    """
    query = open_array(embeddings, "embeddings", EMBEDDINGS), open_array(labels, "labels", LABELS)
    gallery = (
        None if gallery_embeddings is None else open_array(gallery_embeddings, "embeddings", EMBEDDINGS),
        None if gallery_labels is None else open_array(gallery_labels, "labels", LABELS),
    )
    result = metrics.evaluate(*query, *gallery, at=tuple(integers("--at", at))).evaluation
    for what, rows in (("embeddings", query[0]), ("gallery embeddings", gallery[0])):
        if rows is not None and len(bad := absurd_rows(rows)):
            # Beside the numbers, which may be JSON for a program.
            err.print(f"{told(bad, len(rows), what)}; a mended infinity?", markup=False, soft_wrap=True)
    shown = {name: getattr(result, name) for name in ([metric] if metric else ["l2", "cosine"])}
    if json:
        print_json({**shown, "queries": result.queries, "dropped": result.dropped, "gallery": result.gallery})
        return 0
    table = Table(
        title=f"{result.queries} queries, {result.gallery} items"
        + (f", {result.dropped} queries without a partner dropped" if result.dropped else "")
    )
    table.add_column("%")
    for name in shown:
        table.add_column(name, justify="right")
    for key in next(iter(shown.values())):
        table.add_row(key, *(f"{100 * values[key]:.2f}" for values in shown.values()))
    out.print(table)
    return 0
