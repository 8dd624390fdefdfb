"""Hold an index that is not exact against exact search: its finds and its savings."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from ..timing import repeated
from .indices import Form
from .search import Floats, Index, Metric, prepared

NEAREST, ASKED = 10, 1_000  # neighbours that are looked for, and queries of a measurement


class Found(NamedTuple):
    """An index beside exact search on the same queries in the same run.

    Args:
        share: of the 10 nearest of up to 1,000 queries, by exact search, that are among its 10.
        faster: seconds of the exact search over its own; without building either.
        item: bytes of the whole index, an item.
    """

    share: float
    faster: float
    item: float


def compare(query: Floats, gallery: Floats | None, metric: Metric, form: Form) -> Found:
    """Hold an index of a gallery [m, d], or of the queries themselves, against exact search of some queries [n, d]."""
    query = np.ascontiguousarray(query, np.float32)
    chosen = np.sort(np.random.default_rng(0).permutation(len(query))[:ASKED])
    own = chosen if gallery is None else None
    gallery = query if gallery is None else np.ascontiguousarray(gallery, np.float32)
    rows, exact = prepared(query, gallery, metric)
    _, other = prepared(query, gallery, metric, form)

    def nearest(index: Index) -> np.ndarray:
        return np.concatenate([block for _, block in index.search(rows[chosen], NEAREST, own)])

    share = np.mean([np.isin(a, b).mean() for a, b in zip(nearest(exact), nearest(other), strict=True)])
    seconds = [repeated(partial(nearest, index), 3, 10, 2.0).typical for index in (exact, other)]
    return Found(float(share), seconds[0] / seconds[1], other.bytes / len(gallery))
