"""Searches that are not exact: what an index finds and saves beside exact search, and galleries that are stored in fewer bytes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import faiss
import numpy as np

from ..timing import repeated
from .indices import Form
from .search import Floats, Index, Metric, prepared

FORMS = ("float16", "int8", "binary")  # of stored galleries
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


def as_stored(gallery: Floats, form: str, metric: Metric) -> Floats:
    """A gallery float32 [m, d] as it comes out of storage.

    float16: absurd rows at the largest that it holds, so that they stay far from the others. int8: each number at one of 256 steps between
    the least and the largest of its coordinate (faiss's QT_8bit). binary: signs, under cosine of the numbers themselves, under L2, which
    knows no origin, of what they are beside the mean; at the typical size, so that distances to queries, which keep all digits, mean
    something.
    """
    if form == "float16":
        most = float(np.finfo(np.float16).max)
        return np.clip(gallery, -most, most).astype(np.float16).astype(np.float32)
    if form == "int8":
        quantiser = faiss.ScalarQuantizer(gallery.shape[1], faiss.ScalarQuantizer.QT_8bit)
        rows = np.ascontiguousarray(gallery, np.float32)
        quantiser.train(rows)
        return np.asarray(quantiser.decode(quantiser.compute_codes(rows)), np.float32)
    centre = gallery.mean(axis=0) if metric == "l2" else np.zeros(gallery.shape[1], np.float32)
    signs = np.where(gallery >= centre, 1, -1) * np.abs(gallery - centre).mean()
    return (centre + signs).astype(np.float32)
