"""From a folder of records to the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..store import Record, Store, write_atomically
from .figures import steps_figure
from .markdown import compact_table, markdown
from .tables import AGREEMENT, Comparison, comparison, csv, frame, tuning

if TYPE_CHECKING:
    from rich.table import Table


def find(results: Path) -> list[Path]:
    """All folders at or below `results` that hold records, sorted.

    Raises:
        UsageError: there is none.
    """
    folders = {path.parents[1] for kind in ("runs", "tuning") for path in results.rglob(f"{kind}/*.json")}
    if not folders:
        raise UsageError(f"no results below {results}: runs are kept as <dataset>/<preset>/runs/*.json")
    return sorted(folders)


def write_report(folder: Path, kinds: Mapping[str, str] | None = None) -> list[Path]:
    """Write the tables of one `results/<dataset>/<preset>` folder, from its records alone.

    Args:
        folder: runs.csv, comparison.csv, comparison.md and figures/ come from its `runs/`, tuning.csv from its `tuning/`.
        kinds: of methods; by default as the catalogue has them.

    Returns:
        What was written.

    Raises:
        UsageError: the folder holds no records.
        BenchmarkError: a record is damaged.
    """
    runs, tuned = list(Store(folder)), list(Store(folder, "tuning"))
    if not runs and not tuned:
        raise UsageError(f"no results in {folder}: neither runs/ nor tuning/ holds a record")
    assert len({record.spec.dataset for record in (*runs, *tuned)}) == 1, f"{folder} mixes data sets"
    files: dict[str, str] = {}
    if runs:
        compared = _compared(runs, kinds)
        files["runs.csv"] = csv(frame(compared))
        files["comparison.csv"] = csv(comparison(compared))
        files["comparison.md"] = markdown(compared, folder.resolve().name)
        if (figure := steps_figure(compared)) is not None:
            files["figures/steps.svg"] = figure
    if tuned:
        files["tuning.csv"] = csv(tuning(tuned))
    for name, text in files.items():
        write_atomically(folder / name, text)
    return [folder / name for name in files]


def terminal_table(folder: Path, kinds: Mapping[str, str] | None = None) -> Table:
    """The Recall@1 table of a folder's runs, for the end of a run. Raises as `write_report`."""
    records = list(Store(folder))
    if not records:
        raise UsageError(f"no results in {folder}: runs/ holds no record")
    compared = _compared(records, kinds)
    of = f" ({AGREEMENT})" if compared.agreement else ""
    title = f"Recall@1{of} in percent, mean ± sd over seeds: {records[0].spec.dataset}, {folder.resolve().name}"
    return compact_table(compared, title)


def _compared(records: Sequence[Record], kinds: Mapping[str, str] | None) -> Comparison:
    from ..methods import catalogue, entry

    if kinds is not None:
        return Comparison(records, kinds)
    known = catalogue()
    need_maps = [found.name for found in known.values() if "maps" in found.needs]
    named = {record.spec.method for record in records} | {*known}
    # A method may have left the catalogue since it was run.
    found = {name: entry(name).kind for name in sorted(named) if all(part in known for part in name.split("+"))}
    return Comparison(records, found, need_maps)
