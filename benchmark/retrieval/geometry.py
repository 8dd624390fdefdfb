"""How embeddings lie in their space, and how alike their neighbourhoods are to the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..absurd import Doubles, Ints, absurd_rows
from ..record import Geometry
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
    def distances(self) -> Doubles:
        """Euclidean, of directions under cosine: of a sample of pairs that depends on the numbers of rows alone."""
        draw = np.random.default_rng(0)
        pairs = np.stack([draw.integers(len(rows), size=PAIRS) for rows in (self.query, self.gallery)], axis=1)
        if self.same:
            pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        parts = np.array_split(pairs, max(1, len(pairs) // PART))  # rows of hundreds of numbers, in float64
        differences = (self._rows(self.query[part[:, 0]]) - self._rows(self.gallery[part[:, 1]]) for part in parts)
        return np.concatenate([np.linalg.norm(difference, axis=1) for difference in differences])

    def spectrum(self) -> Doubles:
        """Singular values of the queries, largest first, as shares of their sum; of centred rows under L2, which knows no origin.

        Absurd rows are left out under L2: a single one would be the whole of it. Directions are all of length 1.
        """
        rows = self._rows(self.query)
        if self.metric == "l2":
            rows = np.delete(rows, absurd_rows(rows), axis=0)
            rows = rows - rows.mean(axis=0)
        values = np.sqrt(np.clip(np.linalg.eigvalsh(rows.T @ rows)[::-1], 0, None))
        return values / values.sum() if values.sum() > 0 else np.full(len(values), 1 / len(values))

    def _rows(self, rows: Floats) -> Doubles:
        wide = rows.astype(np.float64)
        if self.metric == "l2":
            return wide
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        return wide / np.where(norms == 0, 1, norms)


def effective_dimension(spectrum: Doubles) -> float:
    """exp of the entropy of the spectrum [d]: d where all directions are used alike, 1 where one is.

    Roy, Vetterli: The effective rank, EUSIPCO 2007.
    """
    used = spectrum[spectrum > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def spectral_decay(spectrum: Doubles) -> float:
    """KL divergence from the spectrum [d] to the uniform one: 0 where all directions are used alike, in nats.

    rho of Roth et al., Revisiting Training Strategies and Generalization Performance in Deep Metric Learning, ICML 2020.
    """
    uniform = 1 / len(spectrum)
    return float(-uniform * np.log(np.maximum(spectrum, np.finfo(np.float32).tiny) / uniform).sum())


def overlap(student: Ints, teacher: Ints) -> float:
    """Mean share of each row's neighbours [n, k] that are among the other's [n, k]."""
    return float((student[:, :, None] == teacher[:, None, :]).any(axis=2).mean())


def rank_correlation(student: Doubles, teacher: Doubles) -> float | None:
    """Spearman's rho of two lists of distances; None where one of them is constant."""
    a, b = _centred_ranks(student), _centred_ranks(teacher)
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else None


def _centred_ranks(values: Doubles) -> Doubles:
    """Ranks [n], less their mean; equal values share the middle of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    return ranks - ranks.mean()


def geometry(space: Space, teacher: Space | None) -> Geometry:
    """Measure a network's embeddings of what is searched, beside the teacher's of the same items."""
    spectrum = space.spectrum()
    return Geometry(
        effective_dimension=effective_dimension(spectrum),
        spectral_decay=spectral_decay(spectrum),
        overlap=None if teacher is None else overlap(space.nearest, teacher.nearest),
        rank_correlation=None if teacher is None else rank_correlation(space.distances, teacher.distances),
    )
