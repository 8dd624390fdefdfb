"""`benchmark report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..protocol.experiment import integers, words
from ..report.excerpt import excerpt, read_names
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
    latex: Path | None = None,
    methods: str | None = None,
    metrics: str = "r1,mapr",
    dims: str | None = None,
    names: Path | None = None,
    pdf: Path | None = None,
) -> int:
    """Regenerate every table, figure and page from the records alone.

    Parameters
    ----------
    readme
        also regenerate the generated parts of this Markdown file
    gallery
        also show this many queries of each case, with the neighbours by teacher and students; needs the weights and images of one folder
    data
        with --gallery: the folder that holds CUB_200_2011/, stanford_cars/, ...
    dataset
        with --gallery: where own images are, as for run
    columns
        with --gallery: columns of a table of own images, as for run
    device
        with --gallery: cpu or cuda; the default is cuda if there is a GPU
    latex
        write one folder's table to this file, at the width of a paper's column, and nothing else
    methods
        with --latex: comma-separated names of methods, in the order of the rows; the default is all
    metrics
        with --latex: comma-separated metrics, from r1, r2, ..., mapr and rp (R-Precision)
    dims
        with --latex: comma-separated dimensions; the default is all
    names
        with --latex: a TOML file with the methods' names in LaTeX, such as rkd-da = "RKD-DA"
    pdf
        write one folder's figures as PDF to this folder, and nothing else
    """
    if gallery is None and (data or dataset or columns or device):
        raise UsageError("--data, --dataset, --columns and --device are for --gallery N")
    if latex is None and (methods or dims or names):
        raise UsageError("--methods, --dims and --names are for --latex FILE")
    if gallery is not None and gallery < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {gallery}")
    if readme is not None and not readme.is_file():
        raise UsageError(f"--readme {readme}: there is no such file")
    folders = folders_of(results, baseline)
    if latex is not None:
        folder = _single(folders, "a table for a paper")
        table = excerpt(
            folder.compared,
            f"{folder.document.dataset}, protocol {folder.document.preset}",
            [] if methods is None else words("--methods", methods),
            words("--metrics", metrics),
            [] if dims is None else integers("--dims", dims),
            {} if names is None else read_names(names),
        )
    drawn = None if pdf is None else _single(folders, "figures as PDF")
    written = []
    if latex is None and pdf is None:
        written = [path for folder in folders for path in folder.write()]
        if results not in [folder.path for folder in folders]:
            written += write_files(results, overview_files(results, folders))
    if readme is not None:
        update_readme(readme, folders)
        written.append(readme)
    if latex is not None:
        written += write_files(latex.parent, {latex.name: table})
    if pdf is not None and drawn is not None:
        written += drawn.write_pdf(pdf)
    if gallery is not None:
        from ..gallery import write_gallery  # imports torch, which a report does without
        from ..training.progress import Reporter

        path, where = _single(folders, "a gallery").path, device_of(device)
        with Reporter(out) as reporter:
            written += write_gallery(path, gallery, data, where, reporter.preparing, baseline, dataset, columns)
    say_written(written)
    return 0


def _single(folders: Sequence[Folder], what: str) -> Folder:
    """The only folder that has runs. Raises a UsageError if several or none have runs."""
    with_runs = [folder for folder in folders if folder.runs]
    if len(with_runs) != 1:
        names = ", ".join(str(folder.path) for folder in with_runs) or "none has runs"
        raise UsageError(f"{what} is of one folder; choose one by --results: {names}")
    return with_runs[0]
