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
WAYS = ("faiss, bare search", "ours", "AccuracyCalculator")
CLASS = 5  # images
# Of an image, in units of its class's own scale: Recall@1, 10, 100 and 1000 are 69, 82, 93 and 99 %, about as on SOP.
NOISE = 1.0, 4.0
SMALL = 1_200  # rows of a first call, which is not measured


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

    def suite() -> object:
        return evaluate(embeddings, labels, at=asked).evaluation

    return {"faiss, bare search": bare, "ours": suite, "AccuracyCalculator": calculator}[name]


def retrieval_rows() -> list[dict[str, Any]]:
    """A row a way and K: seconds and memory above the process with its embeddings, and ratios to faiss's bare search."""
    result = []
    for at in (AT, AT[:1]):
        costs = {name: cost(form, (name, ROWS, WIDTH, at), (name, SMALL, WIDTH, at)) for name in WAYS}
        result += [
            {
                "rows": ROWS,
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
    return result
