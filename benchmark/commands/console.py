"""Consoles, and steps that several commands share: show a plan, run it, read folders of results. No torch before it is needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from ..errors import UsageError
from ..spec import Spec, waves

if TYPE_CHECKING:
    import torch

    from ..report.write import Folder
    from ..training.driver import Driver

# A file or a pipe folds nothing, unless COLUMNS asks for it.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True, highlight=False, emoji=False)

RESULTS = Path("results")


def device_of(name: str | None) -> torch.device:
    """The device, with the machine's settings for training made."""
    from ..machine import prepare_process

    return prepare_process(name)


def say_written(paths: Iterable[Path]) -> None:
    for path in paths:
        out.print(f"wrote {path}", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    out.print(json.dumps(value, indent=1), markup=False, soft_wrap=True)


def where_to_run(driver: Driver, specs: Sequence[Spec], name: str | None, *, dry: bool) -> torch.device | None:
    """Find the device to run specs on; None if there is nothing to run, or after a dry run, which prints the plan and its faults."""
    # A device that is none is told, whatever is left to do.
    device = device_of(name) if specs or name else None
    if dry:
        if device is not None:
            driver.rehearse(specs, device)
        out.print(plan_table(waves(list(specs))))
        if device is not None:
            driver.show_places(specs, device)
    return device if specs and not dry else None


def plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Group:
    """The runs, a section per wave; runs that differ only in dimension, seed, fold and learning rate share a line.

    Above the table stands what all lines have in common, so that a narrow terminal has room for the rest.
    """
    lines: dict[tuple[str, ...], list[Spec]] = {}
    for wave, groups in enumerate(plan):
        for spec in (spec for group in groups for spec in group):
            network = spec.backbone + (f", hidden {spec.hidden}" if spec.hidden else "")
            fields = (spec.method, network, "yes" if spec.normalize else "no", spec.steps, spec.batch)
            lines.setdefault((str(wave), *map(str, fields)), []).append(spec)
    spread = [
        [_span({getattr(spec, name) for spec in specs}) for name in ("dim", "seed", "lr")] for specs in lines.values()
    ]
    ids = [specs[0].id if len(specs) == 1 else "" for specs in lines.values()]
    rows = [(*key, *own, str(len(specs)), id) for (key, specs), own, id in zip(lines.items(), spread, ids, strict=True)]
    names = ("wave", "method", "network", "l2", "steps", "batch", "dim", "seed", "lr", "runs", "id")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    same = {name for name, texts in columns.items() if len({*texts}) == 1 and name not in ("method", "runs", "id")}
    shown = [name for name in names[1:] if name in columns and name not in same and (name != "id" or all(ids))]
    title = ", ".join(f"{name} {columns[name][0]}" for name in names[1:] if name in same and columns[name][0])
    table = uncut_table(*shown)
    for number, row in enumerate(zip(*(columns[name] for name in shown), strict=True)):
        ends = number + 1 < len(rows) and rows[number][0] != rows[number + 1][0]
        table.add_row(*row, end_section=ends)
    return Group(*[f"all: {title}"] * bool(title), table)


def uncut_table(*columns: str) -> Table:
    """A table whose first column is never folded, and whose others are folded rather than cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    return table


def _span(values: Collection[float]) -> str:
    """Up to four numbers, or the first and the last of more, with their count."""
    texts = [f"{value:g}" for value in sorted(values)]
    return ", ".join(texts) if len(texts) <= 4 else f"{texts[0]} to {texts[-1]} ({len(texts)})"


def folders_of(results: Path, baseline: str = "triplet") -> Sequence[Folder]:
    from ..methods import entry
    from ..report.comparison import BASELINE
    from ..report.write import Folder, result_folders

    entry(baseline)
    folders = [Folder.read(path, baseline=baseline) for path in result_folders(results)]
    held = any(cell.row.method == baseline for folder in folders if folder.runs for cell in folder.compared.trained)
    if baseline != BASELINE and not held:
        raise UsageError(f"--baseline {baseline}: no student of it was trained in {results}")
    return folders
