"""Galleries of fewer bytes: what is found when stored numbers are coarser than a query's."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np

from .search import Floats, Metric


def _float16(rows: Floats, metric: Metric) -> Floats:
    # Beyond what float16 holds, its largest: an absurd row stays far from the others.
    most = float(np.finfo(np.float16).max)
    return np.clip(rows, -most, most).astype(np.float16).astype(np.float32)


def _int8(rows: Floats, metric: Metric) -> Floats:
    """Round each number to one of 256 steps between the least and the largest of its coordinate (faiss's QT_8bit)."""
    quantiser = faiss.ScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit)
    rows = np.ascontiguousarray(rows, np.float32)
    quantiser.train(rows)
    return np.asarray(quantiser.decode(quantiser.compute_codes(rows)), np.float32)


def _binary(rows: Floats, metric: Metric) -> Floats:
    """Keep signs: under cosine of the numbers themselves; under L2, which knows no origin, of what they are beside the mean.

    Either way at the typical size, so that distances to queries, which keep all digits, mean something.
    """
    centre = rows.mean(axis=0) if metric == "l2" else np.zeros(rows.shape[1], np.float32)
    signs = np.where(rows >= centre, 1, -1) * np.abs(rows - centre).mean()
    return (centre + signs).astype(np.float32)


FORMS: dict[str, Callable[[Floats, Metric], Floats]] = {"float16": _float16, "int8": _int8, "binary": _binary}


def as_stored(gallery: Floats, form: str, metric: Metric) -> Floats:
    """A gallery float32 [m, d] as it comes out of storage: as float16, int8, or signs alone (`binary`)."""
    return FORMS[form](gallery, metric)
