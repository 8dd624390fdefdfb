"""The commands about finished runs: reports, comparisons, and what checks a number. No logic, and no torch before it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import RESULTS, app, device_of, out, say_written
from .errors import UsageError

if TYPE_CHECKING:
    from .report import Folder


@app.command
def report(
    *,
    results: Path = RESULTS,
    baseline: str = "triplet",
    readme: Path | None = None,
    gallery: int | None = None,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Regenerate every table, figure and page from the records alone.

    Parameters
    ----------
    results
        the folder of all results, or of one data set or preset
    baseline
        the method that the others are held against
    readme
        a Markdown file whose generated parts are made anew as well
    gallery
        of one folder whose weights and images are here, as well: so many queries of each case, with what teacher and students find
    data
        with --gallery: as for run
    device
        with --gallery: as for run
    """
    if gallery is None and (data or device):
        raise UsageError("--data and --device are for --gallery N")
    if gallery is not None and gallery < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {gallery}")
    if readme is not None and not readme.is_file():
        raise UsageError(f"--readme {readme}: there is no such file")
    from .report import overview_files, update, write, write_files

    folders = _folders(results, baseline)
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


@app.command
def compare(first: str, second: str, /, *, results: Path = RESULTS) -> int:
    """Paired differences, second minus first: of two folders of results, or of two methods of one folder.

    Parameters
    ----------
    first
        a folder <dataset>/<preset>, or a method
    second
        the same
    results
        for methods: the folder <dataset>/<preset>, or one above that holds only one
    """
    from .report import Folder, contrast_folders, contrast_methods, find, rich

    if Path(first).is_dir() and Path(second).is_dir():
        ours, theirs = Folder.read(Path(first)), Folder.read(Path(second))
        table = contrast_folders(ours.compared, theirs.compared, first, second)
    else:
        for name in (first, second):
            if "/" in name:
                raise UsageError(f"{name} is no folder")
        paths = [path for path in find(results) if (path / "runs").is_dir()]
        if len(paths) != 1:
            names = ", ".join(str(path) for path in paths)
            raise UsageError(f"two methods are compared within one folder; choose one by --results: {names}")
        table = contrast_methods(Folder.read(paths[0]).compared, first, second)
    # What all rows share is said once, and leaves its room to what tells them apart.
    shared = {}
    for number, column in enumerate(table.columns):
        values = {line.values[number].text for line in table.lines}
        if column.name in ("method", "steps", "seeds") and len(values) == 1:
            shared[number] = f"{column.name} {values.pop()}"
    title = " ".join([f"{table.title}: {table.caption}", f"All rows: {', '.join(shared.values())}." * bool(shared)])
    out.print(rich(table, title.strip(), lambda number: number not in shared))
    return 0


@app.command
def verify(
    *,
    results: Path = RESULTS,
    baseline: str = "triplet",
    rerun: str | None = None,
    tolerance: float = 0.5,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Check that tables and figures are what the records give; with --rerun, that a record is what training gives.

    Parameters
    ----------
    results
        the folder of all results, or of one data set or preset
    baseline
        as for report
    rerun
        the beginning of a run's id: train it again, and compare its metrics
    tolerance
        points by which a metric of that run may differ; another machine rounds differently, and training carries that on
    data
        as for run
    device
        as for run
    """
    from .report import overview_files
    from .report import verify as differences

    if rerun is None and (data or device):
        raise UsageError("--data and --device are for --rerun ID")
    if rerun is not None:
        from .rerun import run_again

        return run_again(results, rerun, tolerance, data, device)
    folders = _folders(results, baseline)
    lines = [line for folder in folders for line in differences(folder.path, folder.files())]
    if results not in [folder.path for folder in folders]:
        lines += differences(results, overview_files(results, folders))
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    records = sum(len(folder.runs) + len(folder.tuned) for folder in folders)
    out.print(f"{len(folders)} folders, {records} records: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}")
    return 1 if lines else 0


@app.command
def costs(*, results: Path = RESULTS, device: str | None = None) -> int:
    """Measure what the networks of finished runs cost on this machine, and write it beside the records as costs.json.

    Of each network it measures parameters, multiply-adds, the latency of one
    image, and images a second in batches of 64; of each gallery the exact search
    of a query. Networks have random weights, which cost the same. A time is the
    fastest of repetitions, and those of a busy machine are marked. What does not
    fit into half of the free memory is left out.

    Parameters
    ----------
    results
        the folder of all results, or of one data set or preset
    device
        as for run
    """
    from .bench.networks import measure_costs
    from .costs import write_costs
    from .report import write

    def say(line: str) -> None:
        out.print(line, markup=False, soft_wrap=True)

    where = device_of(device)
    for folder in _folders(results):
        if folder.runs:
            measured = measure_costs(folder.runs, where, say=say)
            say(
                f"{folder.path}: latency, throughput and size of {len(measured.networks)} networks, and exact search in "
                f"{len(measured.searches)} galleries, on {measured.environment['device']}"
            )
            say(f"wrote {write_costs(folder.path, measured)}")
    for folder in _folders(results):
        say_written(write(folder))
    return 0


def _gallery(folders: Sequence[Folder], n: int, baseline: str, data: Path | None, device: str | None) -> list[Path]:
    from .gallery import write_gallery
    from .training.progress import Reporter

    paths = [folder.path for folder in folders if folder.runs]
    if len(paths) != 1:
        names = ", ".join(str(path) for path in paths) or "none has runs"
        raise UsageError(f"a gallery is of one folder; choose one by --results: {names}")
    with Reporter(out) as reporter:
        return write_gallery(paths[0], n, data, device_of(device), reporter.preparing, baseline)


def _folders(results: Path, baseline: str = "triplet") -> Sequence[Folder]:
    from .methods import entry
    from .report import BASELINE, Folder, find

    entry(baseline)
    folders = [Folder.read(path, baseline=baseline) for path in find(results)]
    held = any(cell.row.method == baseline for folder in folders if folder.runs for cell in folder.compared.trained)
    if baseline != BASELINE and not held:
        raise UsageError(f"--baseline {baseline}: no student of it was trained in {results}")
    return folders


@app.command
def measure(
    *,
    dataset: str,
    preset: str | None = None,
    subset: str = "",
    data: Path | None = None,
    results: Path = RESULTS,
    device: str | None = None,
) -> int:
    """Measure finished runs again from their weights, and add to their records what these lack; a metric that changed is an error.

    Parameters
    ----------
    dataset
        as for run
    preset
        as for run
    subset
        as for run
    data
        as for run
    results
        where the records and weights are
    device
        as for run
    """
    from .protocol.request import Plan
    from .report import write_report
    from .training.context import Workspace
    from .training.group import Failure
    from .training.progress import Reporter
    from .training.remeasure import remeasure

    plan = Plan(dataset, preset, data=data, mirror=None, results=results, device=device, subset=subset)
    records = list(plan.store)
    if not records:
        raise UsageError(f"no results in {plan.folder}: runs/ holds no record")
    failures = 0
    with Reporter(out) as reporter:
        workspace = Workspace(plan.images(), plan.data_dir, plan.store, device_of(device), reporter.preparing)
        for outcome in remeasure(records, workspace):
            if isinstance(outcome, Failure):
                failures += 1
                out.print(f"failed: {outcome.message}", markup=False, soft_wrap=True)
            else:
                plan.store.save(outcome)
    out.print(f"{len(records) - failures} of {len(records)} runs measured again, with the metrics of their records")
    say_written(write_report(plan.folder))
    return 1 if failures else 0
