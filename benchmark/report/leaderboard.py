"""Methods in order across data sets: which are ahead of how many, and which nothing separates from the first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import FAMILIES, ROLES, SELF_TAUGHT, Cell, batches, head_of
from .columns import Column, laid_out
from .comparison import Comparison
from .render import Table

DRAWS, LEVEL = 4_000, 0.05
FEWEST = 5  # seeds or teachers: draws of fewer hardly differ
METHODS = 3  # the fewest of a leaderboard
RANKED = ("baseline", *FAMILIES, "mixed", SELF_TAUGHT)
REGIMES = {"heads": "heads on frozen features", "networks": "whole networks"}
Doubles = NDArray[np.float64]


class Arena(NamedTuple):
    """Students of one data set that saw the same batches, with one head and dimension: scores of each method by seed or teacher."""

    dataset: str
    folder: str  # whose seeds are drawn together
    scores: Mapping[str, Mapping[int, float]]


class Standing(NamedTuple):
    """A method's place. Shares are percent of the other methods that it is ahead of, with the ends of its interval."""

    method: str
    role: str
    labelled: bool
    may_lead: bool
    share: float
    low: float
    high: float
    by_map: float
    arenas: int


def arenas_of(dataset: str, folder: str, compared: Comparison, regime: str, metric: str) -> list[Arena]:
    """The arenas of a folder's records; without methods that lack seeds which most have. Agreement with a teacher is no retrieval of
    classes, and has none."""
    if compared.agreement:
        return []
    arenas: dict[object, dict[str, Cell]] = defaultdict(dict)
    for cell in compared.candidates:
        spec = cell.records[0].spec
        on_features = spec.on_features or spec.reads_vectors
        if cell.row.role in RANKED and not cell.row.settings and on_features == (regime == "heads"):
            alike = arenas[cell.dim, cell.row.steps, head_of(cell), batches(cell)]
            # Of one with l2 and one without, that with more seeds.
            alike[cell.row.method] = max(alike.get(cell.row.method, cell), cell, key=lambda other: other.seeds)
    result = []
    for alike in arenas.values():
        scores = {name: cell.by_unit(lambda record: record.metrics[metric]) for name, cell in alike.items()}
        usual = max(map(frozenset, scores.values()), key=lambda units: (len(units), sorted(units)))
        full = {name: own for name, own in scores.items() if own.keys() == usual}
        if len(usual) >= FEWEST and len(full) > 1:
            result.append(Arena(dataset, folder, full))
    return result


def ranked(arenas: Sequence[Arena]) -> list[str]:
    """The methods that every data set has, by name."""
    names: dict[str, set[str]] = defaultdict(set)
    for arena in arenas:
        names[arena.dataset] |= arena.scores.keys()
    return sorted(set.intersection(*names.values())) if names else []


def shares(means: Doubles) -> Doubles:
    """Find the share of the others that each score [..., methods] is above, half of its equals; a missing one is not a number."""
    there = ~np.isnan(means)
    above = (means[..., :, None] > means[..., None, :]).sum(-1, dtype=float)
    equal = (means[..., :, None] == means[..., None, :]).sum(-1) - 1
    others = np.maximum(there.sum(-1, keepdims=True) - 1, 1)
    return np.where(there, (above + equal / 2) / others, np.nan)


def drawn_shares(arenas: Sequence[Arena], names: Sequence[str], draws: int = DRAWS) -> Doubles:
    """Shares [draws + 1, methods], means over data sets of means over their arenas; the first is of the scores as they are.

    In each other draw data sets are drawn with replacement, and within each folder seeds (or teachers with theirs), the same for all
    its methods, heads and dimensions.
    """
    generator = np.random.default_rng(0)
    datasets = sorted({arena.dataset for arena in arenas})
    uniform = {
        folder: generator.random(
            (draws, max(len(own) for a in arenas if a.folder == folder for own in a.scores.values()))
        )
        for folder in sorted({arena.folder for arena in arenas})
    }
    by_dataset: dict[str, list[Doubles]] = defaultdict(list)
    for arena in arenas:
        units = sorted(next(iter(arena.scores.values())))
        missing = [np.nan] * len(units)
        scores = np.array([[arena.scores[m][u] for u in units] if m in arena.scores else missing for m in names])
        chosen = (uniform[arena.folder][:, : len(units)] * len(units)).astype(int)
        means = np.concatenate([scores.mean(1)[None], scores[:, chosen].mean(-1).T])
        if (~np.isnan(means[0])).sum() > 1:
            by_dataset[arena.dataset].append(shares(means))
    each = np.array([np.nanmean(by_dataset[name], axis=0) for name in datasets])
    which = generator.integers(len(datasets), size=(draws, len(datasets)))
    resampled = each[which, np.arange(1, draws + 1)[:, None]].mean(1)
    return np.concatenate([each[:, 0].mean(0)[None], resampled])


def may_lead(drawn: Doubles) -> list[bool]:
    """Whether the draws do not separate a method from the first, corrected for all pairs by Bonferroni's method."""
    point, draws = drawn[0], drawn[1:]
    pairs = len(point) * (len(point) - 1) / 2
    first = int(point.argmax())
    behind = (draws[:, first, None] > draws).mean(0)
    return [number == first or bool(1 - share > LEVEL / 2 / pairs) for number, share in enumerate(behind)]


def standings(folders: Iterable[tuple[str, str, Comparison]], regime: str) -> list[Standing]:
    """The methods of a regime that every data set has, the first ahead of most; empty where there are no two data sets to rank across.

    Args:
        folders: data set, name and comparison of each.
    """
    known = list(folders)
    by_metric = {
        metric: [arena for folder in known for arena in arenas_of(*folder, regime, metric)]
        for metric in ("recall@1", "map@r")
    }
    arenas, names = by_metric["recall@1"], ranked(by_metric["recall@1"])
    if len({arena.dataset for arena in arenas}) < 2 or len(names) < METHODS:
        return []
    drawn, by_map = drawn_shares(arenas, names), drawn_shares(by_metric["map@r"], names, 1)[0]
    low, high = np.quantile(drawn[1:], (LEVEL / 2, 1 - LEVEL / 2), axis=0)
    roles = {row.method: row.role for _, _, compared in known for row in compared.rows if row.role in RANKED}
    labelled = set().union(*(compared.labelled for _, _, compared in known))
    leading, shown = may_lead(drawn), [*zip(drawn[0], low, high, by_map, strict=True)]
    places = []
    for name, first, values in zip(names, leading, shown, strict=True):
        share, least, most, other = (100 * float(value) for value in values)
        count = sum(name in arena.scores for arena in arenas)
        places.append(Standing(name, roles[name], name in labelled, first, share, least, most, other, count))
    return sorted(places, key=lambda place: (-place.share, place.method))


COLUMNS: tuple[Column[Standing], ...] = (
    Column("", "method", of=lambda place: place.method),
    Column("", "kind", of=lambda place: ROLES[place.role]),
    Column("", "labels", of=lambda place: "yes" if place.labelled else "no"),
    Column("", "ahead of, %", "%", 0, of=lambda place: place.share),
    Column("", "from", "%", 0, of=lambda place: place.low),
    Column("", "to", "%", 0, of=lambda place: place.high),
    Column("", "by MAP@R, %", "%", 0, of=lambda place: place.by_map),
    Column("", "may be first", of=lambda place: "yes" if place.may_lead else "no"),
    Column("", "columns", "", of=lambda place: place.arenas),
)


def leaderboards(folders: Sequence[tuple[str, str, Comparison]]) -> list[Table]:
    """A table a regime of which two data sets or more have results."""
    tables = []
    for regime, title in REGIMES.items():
        if places := standings(folders, regime):
            datasets = sorted({each[0] for each in folders if arenas_of(*each, regime, "recall@1")})
            lines = ((place, place.role) for place in places)
            tables.append(
                laid_out("leaderboard", COLUMNS, lines, regime=title, datasets=", ".join(datasets), draws=DRAWS)
            )
    return tables
