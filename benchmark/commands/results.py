"""Read finished results, without torch: `benchmark report`, `choose` and `compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..costs import read_costs
from ..errors import UsageError
from ..protocol.experiment import integers, words
from ..report.contrast import contrast_folders, contrast_methods
from ..report.decision import KEEP, Budget, advice, decide, decision_table
from ..report.excerpt import excerpt, read_names
from ..report.render import rich
from ..report.write import Folder, overview_files, result_folders, update_readme, write_files
from .console import RESULTS, device_of, folders_of, out, say, say_written
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
        also write one folder's table to this file, at the width of a paper's column
    methods
        with --latex: comma-separated names of methods, in the order of the rows; the default is all
    metrics
        with --latex: comma-separated metrics, from r1, r2, ..., mapr and rp (R-Precision)
    dims
        with --latex: comma-separated dimensions; the default is all
    names
        with --latex: a TOML file with the methods' names in LaTeX, such as rkd-da = "RKD-DA"
    pdf
        also write one folder's figures as PDF to this folder
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


def choose(
    *,
    results: Results = RESULTS,
    keep: float = KEEP,
    budget_bytes: float | None = None,
    budget_ms: float | None = None,
) -> int:
    """Recommend a student to ship: the fastest, then the smallest, that surely keeps enough of the teacher's Recall@1.

    Several seeds say how sure that is; what keeps enough by one run is taken where nothing else does. The exit code is 1 where
    nothing keeps enough, or nothing fits the budget.

    Parameters
    ----------
    keep
        the share of the teacher's Recall@1 that the lower end of the interval must reach
    budget_bytes
        the maximum number of bytes per item in the index
    budget_ms
        the maximum number of milliseconds per image
    """
    if keep > 1:
        raise UsageError(f"--keep wants a share of the teacher's Recall@1, such as 0.95, not {keep:g}")
    folders = [folder for folder in folders_of(results) if folder.runs]
    if not folders:
        raise UsageError(f"no results in {results}: runs/ holds no record")
    fits = True
    for folder in folders:
        decision = decide(folder.compared, read_costs(folder.path), Budget(keep, budget_bytes, budget_ms))
        if decision is None:
            say(f"{folder.path}: there is no teacher to hold students against, or nothing but it")
            continue
        table = decision_table(decision)
        assert table is not None
        out.print(rich(table, f"{folder.document.dataset}, {folder.document.preset}"))
        say(advice(decision), style="bold")
        fits = fits and decision.enough
    return 0 if fits else 1


def compare(first: str, second: str, /, *, results: Path = RESULTS) -> int:
    """Show paired differences, second minus first, between two folders of results, or two methods of one folder.

    Parameters
    ----------
    first
        a folder <dataset>/<preset>, or a method
    second
        the same
    results
        for methods: the folder <dataset>/<preset>, or a folder above it that holds only this one
    """
    paths = [Path(name).absolute() for name in (first, second)]
    if all(path.is_dir() for path in paths):
        before, after = (Folder.read(path).compared for path in paths)
        above = len(Path(os.path.commonpath(paths)).parts)
        names = ["/".join(path.parts[above:]) or str(path) for path in paths]
        table = contrast_folders(before, after, *names)
    else:
        for name in (first, second):
            if "/" in name:
                raise UsageError(f"{name} is no folder")
        folders = [str(path) for path in result_folders(results) if (path / "runs").is_dir()]
        if len(folders) != 1:
            raise UsageError(
                f"two methods are compared within one folder; choose one by --results: {', '.join(folders)}"
            )
        table = contrast_methods(Folder.read(Path(folders[0])).compared, first, second)
    # What all rows share is said once, and leaves its room to what tells them apart.
    shared = {}
    for number, column in enumerate(table.columns):
        values = {line.values[number].text for line in table.lines}
        if column.name in ("method", "steps", "seeds") and len(values) == 1:
            shared[number] = f"{column.name} {values.pop()}"
    title = f"{table.title}: {table.caption}" + f" All rows: {', '.join(shared.values())}." * bool(shared)
    out.print(rich(table, title, lambda number: number not in shared))
    return 0
