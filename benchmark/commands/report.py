"""`benchmark report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..report.write import Folder, overview_files, update_readme, write_files
from .console import RESULTS, device_of, folders_of, out, say_written
from .options import Baseline, Results


def report(
    *,
    results: Results = RESULTS,
    baseline: Baseline = "triplet",
    readme: Path | None = None,
    gallery: int | None = None,
    data: Path | None = None,
    dataset: str | None = None,
    columns: str | None = None,
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
    dataset
        with --gallery: where own images are, as run is told
    columns
        with --gallery: of a table of own images, as run is told
    device
        with --gallery: cpu or cuda; the default is cuda where there is one
    """
    if gallery is None and (data or dataset or columns or device):
        raise UsageError("--data, --dataset, --columns and --device are for --gallery N")
    if gallery is not None and gallery < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {gallery}")
    if readme is not None and not readme.is_file():
        raise UsageError(f"--readme {readme}: there is no such file")
    folders = folders_of(results, baseline)
    written = [path for folder in folders for path in folder.write()]
    if results not in [folder.path for folder in folders]:
        written += write_files(results, overview_files(results, folders))
    if readme is not None:
        update_readme(readme, folders)
        written.append(readme)
    if gallery is not None:
        written += _gallery(folders, gallery, baseline, data, dataset, columns, device)
    say_written(written)
    return 0


def _gallery(
    folders: Sequence[Folder],
    n: int,
    baseline: str,
    data: Path | None,
    dataset: str | None,
    columns: str | None,
    device: str | None,
) -> list[Path]:
    from ..gallery import write_gallery
    from ..training.progress import Reporter

    paths = [folder.path for folder in folders if folder.runs]
    if len(paths) != 1:
        names = ", ".join(map(str, paths)) or "none has runs"
        raise UsageError(f"a gallery is of one folder; choose one by --results: {names}")
    with Reporter(out) as reporter:
        return write_gallery(paths[0], n, data, device_of(device), reporter.preparing, baseline, dataset, columns)
