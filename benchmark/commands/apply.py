"""`benchmark apply`."""

from __future__ import annotations

from pathlib import Path

from ..shipping.apply import apply, find
from .console import RESULTS, Out, device_of, out


def apply_command(*, run: str, features: Path, to: Out, results: Path = RESULTS, device: str | None = None) -> int:
    """Apply a trained head to new vectors: [m, c] to [m, d], l2-normalised if the run says so.

    Parameters
    ----------
    run
        the beginning of the run's id (runs.csv)
    features
        .npy or .npz, [m, c]
    to
        .npy to write
    results
        where the run's record and weights are
    device
        as for run
    """
    spec, rows, absurd = apply(find(results, run), features, to, device_of(device))
    if absurd:
        out.print(absurd, markup=False, soft_wrap=True)
    out.print(f"{spec.label}: wrote {to}, {rows} x {spec.dim}", markup=False, soft_wrap=True)
    return 0
