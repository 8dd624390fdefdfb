"""Retrieval query by query, and the file that keeps it beside a network's weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import BenchmarkError
from .files import digest, read_regular
from .record import ROUNDING, ByClass, Record


class Queries(NamedTuple):
    """The scored queries of a run, by one distance: arrays [n] of one length."""

    row: NDArray[np.int32]  # in the query split
    nearest: NDArray[np.int32]  # its nearest neighbour's row in what is searched
    hit: NDArray[np.bool_]  # whether that is of its class
    precision: NDArray[np.float32]  # its average precision at R, of which MAP@R is the mean
    label: NDArray[np.int32] | None = None  # its class; None without labels

    def by_class(self) -> ByClass | None:
        """Sum up class by class; None without labels."""
        if self.label is None:
            return None
        _, label, queries = np.unique(self.label, return_inverse=True, return_counts=True)
        hits, precision = (np.bincount(label, weights=values) for values in (self.hit, self.precision))
        means = (min(1.0, round(float(total), 6)) for total in precision / queries)
        return ByClass(queries=tuple(queries.tolist()), hits=tuple(map(int, hits)), precision=tuple(means))

    def packed(self) -> bytes:
        """The content of an .npz file, equal for equal queries."""
        file = io.BytesIO()
        np.savez(file, **{name: array for name, array in self._asdict().items() if array is not None})
        return file.getvalue()


def unpacked(content: bytes) -> Queries:
    """The queries in a file's content.

    Raises:
        BenchmarkError: it is none that `packed` made.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            fields: dict[str, Any] = dict(arrays)
        return Queries(**fields)
    except Exception as error:  # whatever numpy and zipfile say
        raise BenchmarkError(f"a file of queries holds no queries: {error}") from None


def check_queries(record: Record, path: Path) -> None:
    """Raise a BenchmarkError where a file of queries, if it is there, is not its record's, or its record says what they do not give."""
    if record.queries is None or not path.exists():
        return
    content, label = read_regular(path), record.spec.label
    if digest(content) != record.queries:
        raise BenchmarkError(f"{label}: {path} has not the queries of its record; delete it, and measure again")
    queries = unpacked(content)
    recall = float(queries.hit.mean())
    if queries.by_class() != record.by_class or abs(recall - record.metrics["recall@1"]) > ROUNDING:
        raise BenchmarkError(f"{label}: its record has other numbers than its queries in {path}, Recall@1 {recall:.2%}")
