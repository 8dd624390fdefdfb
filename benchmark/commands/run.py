"""`benchmark run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..costs import read_costs, write_costs
from ..errors import UsageError
from ..methods import entry
from ..protocol.experiment import gather, repeat, resolve
from ..protocol.presets import preset_names
from ..protocol.request import Request
from ..record import Record, read_record
from .console import left_to_train, out, say, say_written
from .options import Asked, CheckpointEvery, DryRun

MACHINES = "executor", "parts", "address", "slurm", "track"
# What says where things are, and may be said of a run that is done again.
BESIDE_LIKE = ("dataset", "own", "vectors", "preset", "seeds", "data", "mirror", "results", "device", *MACHINES)


def run(
    *,
    request: Asked = Request(),  # noqa: B008  (it is frozen)
    like: Annotated[
        Path | None,
        Parameter(help="the JSON file of a record: repeat this run; only --seeds may differ"),
    ] = None,
    checkpoint_every: CheckpointEvery = 120.0,
    dry_run: DryRun = False,
    yes: Annotated[bool, Parameter(help="do not ask before a run that is too long for this machine")] = False,
) -> int:
    """Train the teacher, distil it by every method, measure retrieval, and write the comparison.

    Finished runs are not repeated; a stopped run resumes.
    """
    if like is None:
        plan = resolve(gather(request, dry=dry_run))
    else:
        record = _record_at(like, request)
        plan = repeat(gather(request_like(record, like, request), dry=dry_run), record)
    store = plan.store
    left, failures = left_to_train(plan, store, plan.specs, dry=dry_run, weights=like is not None), 0
    if dry_run:
        return 0
    if left is not None:
        from ..costs.measure import measure_costs  # imports torch, which help does without

        driver, missing, device = left
        failures = driver.run(missing, device, checkpoint_every=checkpoint_every, yes=yes)
        if records := list(store):
            write_costs(store.folder, measure_costs(records, device, read_costs(store.folder)))
    if any(store.records.glob("*.json")):
        from ..report.write import Folder, terminal_table  # imports matplotlib, which help does without

        folder = Folder.read(store.folder)
        written = folder.write()
        out.print(terminal_table(folder))
        out.print(folder.document.answer, style="bold", markup=False)
        say_written(written)
    if failures:
        say(f"{failures} runs failed, and are not in these tables; why is in {store.failures}", style="bold")
    return 1 if failures else 0


def _record_at(path: Path, request: Request) -> Record:
    """Read the record of a run to repeat; the request may not change the run, whose method must be here."""
    if request != Request(**{name: getattr(request, name) for name in BESIDE_LIKE}):
        raise UsageError("--like is a whole run: only --seeds, and what says where things are, can be given beside it")
    if not path.is_file():
        raise UsageError(f"--like {path}: there is no such file")
    record = read_record(path)
    if record.spec.evaluation != "test":
        raise UsageError(f"--like {path}: it was scored on validation classes, by tune; only results can be run again")
    try:
        entry(record.spec.method)
    except UsageError as error:
        if record.declared is None or not record.declared.outside:
            raise
        said = f"{record.spec.method} is of a file outside of the suite: name it by --plugin FILE.py"
        raise UsageError(said) from error
    return record


def request_like(record: Record, path: Path, request: Request) -> Request:
    """Complete a request with a record's data set, preset and subset."""
    spec, folder = record.spec, path.absolute().parents[1].name
    dataset = request.dataset
    if dataset is None and not request.on_vectors:
        if spec.data:
            raise UsageError(f"{spec.label} is of own data: say where they are, by --dataset or --features")
        dataset = spec.dataset
    preset = request.preset or (folder if folder in preset_names() else None)
    return replace(request, dataset=dataset, preset=preset, subset=spec.subset)
