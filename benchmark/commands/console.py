"""Consoles, and steps that several commands share: show a plan, run it, read folders of results. No torch before it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ..errors import UsageError
from ..spec import Spec, waves

if TYPE_CHECKING:
    import torch

    from ..report.write import Folder
    from ..training.driver import Driver

out = Console(
    highlight=False, emoji=False, width=None if sys.stdout.isatty() else 160
)  # a file or a pipe folds nothing
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


def plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Table:
    """The runs by wave; runs that differ only in dimension, seed, fold and learning rate share a line."""
    lines: dict[tuple[object, ...], list[Spec]] = {}
    for wave, groups in enumerate(plan, 1):
        for spec in (spec for group in groups for spec in group):
            network = spec.backbone + (f", hidden {spec.hidden}" if spec.hidden else "")
            l2 = "yes" if spec.normalize else "no"
            lines.setdefault((wave, spec.method, network, l2, spec.steps, spec.batch), []).append(spec)
    table = Table("wave", "method", "network", "l2", "steps", "batch", "dim", "seed", "lr", "runs", "id")
    for key, specs in lines.items():
        several = [_span({getattr(spec, name) for spec in specs}) for name in ("dim", "seed", "lr")]
        table.add_row(*map(str, key), *several, str(len(specs)), specs[0].id if len(specs) == 1 else "")
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
