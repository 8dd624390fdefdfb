"""Which precision a network trains in on this machine: a few steps of each are measured once, and the choice is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from . import estimate
from .spec import AUTO, Spec
from .store import write_atomically

MARGIN = 1.2  # times faster than float32 that bfloat16 must be: less may be noise, and would not be worth the digits

Precision = Literal["fp32", "bf16"]


def settled(specs: Sequence[Spec], device: torch.device, folder: Path, say: Callable[[str], None]) -> list[Spec]:
    """With a precision in the place of `auto`, in specs and the runs they build on.

    A backbone has one choice on a machine, so that it is the same for all methods of a table, and for the same command given again.

    Args:
        folder: for `precision.json`, which keeps the choices.
        say: hears of a measurement, which takes a while, and of what came of it.
    """
    file = folder / "precision.json"
    known = _read(file)
    chosen = dict(known)

    def precision(spec: Spec) -> Precision:
        if device.type == "cuda":  # as published: what GPUs do in bfloat16 was not measured
            return "fp32"
        key = f"{spec.backbone}, {spec.image} px, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
        if key not in chosen:
            say(f"measuring whether {spec.backbone} at {spec.image} px trains faster in bfloat16, once on this machine")
            fp32, bf16 = (estimate.training_seconds(spec.replace(precision=kind), device) for kind in ("fp32", "bf16"))
            chosen[key] = "bf16" if fp32 > MARGIN * bf16 else "fp32"
            say(f"{spec.backbone}: {chosen[key]}, since bf16 takes {bf16 / fp32:.2f} times as long as fp32")
        return chosen[key]

    def one(spec: Spec) -> Spec:
        changes = {
            name: one(parent)
            for name, parent in (("teacher", spec.teacher), ("trunk", spec.trunk))
            if parent is not None
        }
        own = {"precision": precision(spec)} if spec.precision == AUTO else {}
        return spec.replace(**changes, **own) if changes or own else spec

    found = [one(spec) for spec in specs]
    if chosen != known:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(chosen, indent=1) + "\n").encode())
    return found


def _read(file: Path) -> dict[str, Precision]:
    """What was chosen before; a file that is none is measured anew and written over."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if value in ("fp32", "bf16")} if isinstance(found, dict) else {}
