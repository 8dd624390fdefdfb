"""`benchmark measure`."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..protocol.request import Plan
from ..report import write_report
from ..store import Store
from ..training.context import RunContext
from ..training.group import Failure
from ..training.measure import remeasure
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say_written


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
    plan = Plan(dataset, preset, data=data, mirror=None, results=results, device=device, subset=subset)
    store = plan.store
    if plan.older is not None and not any(store):
        store = Store(plan.older / plan.preset.name)
    records = list(store)
    if not records:
        raise UsageError(f"no results in {store.folder}: runs/ holds no record")
    failures = 0
    with Reporter(out) as reporter:
        context = RunContext(plan.images(), plan.data_dir, store, device_of(device), reporter.preparing)
        for outcome in remeasure(records, context):
            if isinstance(outcome, Failure):
                failures += 1
                out.print(f"failed: {outcome.message}", markup=False, soft_wrap=True)
    out.print(f"{len(records) - failures} of {len(records)} runs measured again, with the metrics of their records")
    say_written(write_report(store.folder))
    return 1 if failures else 0
