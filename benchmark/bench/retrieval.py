"""Retrieval at the size of Stanford Online Products: faiss's bare search, ours with all its metrics, and what people use instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np
import torch

from ..retrieval.metrics import evaluate
from .measure import cost

ROWS, WIDTH, AT = 60_502, 512, (1, 10, 100, 1000)  # SOP's test images, the teacher's dimension, the K of its card
PLAIN_ROWS = 10_000  # beyond them the plain way's table of all distances needs more memory than machines have
CLASS = 5  # images
# Of an image, in units of its class's own scale: Recall@1, 10, 100 and 1000 are 69, 82, 93 and 99 %, about as on SOP.
NOISE = 1.0, 4.0
SMALL = 1_200  # rows of a first call, which is not measured
MANY, MANY_WIDTH, QUERIES, LISTS, PROBES = 200_000, 128, 2_000, 1024, 32  # of the search in a large gallery
MILLION = 1_000_000


def rows(n: int, width: int) -> np.ndarray:
    """Unit vectors [n, width] in classes of `CLASS`; how far an image lies from the others of its class differs."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(-(-n // CLASS), width)).repeat(CLASS, axis=0)[:n]
    found = centres + draw.uniform(*NOISE, size=(n, 1)) * draw.normal(size=(n, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def form(name: str, n: int, width: int, at: Sequence[int]) -> Callable[[], object]:
    """One way to search n embeddings among themselves, for Recall@K of some K and for what looks at the R nearest."""
    embeddings, labels = rows(n, width), np.arange(n) // CLASS
    k = min(max(*at, CLASS - 1), n - 2)
    asked = [one for one in at if one <= k]

    def bare() -> object:
        index = faiss.IndexFlatL2(width)
        index.add(embeddings)
        return index.search(embeddings, k + 1)

    def ours() -> object:
        return evaluate(embeddings, labels, at=asked)

    def calculator() -> object:
        """All that it has of what we compute: it knows no Recall@K of a K above 1, for which it searches as far all the same."""
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        metrics = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
        found = AccuracyCalculator(include=metrics, k=k if k >= CLASS else "max_bin_count", device=torch.device("cpu"))
        tensors = torch.from_numpy(embeddings), torch.from_numpy(labels)
        return found.get_accuracy(*tensors)

    def plain() -> object:
        """All distances at once, as published code has it, and Recall@K by the nearest of each row."""
        x, y = torch.from_numpy(embeddings), torch.from_numpy(labels)
        distances = torch.cdist(x, x)
        distances.fill_diagonal_(torch.inf)
        nearest = distances.topk(k, largest=False).indices
        hits = y[nearest] == y[:, None]
        return [hits[:, :one].any(1).float().mean().item() for one in asked]

    return {"faiss, bare search": bare, "ours": ours, "AccuracyCalculator": calculator, "plain": plain}[name]


def table() -> list[dict[str, Any]]:
    """A row a way, size and K: seconds and memory above the process with its embeddings, and ratios to faiss's bare search."""
    usual = ("faiss, bare search", "ours", "AccuracyCalculator")
    result = []
    for n, names, at in ((ROWS, usual, AT), (ROWS, usual, AT[:1]), (PLAIN_ROWS, (*usual, "plain"), AT)):
        found = {name: cost(form, (name, n, WIDTH, at), (name, SMALL, WIDTH, at)) for name in names}
        bare = found["faiss, bare search"].typical
        result += [
            {
                "rows": n,
                "Recall@": " ".join(map(str, at)),
                "way": name,
                "seconds": one.typical,
                "spread": one.spread,
                "times the bare search": one.typical / bare,
                "times ours": one.typical / found["ours"].typical,
                "memory [MB]": one.peak / 1e6,
            }
            for name, one in found.items()
        ]
    return [*result, *large()]


def large() -> list[dict[str, Any]]:
    """The 10 nearest of some queries in a large gallery, exact and by faiss's inverted lists; what a million in a million would take."""
    exact, listed = (cost(search, (name, MANY, QUERIES, LISTS), (name, SMALL, 10, 8)) for name in ("exact", "IVF"))
    wanted, found = (search(name, MANY, QUERIES, LISTS)() for name in ("exact", "IVF"))
    hit = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(wanted, found, strict=True)]))
    growth = MILLION / QUERIES, MILLION / MANY
    return [
        {
            "rows": MANY,
            "way": f"{name} search, {QUERIES} queries",
            "seconds": one.typical,
            "spread": one.spread,
            "memory [MB]": one.peak / 1e6,
            "neighbours found": share,
            # Time grows with the queries, and of a query with the gallery: lists of a fixed number get longer.
            "a million in a million [h]": one.typical * growth[0] * growth[1] / 3600,
        }
        for name, one, share in (("exact", exact, 1.0), ("IVF", listed, hit))
    ]


def search(name: str, n: int, queries: int, lists: int) -> Callable[[], np.ndarray]:
    """The indices [queries, 10] of the nearest of the first rows; the index is built before."""
    embeddings = rows(n, MANY_WIDTH)
    flat = faiss.IndexFlatL2(MANY_WIDTH)
    index: faiss.Index = flat
    if name == "IVF":
        index = faiss.IndexIVFFlat(flat, MANY_WIDTH, lists)
        index.train(embeddings[: 50 * lists])
        faiss.ParameterSpace().set_index_parameter(index, "nprobe", PROBES)
    index.add(embeddings)
    query = embeddings[:queries]
    return lambda: index.search(query, 10)[1]
