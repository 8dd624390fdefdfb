"""`benchmark apply`."""

from __future__ import annotations

from pathlib import Path

from ..protocol.request import Device
from ..shipping import apply as shipped
from .console import RESULTS, device_of, out
from .options import Out


def apply(*, run: str, features: Path, to: Out, results: Path = RESULTS, device: Device = None) -> int:
    """Apply a trained head to new vectors, from [m, c] to [m, d]; the result is l2-normalised if the run's embedding is.

    Parameters
    ----------
    run
        the beginning of the run's id (runs.csv)
    features
        .npy or .npz, [m, c]
    results
        the folder with the run's record and weights
    """
    spec, rows, absurd = shipped.apply(shipped.find(results, run), features, to, device_of(device))
    if absurd:
        out.print(absurd, markup=False, soft_wrap=True)
    out.print(f"{spec.label}: wrote {to}, {rows} x {spec.dim}", markup=False, soft_wrap=True)
    return 0
