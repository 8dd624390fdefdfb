"""Options that several commands have: each is declared once, with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from ..data.cards import OwnImages
from ..data.vector_files import Vectors
from ..errors import UsageError
from ..protocol.request import Request, Shared

Asked = Annotated[Request, Parameter(name="*")]  # one option per field
AskedOfTune = Annotated[Shared, Parameter(name="*")]
Own = Annotated[OwnImages, Parameter(name="*")]  # one option per field
Dataset = Annotated[str, Parameter(help="a card (benchmark list datasets), a card's .toml, or a folder of images")]
OwnDataset = Annotated[str | None, Parameter(help="your own images: a card's .toml, a table or a folder")]
Results = Annotated[Path, Parameter(help="the folder of all results, or of one data set or preset")]
Baseline = Annotated[str, Parameter(help="the method that the others are compared with")]
CheckpointEvery = Annotated[float, Parameter(help="seconds between checkpoints; a stopped run resumes from the last")]
DryRun = Annotated[bool, Parameter(help="print the plan and stop")]
# For commands on finished runs; those of `run` have all fields of `Vectors`.
TeacherFeatures = Annotated[Path | None, Parameter(help="the teacher's vectors, if the teacher was given as vectors")]
TeacherNames = Annotated[Path | None, Parameter(help="the file names of the images, one per row of --teacher-features")]
# For commands on one finished run.
Run = Annotated[str, Parameter(help="the beginning of the run's id (runs.csv)")]
RunOrFolder = Annotated[str, Parameter(help="a folder that export wrote, or the beginning of a run's id (runs.csv)")]
RunResults = Annotated[Path, Parameter(help="the folder with the run's record and weights")]
Int8 = Annotated[bool, Parameter(help="use the quantised network of an exported folder")]
PathColumn = Annotated[str | None, Parameter(help="for tables of images: the column of paths, path=NAME")]
Json = Annotated[bool, Parameter(help="print JSON")]
NPY = validators.Path(ext="npy")
Out = Annotated[Path, Parameter(name="--out", help="the .npy file to write", validator=NPY)]


def given_again(features: Path | None, names: Path | None) -> Vectors | None:
    """A teacher's vectors that a finished run is known to need. Raises a UsageError where one file is given without the other."""
    if features is None and names is None:
        return None
    if features is None or names is None:
        raise UsageError("--teacher-features and --teacher-names go together")
    return Vectors(teacher_features=features, teacher_names=names)
