"""Indices of faiss: exact, or such as find most of the nearest rows for less time or memory."""

from __future__ import annotations

import math
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Form = Literal["flat", "hnsw", "ivf-pq"]

LINKS, BREADTH = 32, 64  # of HNSW: neighbours a node, candidates of a search (or as many as are asked for)
LISTS_A_ROOT, SEARCHED = 4, 16  # of IVF: lists a square root of the rows, and the share of them that is searched, 1 of
NUMBERS_A_CODE, A_CENTRE = 4, 39  # of PQ: numbers that a code stands for; rows that faiss wants for each centre
FEWEST = 1_000  # rows of IVF-PQ


def built(form: Form, rows: NDArray[np.float32]) -> faiss.Index:
    """An index of rows [n, d] by Euclidean distance.

    flat: exact. hnsw: a graph (Malkov and Yashunin, TPAMI 2020) of 32 links a node; 64 candidates a search. ivf-pq: inverted lists of
    product-quantised residuals (Jegou et al., TPAMI 2011); 4 sqrt(n) lists, of which a sixteenth is searched; a byte for four numbers.

    Raises:
        UsageError: there are too few rows for it.
    """
    n, d = rows.shape
    if form == "flat":
        index: faiss.Index = faiss.IndexFlatL2(d)
    elif form == "hnsw":
        index = faiss.IndexHNSWFlat(d, LINKS)
        index.hnsw.efSearch = BREADTH
    else:
        if n < FEWEST:
            raise UsageError(f"--index {form} is for galleries of at least {FEWEST:,} rows, and this one has {n:,}")
        codes, most = -(-d // NUMBERS_A_CODE), n // A_CENTRE
        lists = min(round(LISTS_A_ROOT * math.sqrt(n)), most)
        bits = min(8, int(math.log2(most)))
        index = faiss.index_factory(d, f"Pad{NUMBERS_A_CODE * codes},IVF{lists},PQ{codes}x{bits}")
        inverted: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
        inverted.nprobe = -(-lists // SEARCHED)
        # A renumbering of codes for searches that are not made here, and most of the training.
        inverted.do_polysemous_training = False
        index.train(rows)
    index.add(rows)
    return index
