"""Retrieval at the size of Stanford Online Products: faiss's bare search, ours with all its metrics, and what people use instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np
import torch

from ..retrieval.indices import Form, built
from ..retrieval.metrics import evaluate
from .measure import cost

ROWS, WIDTH, AT = 60_502, 512, (1, 10, 100, 1000)  # SOP's test images, the teacher's dimension, the K of its card
PLAIN_ROWS = 10_000  # beyond them the plain way's table of all distances needs more memory than machines have
CLASS = 5  # images
# Of an image, in units of its class's own scale: Recall@1, 10, 100 and 1000 are 69, 82, 93 and 99 %, about as on SOP.
NOISE = 1.0, 4.0
SMALL = 1_200  # rows of a first call, which is not measured
MILLION, MANY_WIDTH, QUERIES = 1_000_000, 64, 2_000  # of the search in a large gallery
FORMS: tuple[Form, ...] = "flat", "ivf-pq"


def embeddings_of(n: int, width: int) -> np.ndarray:
    """Unit vectors [n, width] in classes of `CLASS`; how far an image lies from the others of its class differs."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(-(-n // CLASS), width)).repeat(CLASS, axis=0)[:n]
    images = centres + draw.uniform(*NOISE, size=(n, 1)) * draw.normal(size=(n, width))
    return (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)


def form(name: str, n: int, width: int, at: Sequence[int]) -> Callable[[], object]:
    """One way to search n embeddings among themselves, for Recall@K of some K and for what looks at the R nearest."""
    embeddings, labels = embeddings_of(n, width), np.arange(n) // CLASS
    x, y = torch.from_numpy(embeddings), torch.from_numpy(labels)
    k = min(max(*at, CLASS - 1), n - 2)
    asked = [number for number in at if number <= k]

    def bare() -> object:
        index = faiss.IndexFlatL2(width)
        index.add(embeddings)
        return index.search(embeddings, k + 1)

    def calculator() -> object:
        """All that it has of what we compute: it knows no Recall@K of a K above 1, for which it searches as far all the same."""
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        metrics = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
        nearest = k if k >= CLASS else "max_bin_count"
        return AccuracyCalculator(include=metrics, k=nearest, device=torch.device("cpu")).get_accuracy(x, y)

    def plain() -> object:
        """All distances at once, as published code has it, and Recall@K by the nearest of each row."""
        distances = torch.cdist(x, x)
        distances.fill_diagonal_(torch.inf)
        hits = y[distances.topk(k, largest=False).indices] == y[:, None]
        return [hits[:, :number].any(1).float().mean().item() for number in asked]

    def suite() -> object:
        return evaluate(embeddings, labels, at=asked).evaluation

    return {"faiss, bare search": bare, "ours": suite, "AccuracyCalculator": calculator, "plain": plain}[name]


def retrieval_rows() -> list[dict[str, Any]]:
    """A row a way, size and K: seconds and memory above the process with its embeddings, and ratios to faiss's bare search."""
    usual = ("faiss, bare search", "ours", "AccuracyCalculator")
    result = []
    for n, names, at in ((ROWS, usual, AT), (ROWS, usual, AT[:1]), (PLAIN_ROWS, (*usual, "plain"), AT)):
        costs = {name: cost(form, (name, n, WIDTH, at), (name, SMALL, WIDTH, at)) for name in names}
        result += [
            {
                "rows": n,
                "Recall@": " ".join(map(str, at)),
                "way": name,
                "seconds": times.typical,
                "spread": times.spread,
                "times the bare search": times.typical / costs["faiss, bare search"].typical,
                "times ours": times.typical / costs["ours"].typical,
                "memory [MB]": times.peak / 1e6,
            }
            for name, times in costs.items()
        ]
    return [*result, *large()]


def large() -> list[dict[str, Any]]:
    """The 10 nearest of some queries among a million, exact and by codes in inverted lists; what a million queries would take."""
    exact = search("flat", MILLION, QUERIES)()
    result = []
    for name in FORMS:
        times = cost(search, (name, MILLION, QUERIES), (name, SMALL, 10))
        nearest = search(name, MILLION, QUERIES)()
        hits = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(exact, nearest, strict=True)]
        result.append(
            {
                "rows": MILLION,
                "way": f"{name} index, {QUERIES} queries",
                "seconds": times.typical,
                "spread": times.spread,
                "memory [MB]": times.peak / 1e6,
                "neighbours found": float(np.mean(hits)),
                "a million queries [h]": times.typical * MILLION / QUERIES / 3600,
            }
        )
    return result


def search(form: Form, n: int, queries: int) -> Callable[[], np.ndarray]:
    """The indices [queries, 10] of the nearest of the first rows; the index is built before."""
    embeddings = embeddings_of(n, MANY_WIDTH)
    index = built(form, embeddings)
    return lambda: index.search(embeddings[:queries], 10)[1]
