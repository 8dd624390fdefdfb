"""What the numbers look like: queries with their nearest neighbours by teacher and students, and a map of the embeddings, as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import cards
from ..errors import UsageError
from ..files import write_atomically
from ..report import BASELINE, Folder
from ..spec import TEACHER_VECTORS, VECTORS
from ..store import Store
from ..training.context import RunContext, silent
from ..training.measure import weights_of
from .cases import sections
from .map import draw
from .networks import choose, dataset_of, retrieved, spaces
from .page import page

if TYPE_CHECKING:
    import torch


def write_gallery(
    folder: Path,
    n: int,
    data_dir: Path | None,
    device: torch.device,
    progress: Callable[[str, int, int], None] = silent,
    baseline: str = BASELINE,
) -> list[Path]:
    """Write `gallery/index.html`, and `gallery/map.svg` of all but the tiniest sets, of the finished image runs of one folder.

    Retrieval is that of the evaluation: each network embeds what its own run embedded, and must find the Recall@1 of its record.

    Args:
        folder: results/<dataset>/<preset>, with the weights of the teacher and of the students that are shown.
        n: the most queries a section.
        data_dir: the folder of the images; by default that of `run`.
        progress: of decoding and of features: what, how many are done, of how many.
        baseline: of the methods without a teacher, the one that is shown.

    Returns:
        What was written.

    Raises:
        UsageError: n below 1; no records; own vectors, which have no images; no teacher or no student to show.
        BenchmarkError: weights are missing, or not those of the record.
        DataError: images are missing, or others than those of the records.
    """
    if n < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {n}")
    read = Folder.read(folder, baseline=baseline)
    if not read.runs:
        raise UsageError(f"no results in {folder}: runs/ holds no record")
    if any(record.spec.backbone in (VECTORS, TEACHER_VECTORS) for record in read.runs):
        raise UsageError(f"{folder} is of own vectors: they have no images that a gallery could show")
    chosen = choose(read.compared)
    store, records = Store(folder), [chosen.teacher, *chosen.students.values()]
    for record in records:
        weights_of(record, store)
    dataset = dataset_of(records, data_dir or cards.default_data_dir())
    context = RunContext(dataset, data_dir or cards.default_data_dir(), store, device, progress)
    found = spaces([record.spec for record in records], context)
    shown = [
        retrieved(role, record, found[record.id], dataset, best=role == chosen.best)
        for role, record in {"teacher": chosen.teacher, **chosen.students}.items()
    ]
    best = next(one for one in shown if one.best)
    parts = sections(shown[0], best, dataset, n)
    drawn = draw(shown[0], best, dataset, progress)
    files = {
        "index.html": page(f"{folder.resolve().parent.name}, {folder.resolve().name}", shown, parts, dataset, drawn)
    }
    if drawn is not None:
        files["map.svg"] = drawn.svg
    else:
        (folder / "gallery" / "map.svg").unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(folder / "gallery" / name, content)
    return [folder / "gallery" / name for name in files]
