"""`benchmark export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data import cards
from ..networks.onnx import OPSET
from ..protocol.request import Data, Device
from ..shipping import export as shipped
from ..shipping.student import find, open_student
from ..training.progress import Reporter
from .console import RESULTS, device_of, out, say
from .options import Run, RunResults


def export(
    run: Run,
    *,
    to: Annotated[Path, Parameter(name="--out", help="the folder to write")],
    int8: bool = False,
    most_loss: float = 1.0,
    opset: int = OPSET,
    dataset: str | None = None,
    columns: str | None = None,
    data: Data = None,
    results: RunResults = RESULTS,
    device: Device = None,
) -> int:
    """Write a finished student as a folder that works without this suite: ONNX, weights, preprocess.json, a model card.

    The export is checked on the images of the data set: onnxruntime is compared with torch, and Recall@1 with the record.

    Parameters
    ----------
    int8
        also write a quantised network, calibrated on training images
    most_loss
        the maximum loss of the quantised network, in points of Recall@1
    opset
        the opset version of ONNX
    dataset
        where own images are, as for run
    columns
        columns of a table of images, as for run
    """
    with Reporter(out) as reporter:
        place, where = data or cards.default_data_dir(), device_of(device)
        student = open_student(find(results, run), place, where, reporter.preparing, dataset, columns)
    checks = shipped.export(student, to, int8=int8, most_loss=most_loss, opset=opset)
    say(f"{student.record.spec.label}: wrote {to}", *checks.lines)
    return 0
