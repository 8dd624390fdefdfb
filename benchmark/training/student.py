"""A run in training: its network, its method, its optimiser, a step, and its checkpoint."""

from __future__ import annotations

import contextlib
import io
import math
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import Rows
from ..errors import BenchmarkError, TrainingError
from ..files import read_regular, write_atomically
from ..methods.base import Batch, Features, Method
from ..networks.encoder import Network
from ..record import MOST_POINTS
from ..spec import Spec, derive


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generators at `seed` within the block, and as they were after it: modules and miners know no other source."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        reseed(seed)
        yield


def reseed(seed: int) -> None:
    """Torch's global generators at `seed`; for inner loops within `seeded`, which takes longer than the step of a small head."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def autocast(spec: Spec, device: torch.device) -> torch.autocast:
    """bfloat16 where the spec asks for it; parameters, losses and embeddings stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16")


def rate(spec: Spec, step: int) -> float:
    """The learning rate of a step, in units of `spec.lr`."""
    progress = step / spec.steps
    if spec.schedule == "step":
        return spec.decay ** sum(progress >= milestone for milestone in spec.milestones)
    if spec.schedule == "constant":
        return 1.0
    warm = 0.1 if spec.schedule == "one-cycle" else 0.0  # of the run: a linear warm-up, then a cosine to zero
    if progress < warm:
        return (step + 1) / (spec.steps * warm + 1)
    return (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2


def is_kept(step: int, steps: int) -> bool:
    """Whether a history of at most MOST_POINTS points has one after that step: they are evenly spread, and the last step is among them."""
    return step == steps or step % -(-steps // MOST_POINTS) == 0


def optimizer(spec: Spec, encoder: Network, method: Method) -> torch.optim.Optimizer:
    """Adam or AdamW over all that is trained: trunk, head, and what the method learns."""
    trunk = list(encoder.trunk.parameters()) if encoder.trunk is not None else []
    head_lr = spec.lr * spec.head_lr
    groups: list[dict[str, Any]] = [
        {"params": trunk, "base": spec.lr},
        {"params": encoder.head_parameters(), "base": head_lr},
        *({"params": own, "base": head_lr * rate} for own, rate in method.learned()),
    ]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.optimizer]
    return kind(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)


# What a checkpoint holds: fields of a student, and what has a state.
PLAIN = ("step", "tail", "seconds", "curve", "threads", "basis", "history")
STATEFUL = ("encoder", "method", "optimizer")


@dataclass
class Student:
    """A run in training: all that changes from step to step."""

    spec: Spec
    encoder: Network
    method: Method
    optimizer: torch.optim.Optimizer
    step: int = 0  # steps behind
    tail: list[float] = field(default_factory=list)  # losses of the last tenth of the run
    seconds: float = 0.0  # its own forward, backward and update passes
    curve: list[tuple[int, Any]] = field(default_factory=list)
    loss: float = math.nan  # of the latest step
    threads: list[int] = field(default_factory=list)  # of torch: what it was trained by, and after each change
    basis: dict[str, str] = field(default_factory=dict)  # fingerprints of what it is trained on and under
    history: list[tuple[int, float, float, float]] = field(default_factory=list)  # step, loss, learning rate, seconds

    def train_step(
        self, inputs: Tensor, teacher: Features | None, labels: Tensor, index: Tensor, shared: dict[str, Any]
    ) -> None:
        """Forward, backward and update on one batch.

        Args:
            inputs: what the stream carries, images or features.
            shared: for `Batch.of_teacher`: one for all students of a teacher and step.

        Raises:
            TrainingError: the loss is not finite; weights are as they were before the step.
        """
        started = time.perf_counter()
        spec = self.spec
        if (threads := torch.get_num_threads()) not in self.threads[-1:]:
            self.threads.append(threads)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * rate(spec, self.step)
        self.encoder.train()
        self.method.train()
        reseed(derive(spec.seed, "method", spec.method, self.step))
        reads = self.method.reads if teacher is None or teacher.maps else self.method.reads - {"maps"}
        with autocast(spec, inputs.device):
            features = self.encoder(inputs, reads)
        if not torch.isfinite(features.embedding).all():  # miners fail on NaN in ways of their own, or skip it
            self._diverged("the embedding is not finite")
        batch = Batch(features, teacher, labels, index, self.step / spec.steps, shared)
        loss = self.method.loss(batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            tensor = isinstance(loss, Tensor)
            what = f"a tensor of shape {list(loss.shape)}" if tensor else f"of type {type(loss).__name__}"
            raise TrainingError(f"{spec.label}: the loss is {what}, not a tensor with one number")
        self.loss = loss.item()
        if not loss.requires_grad:
            raise TrainingError(f"{spec.label}: the loss does not depend on the network; are all of its weights 0?")
        if not math.isfinite(self.loss):
            self._diverged(f"the loss is {self.loss}")
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # now: one student's gradients are held at a time
        with torch.no_grad():
            self.method.update(batch)
        self.step += 1
        if self.step > 0.9 * spec.steps:
            self.tail.append(self.loss)
        self.seconds += time.perf_counter() - started
        if is_kept(self.step, spec.steps):
            self.history.append((self.step, self.loss, spec.lr * rate(spec, self.step - 1), self.seconds))

    def _diverged(self, what: str) -> NoReturn:
        spec = self.spec
        large, at_fault = f"lr={spec.lr:g} may be too large", "nothing was updated yet, so the loss itself is at fault"
        why = large if self.step else at_fault
        raise TrainingError(f"{spec.label}: {what} at step {self.step + 1} of {spec.steps}; {why}")

    def save(self, path: Path) -> None:
        """Write a checkpoint, at once: a crash leaves the old one."""
        state = {name: getattr(self, name) for name in PLAIN}
        state |= {name: getattr(self, name).state_dict() for name in STATEFUL}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def resume(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint that `save` wrote.

        Raises:
            BenchmarkError: it cannot be read.
        """
        try:
            state = peek(path, device)
            for name in STATEFUL:
                getattr(self, name).load_state_dict(state[name])
            plain = {name: state[name] for name in PLAIN}
        except Exception as error:  # torch.load has no error type of its own
            raise BenchmarkError(
                f"the checkpoint {path} cannot be read ({type(error).__name__}); delete it to start that run again"
            ) from error
        for name, value in plain.items():
            setattr(self, name, value)


def peek(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `Student.save` wrote; of older versions without `basis` and `threads`.

    Raises:
        Exception: there is no such file, or it is damaged.
    """
    content = io.BytesIO(read_regular(path))
    # A file of torch.save is a zip archive, whose checksums torch does not look at.
    if (member := zipfile.ZipFile(content).testzip()) is not None:
        raise ValueError(f"{member} is damaged")
    content.seek(0)
    state: dict[str, Any] = torch.load(content, weights_only=True, map_location=device)
    return state


@torch.no_grad()
def embed(
    spec: Spec,
    encoder: Network,
    inputs: Rows,
    device: torch.device,
    batch: int = 128,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Embeddings float32 [n, d], in eval mode, of n images or features; written to `out` where it is given."""
    encoder.eval()
    result = out
    for start in range(0, len(inputs), batch):
        rows = torch.from_numpy(np.array(inputs[start : start + batch])).to(device)
        with autocast(spec, device):
            embedded = encoder(rows).embedding.float().cpu().numpy()
        if result is None:
            result = np.empty((len(inputs), embedded.shape[1]), np.float32)
        result[start : start + batch] = embedded
    assert result is not None, "nothing to embed"
    return result
