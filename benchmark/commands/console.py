"""Consoles, and steps that several commands share: show a plan, run it, read folders of results. No torch before it is needed."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..errors import UsageError
from ..spec import Spec, waves

if TYPE_CHECKING:
    import torch

    from ..protocol.experiment import Experiment
    from ..report.write import Folder
    from ..store import Store
    from ..training.driver import Driver

# A file or a pipe folds nothing, unless COLUMNS asks for it.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True, highlight=False, emoji=False)

RESULTS = Path("results")


def device_of(name: str | None) -> torch.device:
    """The device, with the machine's settings for training made."""
    from ..machine import prepare_process

    return prepare_process(name)


def say(*lines: str, style: str | None = None) -> None:
    """Print lines as they are: without markup, and folded by the terminal alone."""
    for line in lines:
        out.print(line, style=style, markup=False, soft_wrap=True)


def say_written(paths: Iterable[Path]) -> None:
    say(*(f"wrote {path}" for path in paths))


def print_json(value: Any) -> None:
    say(json.dumps(value, indent=1))


def left_to_train(
    plan: Experiment, store: Store, specs: Sequence[Spec], *, dry: bool, weights: bool = False
) -> tuple[Driver, list[Spec], torch.device] | None:
    """Find what trains missing runs, these, and for which device; None if there are none, or in a dry run, which is printed."""
    from ..training.driver import Driver

    driver, name = Driver(plan, store, out), plan.request.device
    missing = driver.announce(specs, dry=dry, weights=weights)
    # A device that is none is told, whatever is left to do.
    device = device_of(name) if missing or name else None
    if dry:
        if device is not None:
            driver.rehearse(missing, device)
        out.print(plan_table(waves(missing)))
        if device is not None:
            driver.show_places(missing, device)
        return None
    if not missing and plan.request.track is not None:
        say(f"--track {plan.request.track}: all runs are finished, so nothing was left to track")
    return None if not missing or device is None else (driver, missing, device)


def plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Table:
    """The runs, a section per wave; runs that differ only in dimension, seed, fold and learning rate share a line."""
    table = uncut_table("method", "network", "l2", "steps", "batch", "dim", "seed", "lr", "runs")
    for wave in plan:
        lines: dict[tuple[str, ...], list[Spec]] = {}
        for spec in itertools.chain.from_iterable(wave):
            network = spec.backbone + (f", hidden {spec.hidden}" if spec.hidden else "")
            fields = (spec.method, network, "yes" if spec.normalize else "no", str(spec.steps), str(spec.batch))
            lines.setdefault(fields, []).append(spec)
        for key, specs in lines.items():
            spans = (_span({getattr(spec, name) for spec in specs}) for name in ("dim", "seed", "lr"))
            table.add_row(*key, *spans, str(len(specs)))
        table.add_section()
    return table


def uncut_table(*columns: str) -> Table:
    """A table whose first column is never folded, and whose others are folded rather than cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
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
