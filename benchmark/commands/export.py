"""`benchmark export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data import cards
from ..networks.onnx import OPSET
from ..protocol.request import Data, Device
from ..shipping import export as shipped
from ..shipping.apply import find
from ..shipping.student import open_student
from ..training.progress import Reporter
from .console import RESULTS, device_of, out


def export(
    run: str,
    *,
    to: Annotated[Path, Parameter(name="--out", help="the folder to write")],
    int8: bool = False,
    most_loss: float = 1.0,
    opset: int = OPSET,
    dataset: str | None = None,
    columns: str | None = None,
    data: Data = None,
    results: Path = RESULTS,
    device: Device = None,
) -> int:
    """Write a finished student as a folder that needs nothing of this suite: ONNX, weights, preprocess.json, a model card.

    What is written is checked on the images of the data set: onnxruntime against torch, Recall@1 against the record.

    Parameters
    ----------
    run
        the beginning of the run's id (runs.csv)
    int8
        write a quantised network as well, calibrated on training images
    most_loss
        points of Recall@1 that the quantised network may lose
    opset
        of ONNX
    dataset
        where own images are, as run is told
    columns
        of a table of images, as run is told
    results
        where the run's record and weights are
    """
    with Reporter(out) as reporter:
        student = open_student(
            find(results, run),
            data or cards.default_data_dir(),
            device_of(device),
            reporter.preparing,
            dataset,
            columns,
        )
    checks = shipped.export(student, to, int8=int8, most_loss=most_loss, opset=opset)
    for line in (f"{student.record.spec.label}: wrote {to}", *checks.lines):
        out.print(line, markup=False, soft_wrap=True)
    return 0
