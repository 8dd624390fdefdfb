"""Where numbers come from: code, libraries, device."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("torch", "torchvision", "timm", "pytorch-metric-learning", "faiss-cpu", "numpy")


def environment(device: torch.device) -> dict[str, str]:
    """Say for a record where it is made, as the process is now."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    )
    libraries = {library: version(library) for library in LIBRARIES}
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "device": name,
        "threads": str(torch.get_num_threads()),
        **libraries,
    }


def code_version() -> str:
    """The commit that the package was run from, `+dirty` where the package differs from it; the release number when installed."""
    package = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        if not (package.parent / ".git").exists():
            return version("embedding-distillation-benchmark")
        dirty = git("status", "--porcelain", "--", str(package))
        return git("rev-parse", "--short=10", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"
