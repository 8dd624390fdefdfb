"""Galleries of fewer bytes: what is found when stored numbers are coarser than a query's."""

from __future__ import annotations

import faiss
import numpy as np

from .search import Floats, Metric

FORMS = ("float16", "int8", "binary")


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
