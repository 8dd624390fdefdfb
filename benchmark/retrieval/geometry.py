"""How embeddings lie in their space, and how alike their neighbourhoods are to the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..absurd import Ints, absurd_rows
from ..store import Geometry
from .metrics import NEAREST
from .search import Floats, Metric, neighbours

PART = 4_096  # pairs at once
PAIRS = 100_000  # distances that are ranked, of a sample that is the same for all networks


@dataclass
class Space:
    """Embeddings that are searched, by the distance that they are made for.

    Args:
        query: [n, d].
        gallery: [m, d]; its row i is query i in another form where `same`, else other items.
        metric: under cosine rows are compared by direction.
    """

    query: Floats
    gallery: Floats
    metric: Metric
    same: bool

    @cached_property
    def nearest(self) -> Ints:
        """[n, NEAREST] rows of the gallery; without the query itself where `same`."""
        gallery = None if self.gallery is self.query else self.gallery
        return neighbours(self.query, gallery, NEAREST, self.metric, same=self.same)

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """Euclidean, of directions under cosine: of a sample of pairs that depends on the numbers of rows alone."""
        draw = np.random.default_rng(0)
        ours = draw.integers(len(self.query), size=PAIRS)
        theirs = draw.integers(len(self.gallery), size=PAIRS)
        if self.same:
            ours, theirs = ours[ours != theirs], theirs[ours != theirs]
        parts = np.array_split(
            np.arange(len(ours)), max(1, len(ours) // PART)
        )  # rows of hundreds of numbers, in float64
        return np.concatenate(
            [
                np.linalg.norm(self._rows(self.query[ours[part]]) - self._rows(self.gallery[theirs[part]]), axis=1)
                for part in parts
            ]
        )

    def spectrum(self) -> NDArray[np.float64]:
        """Singular values of the queries, largest first, as shares of their sum; of centred rows under L2, which knows no origin.

        Absurd rows are left out under L2: a single one would be the whole of it. Directions are all of length 1.
        """
        rows = self._rows(self.query)
        if self.metric == "l2":
            rows = np.delete(rows, absurd_rows(rows), axis=0)
            rows = rows - rows.mean(axis=0)
        values = np.sqrt(np.clip(np.linalg.eigvalsh(rows.T @ rows)[::-1], 0, None))
        return values / values.sum() if values.sum() > 0 else np.full(len(values), 1 / len(values))

    def _rows(self, rows: Floats) -> NDArray[np.float64]:
        wide = rows.astype(np.float64)
        if self.metric == "l2":
            return wide
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        return wide / np.where(lengths == 0, 1, lengths)


def effective_dimension(spectrum: NDArray[np.float64]) -> float:
    """exp of the entropy of the spectrum [d]: d where all directions are used alike, 1 where one is.

    Roy, Vetterli: The effective rank, EUSIPCO 2007.
    """
    used = spectrum[spectrum > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def spectral_decay(spectrum: NDArray[np.float64]) -> float:
    """KL divergence from the spectrum [d] to the uniform one: 0 where all directions are used alike, in nats.

    rho of Roth et al., Revisiting Training Strategies and Generalization Performance in Deep Metric Learning, ICML 2020.
    """
    uniform = 1 / len(spectrum)
    return float(-uniform * np.log(np.maximum(spectrum, np.finfo(np.float32).tiny) / uniform).sum())


def overlap(ours: Ints, theirs: Ints) -> float:
    """Mean share of each row's neighbours [n, k] that are among the other's [n, k]."""
    return float((ours[:, :, None] == theirs[:, None, :]).any(axis=2).mean())


def rank_correlation(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    """Spearman's rho of two lists of distances; None where one of them is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(ours), rankdata(theirs)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else None


def geometry(space: Space, teacher: Space | None) -> Geometry:
    """Of a network's embeddings of what is searched, beside the teacher's of the same items."""
    spectrum = space.spectrum()
    return Geometry(
        effective_dimension=effective_dimension(spectrum),
        spectral_decay=spectral_decay(spectrum),
        overlap=None if teacher is None else overlap(space.nearest, teacher.nearest),
        rank_correlation=None if teacher is None else rank_correlation(space.distances, teacher.distances),
    )
