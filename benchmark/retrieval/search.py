"""Search: which rows of a gallery come nearest to a query. Exact, but where an index of another form is asked for.

By faiss, in blocks: memory grows with queries x neighbours of one block, never with queries x gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from ..absurd import LIMIT, Doubles, Ints, beyond, centre_of, parts, sizes, typical
from .indices import Form, built

Metric = Literal["l2", "cosine"]
Floats = NDArray[np.float32]

_CELLS = 2**22  # queries x neighbours held at once: about 100 MB with all that is computed from them


def neighbours(query: Floats, gallery: Floats | None, k: int, metric: Metric, *, same: bool = False) -> Ints:
    """Indices into the gallery of each query's k nearest rows, nearest first.

    Ties go to the lower index, as far as float32 sees a tie: copies of one row can get distances that differ in the
    last bit. A zero row has no direction; under cosine it gets one of its own: similarity 0 to all rows but zero rows.

    Args:
        query: [n, d], finite.
        gallery: [m, d]; None searches the queries among themselves, each without itself (by index, so a copy is found).
        k: neighbours wanted.
        metric: Euclidean distance, or the angle.
        same: the gallery's row i is query i in another form, and left out for it.

    Returns:
        [n, min(k, m)]; among themselves [n, min(k, n - 1)].
    """
    own = np.arange(len(query)) if gallery is None or same else None
    query, index = prepared(query, query if gallery is None else gallery, metric)
    return np.concatenate([nearest for _, nearest in index.search(query, k, own)])


def prepared(query: Floats, gallery: Floats, metric: Metric, form: Form = "flat") -> tuple[Floats, Index]:
    """Queries and an index of the gallery whose Euclidean distances have the order of `metric`."""
    if metric == "l2":
        return query, Index(gallery, form)
    # Between unit rows the order by distance is the order by angle. Not IndexFlatIP: of equals it takes the last.
    directions = _directions(gallery)
    return directions if query is gallery else _directions(query), Index(directions, form)


class Index:
    """A gallery [m, d] to be searched by Euclidean distance.

    |q|^2 - 2 q.g + |g|^2, by which faiss computes it, cancels in float32 when an offset is large, and overflows or
    vanishes when the scale is extreme, as an unnormalised student's may be. So rows are taken relative to their centre
    and a typical size, a power of two, which loses no digits. A pair's rounding depends on that pair alone; only centre
    and size are shared, and absurd rows (`absurd`) leave them as they are: these are compared in float64. Where half of
    the rows are huge none is absurd, and the others are as near to each other as float32 sees them.

    An index that is not exact may find fewer than are asked for: the rest are -1.
    """

    def __init__(self, rows: Floats, form: Form = "flat") -> None:
        self._rows = rows
        self._centre = centre_of(rows)
        far = sizes(rows, self._centre)
        self._limit = LIMIT * typical(far)
        self._scale = 2.0 ** -int(np.frexp(typical(far))[1])
        self._absurd = beyond(far)
        self._ordinary = np.delete(np.arange(len(rows)), self._absurd)
        scaled = self._scaled(rows[self._ordinary] if len(self._absurd) else rows)
        self._index = built(form, scaled)

    @property
    def bytes(self) -> int:
        """The size of the whole index, as it is written to a file."""
        return len(faiss.serialize_index(self._index))

    def search(self, query: Floats, k: int, own: Ints | None) -> Iterator[tuple[slice, Ints]]:
        """The k nearest of the rows of a block of queries [n, d], block after block.

        Args:
            own: [n], each query's own place in the gallery, to be left out.
        """
        k = min(k, len(self._rows) - (own is not None))
        block = max(64, _CELLS // (k + 1 + len(self._absurd)))
        for start in range(0, len(query), block):
            rows = slice(start, start + block)
            yield rows, self._nearest(query[rows], k, None if own is None else own[rows])

    def _nearest(self, query: Floats, k: int, own: Ints | None) -> Ints:
        result = np.empty((len(query), k + (own is not None)), np.int64)
        ordinary = sizes(query, self._centre) <= self._limit
        for chosen, nearest in ((ordinary, self._by_faiss), (~ordinary, self._by_all_distances)):
            if chosen.any():
                result[chosen] = nearest(query[chosen], result.shape[1])
        if own is None:
            return result
        drop = result == own[:, None]
        drop[~drop.any(axis=1), -1] = True  # more than k copies of the query: it is not among those nearest
        return result[~drop].reshape(len(query), k)

    def _by_faiss(self, query: Floats, k: int) -> Ints:
        """The k <= m nearest [n, k] of ordinary queries [n, d]; absurd rows are put among what faiss finds, by distance."""
        distances, nearest = self._index.search(self._scaled(query), min(k, self._index.ntotal))
        if not len(self._absurd):
            return nearest
        nearest = np.concatenate(
            [np.where(nearest < 0, -1, self._ordinary[nearest]), np.tile(self._absurd, (len(query), 1))], axis=1
        )
        distances = np.concatenate([distances, self._distances(query, self._rows[self._absurd])], axis=1)
        return np.take_along_axis(nearest, distances.argsort(axis=1, kind="stable")[:, :k], axis=1)

    def _by_all_distances(self, query: Floats, k: int) -> Ints:
        """The same of absurd queries."""
        step = max(1, _CELLS // len(self._rows))
        few = (query[start : start + step] for start in range(0, len(query), step))
        return np.concatenate([self._distances(rows, self._rows).argsort(axis=1, kind="stable")[:, :k] for rows in few])

    def _distances(self, query: Floats, rows: Floats) -> Doubles:
        """Squared [n, m], of differences in float64, in the units of the index."""
        result = np.empty((len(query), len(rows)))
        for part in parts(rows):
            wide = rows[part].astype(np.float64)
            for distances, row in zip(result[:, part], query.astype(np.float64), strict=True):
                distances[:] = np.square(wide - row).sum(axis=1)
        return result * self._scale**2

    def _scaled(self, rows: Floats) -> Floats:
        result = np.empty_like(rows)
        for part in parts(rows):
            result[part] = np.subtract(rows[part], self._centre, dtype=np.float64) * self._scale
        return result


def lengths(rows: Floats) -> Doubles:
    """Euclidean [n] of rows [n, d]; float64, whose squares do not overflow."""
    return np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))


def _directions(rows: Floats) -> Floats:
    """Rows [n, d] at length 1, [n, d + 1]: the last coordinate is the direction of rows that have none."""
    norms = lengths(rows)[:, None]
    zero = norms == 0
    return np.concatenate([rows / np.where(zero, 1, norms), zero], axis=1, dtype=np.float32)
