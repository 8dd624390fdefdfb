"""Time the start of a command, for which a user waits before anything is computed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from ..timing import Times, repeated

REPEATS = 5
COMMAND = "from benchmark.__main__ import main; sys.exit(main())"
# A process tells its own peak: what `wait4` says of it counts what its parent held before it.
TOLD = "import atexit, sys; atexit.register(lambda: sys.stderr.write(open('/proc/self/status').read())); "


def report_rows() -> list[dict[str, Any]]:
    """A row a command: seconds and peak memory of a process of its own, beside a bare Python and one that imports torch."""
    commands = {
        "python": ["pass"],
        "python, import torch": ["import torch"],
        "benchmark --help": [COMMAND, "--help"],
        "benchmark list methods": [COMMAND, "list", "methods"],
    }
    measured = {name: _measured(words) for name, words in commands.items()}
    return [
        {
            "command": name,
            "seconds": times.typical,
            "spread": times.spread,
            "times python": times.typical / measured["python"].typical,
            "memory [MB]": times.peak / 1e6,
        }
        for name, times in measured.items()
    ]


def _measured(words: list[str]) -> Times:
    """Times of a program with its arguments, in a new process each time; the most bytes that any of them held."""
    peaks = []

    def run() -> None:
        command = [sys.executable, "-c", TOLD + words[0], *words[1:]]
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        peaks.append(1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)[-1]))

    return repeated(run, REPEATS, REPEATS)._replace(peak=max(peaks))
