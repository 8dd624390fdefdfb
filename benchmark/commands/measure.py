"""`benchmark measure`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.cards import NOTHING_SAID
from ..errors import UsageError
from ..protocol.experiment import gather
from ..protocol.request import Data, Device, PresetName, Request, Subset
from ..report.write import Folder
from ..training.context import RunContext
from ..training.group import Failure
from ..training.measure import remeasure
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say, say_written
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
    records = list(store)
    if not records:
        place = f"--results names the folder that holds {plan.name}/{plan.preset.name}/runs"
        raise UsageError(f"no results in {store.folder}: runs/ holds no record; {place}")
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
                say(f"failed: {outcome.message}")
    say(f"{len(records) - failures} of {len(records)} runs measured again, with the metrics of their records")
    say_written(Folder.read(store.folder).write())
    return 1 if failures else 0
