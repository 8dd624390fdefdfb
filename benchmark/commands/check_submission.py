"""`benchmark check-submission`."""

from __future__ import annotations

import random
from pathlib import Path

from ..errors import BenchmarkError, UsageError
from ..files import digest
from ..protocol.request import Data, Device, Request
from ..record import Record
from ..report.cells import one_line
from ..report.write import Folder, differences
from ..store import Store
from .console import out
from .submission import faults_of, faults_together, read_all, settings_faults, tuning_faults
from .verify import run_again


def check_submission(folder: Path, /, *, rerun: int = 0, data: Data = None, device: Device = None) -> int:
    """Check a contributed folder of results: records, numbers, settings and generated files; print one line per fault.

    The check finds a number that was edited by hand if it disagrees with the rest of its record, or if a rerun differs.

    Parameters
    ----------
    folder
        results/<dataset>/<preset>
    rerun
        train this many runs again and compare them with their records; a digest of all records picks the runs
    """
    store = Store(folder)
    if not store.records.is_dir():
        raise UsageError(
            f"{folder} holds no runs/; name the folder of a data set and preset, results/<dataset>/<preset>"
        )
    (runs, lines), (tuned, more) = read_all(store), read_all(Store(folder, "tuning"))
    lines += more
    for record in (*runs, *tuned):
        lines += faults_of(record, folder, data)
    lines += faults_together(runs) + faults_together(tuned)
    lines += settings_faults(folder, runs, data) + tuning_faults(folder, tuned, data)
    if len(runs) + len(tuned) == len([*folder.glob("runs/*.json"), *folder.glob("tuning/*.json")]):
        # Of records that cannot be read there is nothing to generate.
        lines += differences(folder, Folder.read(folder).files())
    for line in lines:
        out.print(one_line(line), markup=False, soft_wrap=True)
    failed = 0
    for id in _drawn(folder, runs, rerun):
        out.print(f"again: {id}")
        try:
            failed += run_again(folder, id, Request(data=data, device=device))
        except BenchmarkError as error:
            out.print(one_line(str(error)), markup=False, soft_wrap=True)
            failed += 1
    again = f", {failed} of {rerun} reruns failed" if rerun else ""
    faults = f"{len(lines) or 'no'} fault{'s' * (len(lines) != 1)}"
    out.print(f"{folder}: {len(runs) + len(tuned)} records: {faults}{again}", markup=False, soft_wrap=True)
    return 1 if lines or failed else 0


def _drawn(folder: Path, records: list[Record], count: int) -> list[str]:
    """Draw ids of runs that train something; the folder's content decides, so that contributors cannot choose.

    Raises:
        UsageError: there are fewer.
    """
    trained = [record.id for record in records if record.spec.steps]
    if count > len(trained):
        raise UsageError(f"--rerun {count}: {folder} has {len(trained)} runs that train something")
    content = b"".join(path.read_bytes() for path in sorted(Store(folder).records.glob("*.json")))
    return random.Random(digest(content)).sample(trained, count)
