"""The commands about finished runs: reports, comparisons, and what checks a number. No logic, and no torch before it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
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
    out.print(rich(table, f"{table.title}: {table.caption}"))
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
        return _rerun(results, rerun, tolerance, data, device)
    folders = _folders(results, baseline)
    lines = [line for folder in folders for line in differences(folder.path, folder.files())]
    if results not in [folder.path for folder in folders]:
        lines += differences(results, overview_files(results, folders))
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    records = sum(len(folder.runs) + len(folder.tuned) for folder in folders)
    out.print(f"{len(folders)} folders, {records} records: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}")
    return 1 if lines else 0


def _rerun(results: Path, id: str, tolerance: float, data: Path | None, device: str | None) -> int:
    """Train a run again, in a folder that is thrown away, and hold its metrics against its record's."""
    from rich.table import Table

    from .protocol.request import Plan
    from .shipping.apply import find
    from .store import Store, read_record
    from .training.driver import Driver

    path = find(results, id)
    record, folder = read_record(path), path.parents[1]
    if record.spec.data:
        raise UsageError(
            f"{record.spec.label} is of own data; run it again with --results elsewhere, and use benchmark compare"
        )
    with TemporaryDirectory() as scratch:
        plan = Plan(
            record.spec.dataset,
            folder.name,
            data=data,
            mirror=None,
            results=Path(scratch),
            device=device,
            subset=record.spec.subset,
        )
        images = plan.images()
        if not record.was_of(images.fingerprint, images.listing):
            raise UsageError(
                f"{record.spec.label} was run on other images ({record.data}) than these ({images.fingerprint})"
            )
        store = Store(plan.folder)
        for parent in store.bring(record.spec, Store(folder)):
            out.print(f"{parent.label}: taken from {folder}", markup=False, soft_wrap=True)
        if Driver(plan, store, out).run(
            store.missing([record.spec]), device_of(device), checkpoint_every=120.0, yes=True
        ):
            return 1
        again = read_record(store.path(record.spec))
    if again.teacher != record.teacher:
        out.print("its teacher was trained again, to other weights: what differs may be the teacher's")
    table = Table("metric", "record", "again", "difference", title=record.spec.label)
    worst = 0.0
    for name, value in record.metrics.items():
        off = 100 * (again.metrics[name] - value)
        worst = max(worst, abs(off))
        table.add_row(name, f"{100 * value:.2f}", f"{100 * again.metrics[name]:.2f}", f"{off:+.2f}")
    out.print(table)
    if again.weights == record.weights:
        out.print("the same weights, to the bit")
    else:
        out.print(f"other weights; metrics differ by up to {worst:.2f} points, {tolerance:g} are allowed")
    return 1 if worst > tolerance else 0


@app.command
def costs(*, results: Path = RESULTS, device: str | None = None) -> int:
    """Measure what the networks of finished runs cost on this machine, and write it beside the records as costs.json.

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

    where = device_of(device)
    for folder in _folders(results):
        if folder.runs:
            out.print(
                f"wrote {write_costs(folder.path, measure_costs(folder.runs, where))}", markup=False, soft_wrap=True
            )
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
