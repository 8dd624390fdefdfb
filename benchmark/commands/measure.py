"""`benchmark measure`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.cards import NOTHING_SAID
from ..errors import UsageError
from ..protocol.experiment import Experiment, gather
from ..protocol.request import Data, Device, PresetName, Request, Subset
from ..report.write import Folder
from ..store import Store
from ..training.context import RunContext
from ..training.group import Failure
from ..training.measure import remeasure
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say_written
from .options import Dataset, Own, TeacherFeatures, TeacherNames, given_again


def measure(
    *,
    dataset: Dataset,
    own: Own = NOTHING_SAID,
    preset: PresetName = None,
    subset: Subset = "",
    data: Data = None,
    results: Annotated[Path, Parameter(help="the folder with the records and weights")] = RESULTS,
    device: Device = None,
    teacher_features: TeacherFeatures = None,
    teacher_names: TeacherNames = None,
) -> int:
    """Measure finished runs again from their weights, and add missing metrics to their records; a changed metric is an error."""
    vectors = given_again(teacher_features, teacher_names)
    where = Request(dataset, own, vectors=vectors, data=data, results=results, device=device)
    plan = gather(replace(where, preset=preset, subset=subset))
    store = plan.store
    if plan.older is not None and not any(store):
        store = Store(plan.older / plan.preset.name)
    records = list(store)
    if not records:
        raise UsageError(f"no results in {store.folder}: {_elsewhere(plan)}")
    if plan.images().teacher is None:
        for record in records:  # a line, not one a record
            if record.spec.builds_on_vectors:
                plan.images().taught_by(record.spec)
    failures = 0
    with Reporter(out) as reporter:
        context = RunContext(plan.images(), plan.data_dir, store, device_of(device), reporter.preparing)
        for outcome in remeasure(records, context):
            if isinstance(outcome, Failure):
                failures += 1
                out.print(f"failed: {outcome.message}", markup=False, soft_wrap=True)
    out.print(f"{len(records) - failures} of {len(records)} runs measured again, with the metrics of their records")
    say_written(Folder.read(store.folder).write())
    return 1 if failures else 0


def _elsewhere(plan: Experiment) -> str:
    """Name the --results that has these runs, if the given folder is a level too high or too low."""
    folder = Path(plan.name, plan.preset.name)
    results = plan.request.results.absolute()
    below = {runs.parents[2] for runs in results.rglob("runs") if runs.parts[-3:-1] == folder.parts}
    for candidate in (*results.parents[:2], *sorted(below, key=lambda path: (len(path.parts), path))):
        if any((candidate / folder / "runs").glob("*.json")):
            return f"they are in {candidate / folder}; give --results {candidate}"
    return "runs/ holds no record"
