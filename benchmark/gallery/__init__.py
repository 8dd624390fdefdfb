"""Show the numbers: queries with their nearest neighbours by teacher and students, and a map of the embeddings, as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import cards
from ..errors import UsageError
from ..files import write_atomically
from ..report.comparison import BASELINE
from ..report.write import Folder
from ..store import Store
from ..training.context import RunContext, silent
from ..training.measure import dataset_of, weights_of
from .map import draw_map
from .networks import choose_runs, shown_networks
from .page import gallery_page, sections

if TYPE_CHECKING:
    import torch


def write_gallery(
    folder: Path,
    n: int,
    data_dir: Path | None,
    device: torch.device,
    progress: Callable[[str, int, int], None] = silent,
    baseline: str = BASELINE,
    dataset: str | None = None,
    columns: str | None = None,
) -> list[Path]:
    """Write `gallery/index.html`, and `gallery/map.svg` of all but the tiniest sets, of the finished image runs of one folder.

    Retrieval is that of the evaluation: each network embeds what its own run embedded, and must find the Recall@1 of its record.

    Args:
        folder: results/<dataset>/<preset>, with the weights of the teacher and of the students that are shown.
        n: the most queries a section.
        data_dir: the folder of the images; by default that of `run`.
        progress: of decoding and of features: what, how many are done, of how many.
        baseline: of the methods without a teacher, the one that is shown.
        dataset: where own images are, as `run` is told, and what the columns of their table are called.

    Returns:
        What was written.

    Raises:
        UsageError: no records; own vectors, which have no images; no teacher or no student to show.
        BenchmarkError: weights are missing, or not those of the record.
        DataError: images are missing, or others than those of the records.
    """
    read = Folder.read(folder, baseline=baseline)
    if any(record.spec.reads_vectors for record in read.runs):
        raise UsageError(f"{folder} is of own vectors, or its teacher is: a gallery shows images")
    chosen = choose_runs(read.compared)
    store, records = Store(folder), [chosen.teacher, *chosen.students.values()]
    for record in records:
        weights_of(record, store)
    data_dir = data_dir or cards.default_data_dir()
    images = dataset_of(records, data_dir, dataset, columns)
    shown = shown_networks(chosen, RunContext(images, data_dir, store, device, progress))
    best = next(network for network in shown if network.best)
    parts = sections(shown[0], best, images, n)
    drawn = draw_map(shown[0], best, images, progress)
    target, path = folder / "gallery", folder.resolve()
    files = {"index.html": gallery_page(f"{path.parent.name}, {path.name}", shown, parts, images, drawn)}
    if drawn is not None:
        files["map.svg"] = drawn.svg
    else:
        (target / "map.svg").unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(target / name, content)
    return [target / name for name in files]
