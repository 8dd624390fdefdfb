"""Options that several commands have: each is declared once, with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from ..protocol.request import Request, Shared

Asked = Annotated[Request, Parameter(name="*")]  # an option a field
AskedOfTune = Annotated[Shared, Parameter(name="*")]
Dataset = Annotated[str, Parameter(help="a card (benchmark list datasets), a card's .toml, or a folder of images")]
Results = Annotated[Path, Parameter(help="the folder of all results, or of one data set or preset")]
Baseline = Annotated[str, Parameter(help="the method that the others are held against")]
CheckpointEvery = Annotated[float, Parameter(help="seconds between checkpoints, from which a stopped run goes on")]
DryRun = Annotated[bool, Parameter(help="print the plan and stop")]
Json = Annotated[bool, Parameter(help="print JSON")]
NPY = validators.Path(ext="npy")
Out = Annotated[Path, Parameter(name="--out", help=".npy to write", validator=NPY)]
