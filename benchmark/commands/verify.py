"""`benchmark verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from ..errors import UsageError
from ..protocol.experiment import gather
from ..protocol.request import Data, Device, Request
from ..shipping.apply import find
from ..store import Record, Store, read_record
from ..training.driver import Driver
from .console import RESULTS, device_of, folders_of, out
from .options import Baseline, Results


def verify(
    *,
    results: Results = RESULTS,
    baseline: Baseline = "triplet",
    rerun: str | None = None,
    tolerance: float = 0.5,
    data: Data = None,
    device: Device = None,
) -> int:
    """Check that tables and figures are what the records give; with --rerun, that a record is what training gives.

    Parameters
    ----------
    rerun
        the beginning of a run's id: train it again, and compare its metrics
    tolerance
        points by which a metric of that run may differ; another machine rounds differently, and training carries that on
    """
    from ..report import overview_files
    from ..report import verify as differences

    if rerun is None and (data or device):
        raise UsageError("--data and --device are for --rerun ID")
    if rerun is not None:
        return run_again(results, rerun, tolerance, data, device)
    folders = folders_of(results, baseline)
    lines = [line for folder in folders for line in differences(folder.path, folder.files())]
    if results not in [folder.path for folder in folders]:
        lines += differences(results, overview_files(results, folders))
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    records = sum(len(folder.runs) + len(folder.tuned) for folder in folders)
    out.print(f"{len(folders)} folders, {records} records: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}")
    return 1 if lines else 0


def run_again(results: Path, id: str, tolerance: float, data: Path | None, device: str | None) -> int:
    """Train a run again, in a folder that is thrown away, and hold its metrics against its record's."""
    path = find(results, id)
    record, folder = read_record(path), path.parents[1]
    if record.spec.data:
        raise UsageError(
            f"{record.spec.label} is of own data; run it again with --results elsewhere, and use benchmark compare"
        )
    with TemporaryDirectory() as scratch:
        request = Request(record.spec.dataset, preset=folder.name, subset=record.spec.subset, device=device)
        plan = gather(replace(request, data=data, results=Path(scratch)))
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
    table = Table("metric", "record", "again", "difference", title=record.spec.label)
    worst = 0.0
    for name, value in record.metrics.items():
        off = 100 * (again.metrics[name] - value)
        worst = max(worst, abs(off))
        table.add_row(name, f"{100 * value:.2f}", f"{100 * again.metrics[name]:.2f}", f"{off:+.2f}")
    out.print(table)
    out.print(verdict(record, again, worst, tolerance), markup=False, soft_wrap=True)
    return 1 if worst > tolerance else 0


def verdict(record: Record, again: Record, worst: float, tolerance: float) -> str:
    """Whether other weights are rounding or a fault, by what differs between the two runs.

    Args:
        worst: points by which a metric differs.
    """
    if again.weights == record.weights:
        return "the same weights, to the bit"
    before, now = record.environment, again.environment
    # What a record lacks, as those of older versions do, says nothing.
    changed = {
        name: f"{name} {before[name]}, now {now[name]}"
        for name in before
        if now.get(name, before[name]) != before[name]
    }
    code = [changed.pop(name) for name in ("code", "method") if name in changed]
    judged = f"metrics differ by up to {worst:.2f} points, {tolerance:g} are allowed"
    if again.teacher != record.teacher:
        judged += "; its teacher was trained again as well, to other weights"
    if changed:
        why = f"rounding, as the machine, threads or libraries are others ({'; '.join(changed.values())}): {judged}"
    elif again.teacher != record.teacher:
        why = f"which may be the teacher's: {judged}"
    elif code:
        why = f"a fault, or what the code has changed ({'; '.join(code)}), as machine, threads and libraries are the same: {judged}"
    else:
        why = f"a fault, as machine, threads, libraries and code are the same, unless the processor is another model: {judged}"
    return f"other weights; {why}"
