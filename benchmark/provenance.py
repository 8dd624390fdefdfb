"""Where numbers come from: code, libraries, device, processor."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .files import digest

if TYPE_CHECKING:
    import torch

NAME = "embedding-distillation-benchmark"  # of the package that is installed

LIBRARIES = ("torch", "torchvision", "timm", "pytorch-metric-learning", "faiss-cpu", "numpy")
ROOMS = ("data", "networks", "retrieval", "training")  # whose code all runs go through
PACKAGE = Path(__file__).parent


def environment(device: torch.device) -> dict[str, str]:
    """Say for a record where it is made, as the process is now."""
    # Heavy, and not wanted for the version alone.
    import torch

    on_cpu = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    libraries = {library: version(library) for library in LIBRARIES}
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "device": on_cpu if device.type == "cpu" else torch.cuda.get_device_name(device),
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        **libraries,
    }


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, with the numbers that tell models of one name apart: clouds call all of theirs alike."""
    try:
        said = dict(re.findall(r"^([\w ]+?)\s*: (.+)$", info.read_text().partition("\n\n")[0], re.MULTILINE))
    except OSError:
        said = {}
    numbers = "-".join(said[name] for name in ("cpu family", "model", "stepping") if name in said)
    name = said.get("model name") or platform.processor() or platform.machine() or "unknown"
    return f"{name} ({numbers})" if numbers else name


def sources() -> dict[str, str]:
    """Digests of the code that a run's numbers depend on, but for its method's own files, which have an edition."""
    paths = {f"{room}/": sorted((PACKAGE / room).glob("*.py")) for room in ROOMS}
    paths |= {"methods/base.py": [PACKAGE / "methods" / "base.py"], "*.py": sorted(PACKAGE.glob("*.py"))}
    texts = {room: b"".join(path.name.encode() + path.read_bytes() for path in files) for room, files in paths.items()}
    return {room: digest(text)[:8] for room, text in texts.items()}


def edited_since(code: str) -> list[str]:
    """The package's files that differ from those of a commit, such as a record's `code`; none where git does not know it."""
    try:
        names = _git("diff", "--name-only", "--relative", code.removesuffix("+dirty"), "--", ".")
        return [name for name in names.splitlines() if name.endswith(".py")]
    except (OSError, subprocess.CalledProcessError):
        return []


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(PACKAGE), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def code_version() -> str:
    """The commit that the package was run from, `+dirty` where the package differs from it; the release number when installed."""

    try:
        if not (PACKAGE.parent / ".git").exists():
            return version(NAME)
        dirty = _git("status", "--porcelain", "--", str(PACKAGE))
        return _git("rev-parse", "--short=10", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"


def release() -> str:
    """The release, and the commit where the package is run from a checkout: what `benchmark --version` says."""
    try:
        number = version(NAME)
    except PackageNotFoundError:
        number = "of unknown release"
    code = code_version()
    return f"benchmark {number}" + (f" ({code})" if code not in (number, "unknown") else "")
