"""`benchmark costs`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..costs import write_costs
from ..costs.measure import measure_costs
from ..protocol.request import Device
from .console import RESULTS, device_of, folders_of, say, say_written
from .options import Results


def costs(
    *,
    results: Results = RESULTS,
    device: Device = None,
    onnxruntime: Annotated[
        bool, Parameter(negative=(), help="also measure each network as an ONNX file, and with one thread")
    ] = False,
) -> int:
    """Measure what the networks of finished runs cost on this machine, and write costs.json beside the records.

    The command measures, for each network, parameters, multiply-adds, the latency
    of one image, and images per second in batches of 64; for each gallery, exact
    search of one query. Weights are random, which costs the same. A time is the
    fastest of repetitions; times on a busy machine are marked.
    """
    where = device_of(device)
    for folder in folders_of(results):
        if folder.runs:
            measured = measure_costs(folder.runs, where, say=say, onnxruntime=onnxruntime)
            say(
                f"{folder.path}: latency, throughput and size of {len(measured.networks)} networks, and exact search in "
                f"{len(measured.searches)} galleries, on {measured.environment['device']}"
            )
            say_written([write_costs(folder.path, measured)])
    for folder in folders_of(results):
        say_written(folder.write())
    return 0
