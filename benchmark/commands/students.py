"""Use finished students: `benchmark apply`, `embed`, `search` and `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter, validators

from .. import methods
from ..data import cards
from ..data.stored import new_array
from ..data.vectors import VectorFile, Views
from ..errors import DataError, UsageError
from ..files import write_atomically
from ..gallery.search import search_page
from ..networks.onnx import OPSET
from ..networks.weights import load_encoder
from ..protocol.request import Data, Device
from ..record import read_record
from ..shipping import export as shipped
from ..shipping.embed import embed_images, embedded, embedder_of, images_in
from ..shipping.student import find, open_student
from ..store import Store
from ..training import student as trained
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say
from .options import Int8, Out, PathColumn, Run, RunOrFolder, RunResults

MOST = 100  # queries on a page


def apply(*, run: Run, features: Path, to: Out, results: RunResults = RESULTS, device: Device = None) -> int:
    """Apply a trained head to new vectors, from [m, c] to [m, d]; the result is l2-normalised if the run's embedding is.

    Parameters
    ----------
    features
        .npy or .npz, [m, c]
    """
    path = find(results, run)
    spec, where = read_record(path).spec, device_of(device)
    if not spec.views:
        raise UsageError(f"{spec.label} is a whole network, which reads images; only heads on features can be applied")
    if methods.entry(spec.method).is_posthoc:
        raise UsageError(f"{spec.label} is made of the teacher's embeddings, and has no head that could be applied")
    head, file = load_encoder(spec, Store(path.parents[1]), where), VectorFile(features, "features")
    if file.views > 1 or file.width != head.widths.pooled:
        wanted = f"the head of {spec.label} reads {head.widths.pooled}"
        raise DataError(f"{features} has {file.views} views of {file.width} numbers an image; {wanted}")
    absurd = file.told  # goes through the whole file: what is wrong with it is met before anything is written
    with new_array(to, (len(file), spec.dim), "<f4") as result:
        trained.embed(spec, head, Views(file, np.arange(len(file))), where, out=result)
    say(*filter(None, [absurd]), f"{spec.label}: wrote {to}, {len(file)} x {spec.dim}")
    return 0


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


def export(
    run: Run,
    *,
    to: Annotated[Path, Parameter(name="--out", help="the folder to write")],
    int8: bool = False,
    most_loss: float = 1.0,
    opset: int = OPSET,
    dataset: str | None = None,
    columns: str | None = None,
    data: Data = None,
    results: RunResults = RESULTS,
    device: Device = None,
) -> int:
    """Write a finished student as a folder that works without this suite: ONNX, weights, preprocess.json, a model card.

    The export is checked on the images of the data set: onnxruntime is compared with torch, and Recall@1 with the record.

    Parameters
    ----------
    int8
        also write a quantised network, calibrated on training images
    most_loss
        the maximum loss of the quantised network, in points of Recall@1
    opset
        the opset version of ONNX
    dataset
        where own images are, as for run
    columns
        columns of a table of images, as for run
    """
    with Reporter(out) as reporter:
        place, where = data or cards.default_data_dir(), device_of(device)
        student = open_student(find(results, run), place, where, reporter.preparing, dataset, columns)
    checks = shipped.export(student, to, int8=int8, most_loss=most_loss, opset=opset)
    say(f"{student.record.spec.label}: wrote {to}", *checks.lines)
    return 0
