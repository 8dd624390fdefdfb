"""`benchmark run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..costs import read_costs, write_costs
from ..errors import UsageError
from ..methods import entry
from ..protocol.experiment import gather, repeat, resolve
from ..protocol.presets import preset_names
from ..protocol.request import Request
from ..record import Record, read_record
from ..store import Store
from ..training.driver import Driver
from .console import out, say_written, where_to_run
from .options import Asked, CheckpointEvery, DryRun

if TYPE_CHECKING:
    import torch

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
        _check_method(record)
        plan = repeat(gather(_request_like(record, like, request), dry=dry_run), record)
    store = plan.store
    driver = Driver(plan, store, out)
    missing = driver.announce(plan.specs, dry=dry_run, weights=like is not None)
    where = where_to_run(driver, missing, request.device, dry=dry_run)
    if dry_run:
        return 0
    failures = 0
    if where is not None:
        failures = driver.run(missing, where, checkpoint_every=checkpoint_every, yes=yes)
        _measure_costs(store, where)
    if any(store.records.glob("*.json")):
        _report(store.folder)
    if failures:
        said = f"{failures} of {len(missing)} runs failed, and are not in these tables; why is in {store.failures}"
        out.print(said, style="bold", markup=False, soft_wrap=True)
    return 1 if failures else 0


def _record_at(path: Path, request: Request) -> Record:
    """Read the record of a run to repeat; the request may not change the run."""
    if request != Request(**{name: getattr(request, name) for name in BESIDE_LIKE}):
        raise UsageError("--like is a whole run: only --seeds, and what says where things are, can be given beside it")
    if not path.is_file():
        raise UsageError(f"--like {path}: there is no such file")
    record = read_record(path)
    if record.spec.evaluation != "test":
        raise UsageError(f"--like {path}: it was scored on validation classes, by tune; only results can be run again")
    return record


def _check_method(record: Record) -> None:
    """Raise a UsageError if the run's method is not available."""
    try:
        entry(record.spec.method)
    except UsageError as error:
        if record.declared is None or not record.declared.outside:
            raise
        edition = record.environment.get("method")
        raise UsageError(
            f"{record.spec.method} is of a file outside of the suite, of edition {edition}: name it by --plugin FILE.py"
        ) from error


def _request_like(record: Record, path: Path, request: Request) -> Request:
    """Complete the request with a record's data set, preset and subset."""
    spec, folder = record.spec, path.absolute().parents[1].name
    dataset = request.dataset
    if dataset is None and not request.on_vectors:
        if spec.data:
            raise UsageError(f"{spec.label} is of own data: say where they are, by --dataset or --features")
        dataset = spec.dataset
    preset = request.preset or (folder if folder in preset_names() else None)
    return replace(request, dataset=dataset, preset=preset, subset=spec.subset)


def _measure_costs(store: Store, device: torch.device) -> None:
    """Measure networks that were not measured on this machine before."""
    # Imports torch, which help does without.
    from ..costs.measure import measure_costs

    if records := list(store):
        write_costs(store.folder, measure_costs(records, device, read_costs(store.folder)))


def _report(path: Path) -> None:
    """Write the report, and print its table and answer."""
    # Imports matplotlib, which help does without.
    from ..report.write import Folder, terminal_table

    folder = Folder.read(path)
    written = folder.write()
    out.print(terminal_table(folder))
    out.print(folder.document.answer, style="bold", markup=False)
    say_written(written)
