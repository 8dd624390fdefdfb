"""Settings of the process that make training fast and repeatable."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path

import torch

from .errors import UsageError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def prepare(name: str | None) -> torch.device:
    """The device of that name (the GPU where there is one, without a name), after making the process's settings.

    Raises:
        UsageError: there is no such device.
    """
    keep_memory()
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: cpu, cuda, cuda:0, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda are supported")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return device


def cores() -> int:
    """That this process may use: a scheduler may give it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The CPU's model, its instructions for bfloat16, and the threads that torch has on it: what decides how fast a network trains."""
    file = Path("/proc/cpuinfo")  # of Linux; elsewhere the model is all that is known
    info = file.read_text() if file.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    instructions = sorted(set(re.findall(r"\b(?:amx|avx512)_bf16\b", info)))
    name = model[1] if model else platform.processor() or platform.machine()
    return ", ".join([name, *instructions, f"{torch.get_num_threads()} threads"])


def multiplies_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 on this CPU; where it has not, torch emulates it, and a step takes ten times as long."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def keep_memory() -> None:
    """Have glibc keep freed memory: giving big activations back to the kernel each step costs a third of the time in page faults."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
