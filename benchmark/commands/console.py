"""What several commands share: consoles, options, and folders of results. No torch before it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from ..data.cards import Vectors
from ..errors import UsageError
from ..spec import Spec

if TYPE_CHECKING:
    import torch

    from ..report.write import Folder

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # a file or a pipe folds nothing
err = Console(stderr=True, highlight=False)

RESULTS = Path("results")


def device_of(name: str | None) -> torch.device:
    """The device, with the machine's settings for training made."""
    from ..machine import prepare

    return prepare(name)


def say_written(paths: Iterable[Path]) -> None:
    for path in paths:
        out.print(f"wrote {path}", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    out.print(json.dumps(value, indent=1), markup=False, soft_wrap=True)


Words = str | None  # comma-separated
Files = Annotated[Vectors | None, Parameter(name="*")]  # an option a field
ARRAY = validators.Path(ext="npy")
Out = Annotated[Path, Parameter(name="--out", validator=ARRAY)]


def plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Table:
    table = Table("wave", "group", "method", "network", "l2", "seed", "steps", "batch", "lr", "id")
    for wave, groups in enumerate(plan, 1):
        for group, specs in enumerate(groups, 1):
            for spec in specs:
                l2 = "yes" if spec.normalize else "no"
                table.add_row(
                    str(wave), str(group), spec.method, f"{spec.backbone}-{spec.dim}", l2, str(spec.seed), str(spec.steps),
                    str(spec.batch), f"{spec.lr:g}", spec.id,
                )  # fmt: skip
    return table


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
