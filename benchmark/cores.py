"""How many cores this process may use; without torch, so that what reads files can ask as well."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use: a scheduler may give it fewer than there are, a container less time than all of them have.

    Args:
        root: where `proc` and `sys` are.
    """
    scheduled = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min([scheduled, *_quotas(root)]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that the control groups of this process may keep busy, those that they are nested in included; each holds."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container that sees the whole path has its own group, and no more, at the top of what is mounted; so has one that sees "..".
        names = [] if ".." in path else path.strip("/").split("/")
        for mount in (controllers, "cpu") if controllers else ("", "unified"):
            for depth in range(len(names) + 1):
                yield _quota((root / "sys/fs/cgroup" / mount).joinpath(*names[:depth]))


def _quota(group: Path) -> float:
    """Cores that one control group may keep busy, infinite without a limit."""
    try:
        if (group / "cpu.max").exists():  # version 2
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{kind}_us").read_text() for kind in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf  # -1: no limit
    except (OSError, ValueError):  # there is no such group here, or its limit is "max"
        return math.inf
