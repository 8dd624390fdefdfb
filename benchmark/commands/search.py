"""`benchmark search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter, validators

from ..errors import UsageError
from ..files import write_atomically
from ..gallery.search import search_page
from ..protocol.request import Device
from ..shipping.embed import embed_all, embedder_of, images_in
from ..training.progress import Reporter
from .console import RESULTS, device_of, out

MOST = 100  # queries on a page


def search(
    run: str,
    *,
    queries: Path,
    images: Path,
    to: Annotated[Path, Parameter(name="--out", help="the .html file to write", validator=validators.Path(ext="html"))],
    columns: Annotated[str | None, Parameter(help="for tables of images: the column of paths, path=NAME")] = None,
    k: int = 5,
    int8: bool = False,
    results: Path = RESULTS,
    device: Device = None,
) -> int:
    """Show what a student finds: query images with their nearest neighbours, as one self-contained page.

    Parameters
    ----------
    run
        a folder that export wrote, or the beginning of a run's id (runs.csv)
    queries
        a folder or a table of images; the first 100 are shown
    images
        a folder or a table of images to search
    k
        number of neighbours per query
    int8
        use the quantised network of an exported folder
    results
        the folder with the run's record and weights
    """
    if k < 1:
        raise UsageError(f"--k wants 1 or more, not {k}")
    embedder = embedder_of(run, results, device_of(device), int8=int8, into_teacher=False)
    asked, gallery = images_in(queries, columns)[:MOST], images_in(images, columns)
    with Reporter(out) as reporter:
        both = (embed_all(embedder, asked, reporter.preparing), embed_all(embedder, gallery, reporter.preparing))
    page = search_page(embedder.name, asked, gallery, both, embedder.metric, k)
    write_atomically(to, page)
    out.print(f"wrote {to}, {len(asked)} queries in {np.shape(both[1])[0]} images", markup=False, soft_wrap=True)
    return 0
