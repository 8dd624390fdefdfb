"""How much memory is free, and how much a network takes: known before anything is allocated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..networks.encoder import encoder
from ..spec import Spec

MEMORY = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def available(device: torch.device) -> int:
    """Bytes that are free on a device; where the system does not say, as many as there can be."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = re.search(r"^MemAvailable:\s*(\d+) kB", MEMORY.read_text() if MEMORY.exists() else "", re.MULTILINE)
    limit = LIMIT.read_text().strip() if LIMIT.exists() else ""
    free = 1024 * int(info[1]) if info else 2**62
    return min(free, int(limit)) if limit.isdecimal() else free


class _Largest(TorchDispatchMode):
    """Looks for the operation with the most bytes of inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)]
        self.bytes = max(self.bytes, sum(one.numel() * one.element_size() for one in tensors))
        return result


def needed(spec: Spec, batch: int) -> int:
    """Bytes of a run's network on a batch of images without gradients: its weights, and its largest layer's inputs and outputs.

    It is built on torch's device `meta`, where tensors have shapes and no content.
    """
    with torch.device("meta"), torch.no_grad(), _Largest() as largest:
        network = encoder(
            spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize, hidden=spec.hidden
        ).eval()
        images = torch.empty(batch, spec.image, spec.image, 3, dtype=torch.uint8)
        network.pooled(images)  # a head's outputs are small beside its weights
    return largest.bytes + sum(one.numel() * one.element_size() for one in network.state_dict().values())
