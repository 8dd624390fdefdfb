"""`benchmark report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .console import RESULTS, device_of, folders_of, out, say_written
from .options import Baseline, Results

if TYPE_CHECKING:
    from ..report import Folder


def report(
    *,
    results: Results = RESULTS,
    baseline: Baseline = "triplet",
    readme: Path | None = None,
    gallery: int | None = None,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Regenerate every table, figure and page from the records alone.

    Parameters
    ----------
    readme
        a Markdown file whose generated parts are made anew as well
    gallery
        of one folder whose weights and images are here, as well: so many queries of each case, with what teacher and students find
    data
        with --gallery: the folder that holds CUB_200_2011/, stanford_cars/, ...
    device
        with --gallery: cpu or cuda; the default is cuda where there is one
    """
    if gallery is None and (data or device):
        raise UsageError("--data and --device are for --gallery N")
    if gallery is not None and gallery < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {gallery}")
    if readme is not None and not readme.is_file():
        raise UsageError(f"--readme {readme}: there is no such file")
    from ..report import overview_files, update, write, write_files

    folders = folders_of(results, baseline)
    written = [path for folder in folders for path in write(folder)]
    if results not in [folder.path for folder in folders]:
        written += write_files(results, overview_files(results, folders))
    if readme is not None:
        update(readme, folders)
        written.append(readme)
    if gallery is not None:
        written += _gallery(folders, gallery, baseline, data, device)
    say_written(written)
    return 0


def _gallery(folders: Sequence[Folder], n: int, baseline: str, data: Path | None, device: str | None) -> list[Path]:
    from ..gallery import write_gallery
    from ..training.progress import Reporter

    paths = [folder.path for folder in folders if folder.runs]
    if len(paths) != 1:
        names = ", ".join(str(path) for path in paths) or "none has runs"
        raise UsageError(f"a gallery is of one folder; choose one by --results: {names}")
    with Reporter(out) as reporter:
        return write_gallery(paths[0], n, data, device_of(device), reporter.preparing, baseline)
