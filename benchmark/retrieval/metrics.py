"""Retrieval: how many of the images that come nearest to a query are of its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..queries import Queries
from ..record import Evaluation, Metrics
from .indices import Form
from .search import Floats, Ints, Metric, lengths, prepared

Labels = NDArray[Any]

NEAREST = 10  # neighbours by the teacher that a query is to find where there are no classes
NEAR = 100  # neighbours of the first search: up to here faiss's time hardly grows with them
_UNIT = 1e-6  # how far float32 rounding takes a normalised row from length 1: a few times 2^-23


class Retrieval(NamedTuple):
    """All metrics, and by either distance the queries that they are means over."""

    evaluation: Evaluation
    l2: Queries
    cosine: Queries


def recall_at_k(matches: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Per query, whether one of its k nearest is of its class; with fewer than k neighbours, one of those there are.

    `matches` [n, neighbours]: whether the neighbour is of the query's class, nearest first.
    """
    return np.any(matches[:, :k], axis=1)


def r_precision(matches: NDArray[np.bool_], relevant: Ints) -> NDArray[np.float64]:
    """Per query, the share of its class among the R nearest, where R = `relevant` [n] items of it can be found.

    `matches` as for `recall_at_k`, with at least max(R) columns; R >= 1.
    """
    return _within(matches, relevant).sum(axis=1) / relevant


def map_at_r(matches: NDArray[np.bool_], relevant: Ints) -> NDArray[np.float64]:
    """Per query, 1/R x the sum over i = 1..R of the precision at i where the i-th neighbour matches, else 0.

    Musgrave et al., A Metric Learning Reality Check, ECCV 2020. Arguments as for `r_precision`.
    """
    hits = _within(matches, relevant)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / relevant


# By name what a record has beside Recall@K: from `matches`, as for `recall_at_k` and with at least max(R) columns, and `relevant` [n]
# to a number in 0 ... 1 a query.
METRICS: dict[str, Callable[[NDArray[np.bool_], Ints], NDArray[np.float64]]] = {
    "map@r": map_at_r,
    "r_precision": r_precision,
}


def _within(matches: NDArray[np.bool_], relevant: Ints) -> NDArray[np.bool_]:
    """Matches among each query's R nearest: [n, max(R)]."""
    most = int(relevant.max())
    return matches[:, :most] & (np.arange(most) < relevant[:, None])


def evaluate(
    query: Floats,
    query_labels: Labels,
    gallery: Floats | None = None,
    gallery_labels: Labels | None = None,
    at: Sequence[int] = (1, 2, 4, 8),
    *,
    same: bool = False,
    index: Form = "flat",
) -> Retrieval:
    """Measure Recall@K, MAP@R, R-precision and what else `METRICS` has, by raw Euclidean distance and by cosine, as means over queries.

    R is the number of other gallery items of the query's class. Queries for which it is 0 are left out and counted;
    where the set is searched in itself they stay in the gallery.

    Args:
        query: [n, d] embeddings.
        query_labels: [n] integers or strings.
        gallery: [m, d]; None searches the queries among themselves.
        gallery_labels: [m].
        at: the K of Recall@K; a K beyond the gallery counts what is there.
        same: the gallery's row i is query i itself in another form (another network's, or compressed), and left out for it.
        index: its form; the flat one is exact.

    Raises:
        DataError: shapes that do not fit, no rows, values that are not finite, no query with a partner.
        UsageError: a K below 1, or one of gallery and gallery labels without the other.
    """
    if (gallery is None) != (gallery_labels is None):
        raise UsageError("gallery embeddings and gallery labels go together: one is given, the other is missing")
    query, query_labels = _checked("query", query, query_labels)
    if gallery is None or gallery_labels is None:
        same, gallery, gallery_labels = True, query, query_labels
    else:
        gallery, gallery_labels = _checked("gallery", gallery, gallery_labels)
    if query.shape[1] != gallery.shape[1]:
        raise DataError(f"query embeddings have {query.shape[1]} dimensions, gallery embeddings {gallery.shape[1]}")

    _, classes = np.unique(np.concatenate([gallery_labels, query_labels]), return_inverse=True)
    gallery_classes, query_classes = classes[: len(gallery)], classes[len(gallery) :]
    partners = np.bincount(gallery_classes, minlength=classes.max() + 1)[query_classes] - same
    kept = np.flatnonzero(partners)
    if not len(kept):
        raise DataError(f"none of the {len(query)} queries has another item of its class to be found")
    query_classes = query_classes[kept]

    def matches(rows: slice | Ints, nearest: Ints) -> NDArray[np.bool_]:
        return (gallery_classes[nearest] == query_classes[rows, None]) & (nearest >= 0)

    dropped = len(query) - len(kept)
    return _scores(query[kept], gallery, kept, same, partners[kept], matches, at, dropped=dropped, index=index)


def agreement(
    query: Floats, targets: Ints, at: Sequence[int] = (1, 2, 4, 8), gallery: Floats | None = None
) -> Retrieval:
    """Measure what `evaluate` does without classes: what a query is to find is given, as the teacher's nearest are.

    Args:
        query: [n, d] embeddings, searched among themselves.
        targets: [n, R] rows that each query is to find, R of them, not itself.
        at: the K of Recall@K.
        gallery: [n, d], the queries themselves in another form, to be searched in their place.

    Raises:
        DataError: no rows, or values that are not finite.
        UsageError: a K below 1.
    """
    query, _ = _checked("query", query, np.arange(len(query)))

    def matches(rows: slice | Ints, nearest: Ints) -> NDArray[np.bool_]:
        result = np.zeros(nearest.shape, bool)
        for column in targets[rows].T:  # one at a time: [n, k, R] would be ten times the memory
            result |= nearest == column[:, None]
        return result

    relevant = np.full(len(query), targets.shape[1])
    searched = query if gallery is None else _checked("gallery", gallery, np.arange(len(gallery)))[0]
    return _scores(query, searched, np.arange(len(query)), True, relevant, matches, at, relevance="teacher")


def _scores(
    query: Floats,
    gallery: Floats,
    own: Ints,
    same: bool,
    relevant: Ints,
    matches: Callable[[slice | Ints, Ints], NDArray[np.bool_]],
    at: Sequence[int],
    *,
    dropped: int = 0,
    index: Form = "flat",
    relevance: Literal["class", "teacher"] = "class",
) -> Retrieval:
    """All metrics, as means over queries, by raw Euclidean distance and by cosine.

    Recall@K of a K beyond `NEAR` is 1 where there is a match among fewer: only queries that have found none search so far.

    Args:
        own: [n] rows that the queries have in their set.
        same: whether that is the gallery, in which each query leaves its own row out.
        relevant: [n] items that a query is to find.
        matches: (some queries, their neighbours [queries, k]) -> whether each neighbour is one of these.
    """
    if not at or min(at) < 1:
        raise UsageError(f"Recall@K needs a K of 1 or more, not {', '.join(map(str, at)) or 'none at all'}")
    needed, left_out = int(relevant.max()), own if same else None
    near = max(NEAR, needed)

    def score(metric: Metric) -> tuple[Metrics, Queries]:
        rows_of, searched = prepared(query, gallery, metric, index)
        recall = {k: np.empty(len(query), bool) for k in at}
        others = {name: np.empty(len(query)) for name in METRICS}
        first, hit = np.empty(len(query), np.int32), np.empty(len(query), bool)
        for rows, nearest in searched.search(rows_of, max(needed, *(min(k, near) for k in at)), left_out):
            hits = matches(rows, nearest)
            first[rows], hit[rows] = nearest[:, 0], hits[:, 0]
            for name, metric_of in METRICS.items():
                others[name][rows] = metric_of(hits, relevant[rows])
            for k, values in recall.items():
                values[rows] = recall_at_k(hits, k)
        further = {k: values for k, values in recall.items() if k > near}
        if further:
            missing = np.flatnonzero(~next(iter(further.values())))
            for rows, nearest in searched.search(rows_of[missing], max(further), own[missing] if same else None):
                hits = matches(missing[rows], nearest)
                for k, values in further.items():
                    values[missing[rows]] = recall_at_k(hits, k)
        means = {f"recall@{k}": values for k, values in recall.items()} | others
        queries = Queries(own.astype(np.int32), first, hit, others["map@r"].astype(np.float32))
        return {name: float(values.mean()) for name, values in means.items()}, queries

    l2, by_l2 = score("l2")
    # Rows of length 1 are their own directions: the second search would be the first one again.
    unit = all(np.abs(lengths(rows) - 1).max() <= _UNIT for rows in (query, gallery))
    cosine, by_cosine = (l2, by_l2) if unit else score("cosine")
    counts = {"queries": len(query), "dropped": dropped, "gallery": len(gallery)}
    return Retrieval(Evaluation(l2=l2, cosine=cosine, **counts, relevance=relevance), by_l2, by_cosine)


def _checked(what: str, rows: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Embeddings as contiguous float32 and their labels, or a DataError that says what is wrong with them."""
    rows, labels = np.asarray(rows), np.asarray(labels)
    if rows.ndim != 2 or not rows.size:
        raise DataError(f"{what} embeddings must be a table of rows x dimensions, not an array of shape {rows.shape}")
    if rows.dtype.kind not in "fiu":
        raise DataError(f"{what} embeddings must be real numbers, not {rows.dtype}")
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(f"{what} labels must be a list of integers or strings, not {labels.dtype} of {labels.shape}")
    if len(rows) != len(labels):
        raise DataError(f"{what}: {len(rows)} embeddings, but {len(labels)} labels")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        single = np.ascontiguousarray(rows, dtype=np.float32)
    wrong = ~np.isfinite(single)
    if not wrong.any():
        return single, labels
    row, column = np.argwhere(wrong)[0]
    where = f"first row {row}, column {column}: {rows[row, column]:g}"
    many = f"{wrong.any(axis=1).sum()} of {len(rows)} {what} embeddings"
    raise DataError(f"{many} hold NaN, infinity or numbers beyond float32, {where}")
