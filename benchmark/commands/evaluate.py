"""`benchmark evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from ..absurd import absurd_rows, told
from ..data.arrays import EMBEDDINGS, LABELS, open_array
from ..protocol.experiment import integers
from ..retrieval import metrics
from ..retrieval.approximate import compare
from ..retrieval.indices import Form
from ..retrieval.search import Metric
from .console import err, out, print_json
from .options import Json

# Of an index beside the exact one: by key, its line of the table, and how its number is written.
BESIDE = (("share", "10 nearest found, %", 100, 1), ("faster", "times as fast", 1, 1), ("item", "bytes an item", 1, 1))


def evaluate(
    *,
    embeddings: Path,
    labels: Path,
    gallery_embeddings: Path | None = None,
    gallery_labels: Path | None = None,
    metric: Metric | None = None,
    at: str = "1,2,4,8",
    index: Form = "flat",
    json: Json = False,
) -> int:
    """Measure retrieval with embeddings from anywhere, by the suite's metrics.

    Parameters
    ----------
    embeddings
        .npy, or .npz with an array of that name or with only one array, [n, d]
    labels
        the same file types, [n], integers or strings
    gallery_embeddings
        the same file types, array embeddings, [m, d]; the default searches the queries among themselves, each without itself
    gallery_labels
        the same file types, array labels, [m]
    metric
        l2 or cosine; the default is both
    at
        comma-separated K of Recall@K
    index
        flat is exact; hnsw and ivf-pq are compared with it: recall, speed and size
    """
    query = open_array(embeddings, "embeddings", EMBEDDINGS), open_array(labels, "labels", LABELS)
    gallery = (
        None if gallery_embeddings is None else open_array(gallery_embeddings, "embeddings", EMBEDDINGS),
        None if gallery_labels is None else open_array(gallery_labels, "labels", LABELS),
    )
    ks = tuple(integers("--at", at))
    result = metrics.evaluate(*query, *gallery, at=ks).evaluation
    for what, rows in (("embeddings", query[0]), ("gallery embeddings", gallery[0])):
        if rows is not None and len(bad := absurd_rows(rows)):
            # Beside the numbers, which may be JSON for a program.
            err.print(f"{told(bad, len(rows), what)}; a mended infinity?", markup=False, soft_wrap=True)
    names: list[Metric] = [metric] if metric else ["l2", "cosine"]
    shown: dict[str, dict[str, Any]] = {name: getattr(result, name) for name in names}
    if index != "flat":
        other = metrics.evaluate(*query, *gallery, at=ks, index=index).evaluation
        for name in names:
            beside = compare(query[0], gallery[0], name, index)._asdict()
            shown[f"{name}, {index}"] = getattr(other, name) | beside
    if json:
        print_json({**shown, "queries": result.queries, "dropped": result.dropped, "gallery": result.gallery})
        return 0
    dropped = f", {result.dropped} queries without a partner dropped" if result.dropped else ""
    out.print(_table(f"{result.queries} queries, {result.gallery} items{dropped}", shown, list(result.l2)))
    return 0


def _table(title: str, shown: dict[str, dict[str, Any]], keys: list[str]) -> Table:
    table = Table("%", title=title)
    for name in shown:
        table.add_column(name, justify="right")
    for key, label, scale, digits in [*((key, key, 100, 2) for key in keys), *BESIDE]:
        texts = [f"{scale * values[key]:.{digits}f}" if key in values else "" for values in shown.values()]
        if any(texts):
            table.add_row(label, *texts)
    return table
