"""`benchmark search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter, validators

from ..errors import UsageError
from ..files import write_atomically
from ..gallery.search import search_page
from ..protocol.request import Device
from ..shipping.embed import embedded, embedder_of, images_in
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say
from .options import Int8, PathColumn, RunOrFolder, RunResults

MOST = 100  # queries on a page


def search(
    run: RunOrFolder,
    *,
    queries: Path,
    images: Path,
    to: Annotated[Path, Parameter(name="--out", help="the .html file to write", validator=validators.Path(ext="html"))],
    columns: PathColumn = None,
    k: int = 5,
    int8: Int8 = False,
    results: RunResults = RESULTS,
    device: Device = None,
) -> int:
    """Show what a student finds: query images with their nearest neighbours, as one self-contained page.

    Parameters
    ----------
    queries
        a folder or a table of images; the first 100 are shown
    images
        a folder or a table of images to search
    k
        number of neighbours per query
    """
    if k < 1:
        raise UsageError(f"--k wants 1 or more, not {k}")
    embedder = embedder_of(run, results, device_of(device), int8=int8, into_teacher=False)
    asked, gallery = images_in(queries, columns)[:MOST], images_in(images, columns)
    with Reporter(out) as reporter:

        def rows(paths: Sequence[Path]) -> np.ndarray:
            return np.concatenate([*embedded(embedder, paths, [path.name for path in paths], reporter.preparing)])

        both = rows(asked), rows(gallery)
    page = search_page(embedder.name, asked, gallery, both, embedder.metric, k)
    write_atomically(to, page)
    say(f"wrote {to}, {len(asked)} queries in {np.shape(both[1])[0]} images")
    return 0
