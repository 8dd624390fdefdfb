"""`benchmark embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..protocol.request import Device
from ..shipping.embed import embed_images, embedder_of, images_in
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say
from .options import Int8, Out, PathColumn, RunOrFolder, RunResults


def embed(
    run: RunOrFolder,
    *,
    images: Path,
    to: Out,
    columns: PathColumn = None,
    into: Literal["teacher"] | None = None,
    int8: Int8 = False,
    views: int = 1,
    results: RunResults = RESULTS,
    device: Device = None,
) -> int:
    """Embed any number of images with a finished run or an exported folder: [n, d], and a CSV with their names.

    With run --teacher-features OUT.npy --teacher-names OUT.names.csv, the embeddings teach other students.

    To resume a stopped call, give the same command again.

    Parameters
    ----------
    images
        a folder, including all its sub-folders, or a table (.csv, .tsv, .parquet)
    into
        map the embeddings into the teacher's space, to search an index of the teacher's embeddings
    views
        crops of each image, [n, V, d]: the centre crop, and others drawn as in training
    """
    embedder = embedder_of(run, results, device_of(device), int8=int8, into_teacher=into is not None, views=views)
    paths = images_in(images, columns)
    with Reporter(out) as reporter:
        root = images if images.is_dir() else images.parent
        names = embed_images(embedder, paths, root, to, reporter.preparing)
    shape = " x ".join(map(str, embedder.shape(len(paths))))
    say(f"{embedder.name}: wrote {to}, {shape}, and {names}")
    return 0
