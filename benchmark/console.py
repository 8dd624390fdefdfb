"""The command line's application, its consoles, and what several commands share. No torch before it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, Parameter
from rich.console import Console

if TYPE_CHECKING:
    import torch

app = App(
    name="benchmark",
    help="Distil image-embedding teachers into small students by every published method, and compare them fairly.",
    help_format="plaintext",  # Markdown would take <dataset> for a tag, and leave it out
    version_flags=[],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # it has a message of ours
)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # a file or a pipe folds nothing
err = Console(stderr=True, highlight=False)

RESULTS = Path("results")


def device_of(name: str | None) -> torch.device:
    """The device, with the machine's settings for training made."""
    from .machine import prepare

    return prepare(name)


def say_written(paths: Iterable[Path]) -> None:
    for path in paths:
        out.print(f"wrote {path}", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    out.print(json.dumps(value, indent=1), markup=False, soft_wrap=True)
