"""Which precision a network trains in on this machine: a few steps of each are measured once, and the choice is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock

from . import estimate
from .data.stored import cannot_write
from .files import read_regular, sealed, unsealed, write_atomically
from .machine import multiplies_bfloat16, processor
from .spec import AUTO, Spec

MARGIN = 1.2  # times faster than float32 that bfloat16 must be: less may be noise, and would not be worth the digits

Precision = Literal["fp32", "bf16"]


def settled(
    specs: Sequence[Spec], device: torch.device, folder: Path, say: Callable[[str], None], *, measure: bool
) -> list[Spec]:
    """With a precision in the place of `auto`, in specs and the runs they build on.

    A backbone has one choice on a machine, so that it is the same for all methods of a table, and for the same command given again.

    Args:
        folder: for `precision.json`, which keeps the choices.
        say: hears of a measurement, which takes a while, and of what came of it.
        measure: whether what is not known is measured; it stays `auto` otherwise.

    Raises:
        DataError: the choices cannot be written.
    """

    def one(spec: Spec) -> Spec:
        changes = {
            name: one(parent)
            for name, parent in (("teacher", spec.teacher), ("trunk", spec.trunk))
            if parent is not None
        }
        own = {"precision": _precision(spec, device, folder, say, measure)} if spec.precision == AUTO else {}
        return spec.replace(**changes, **own) if changes or own else spec

    return [one(spec) for spec in specs]


def _precision(
    spec: Spec, device: torch.device, folder: Path, say: Callable[[str], None], measure: bool
) -> Precision | Literal["auto"]:
    if device.type == "cuda":  # as published: what GPUs do in bfloat16 was not measured
        return "fp32"
    key = f"{spec.backbone}, {spec.image} px, batchnorm {spec.batchnorm}; {processor()}; torch {torch.__version__}"
    file = folder / "precision.json"
    if (known := _read(file).get(key)) is not None or not measure:
        return known or AUTO
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):  # of two commands one measures, and the other has its choice
            choices = _read(file)
            if key not in choices:
                choices[key] = _measured(spec, device, say)
                write_atomically(file, sealed(choices))
            return choices[key]
    except OSError as error:
        raise cannot_write(folder, error) from error


def _measured(spec: Spec, device: torch.device, say: Callable[[str], None]) -> Precision:
    say(f"measuring whether {spec.backbone} at {spec.image} px trains faster in bfloat16, once on this machine")
    if device.type == "cpu" and not multiplies_bfloat16():
        say(f"{spec.backbone}: fp32, since this processor has no instructions for bfloat16")
        return "fp32"
    fp32, bf16 = (estimate.training_seconds(spec.replace(precision=kind), device) for kind in ("fp32", "bf16"))
    chosen: Precision = "bf16" if fp32 > MARGIN * bf16 else "fp32"
    say(f"{spec.backbone}: {chosen}, since bf16 takes {bf16 / fp32:.2f} times as long as fp32")
    return chosen


def _read(file: Path) -> dict[str, Precision]:
    """What was chosen before; a file that is none is measured anew and written over."""
    try:
        choices = unsealed(read_regular(file))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in choices.items() if value in ("fp32", "bf16")}
