"""The only training loop: a group of students in lockstep, for teachers too (a group without a teacher)."""

from __future__ import annotations

import collections
import contextlib
import io
import math
import signal
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import BenchmarkError, TrainingError
from ..files import read_regular, write_atomically
from ..methods.base import Batch, Features, Method
from ..networks.encoder import Network
from ..spec import Spec, derive

MOST_SAVING = 50  # checkpoints take at most a fiftieth of the time


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


def rate(spec: Spec, step: int) -> float:
    """The learning rate of a step, in units of `spec.lr`."""
    progress = step / spec.steps
    if spec.schedule == "step":
        return spec.decay ** sum(progress >= milestone for milestone in spec.milestones)
    if spec.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if spec.schedule == "one-cycle":  # linear warm-up over the first tenth, then a cosine to zero
        warm = 0.1
        return (
            (step + 1) / (spec.steps * warm + 1)
            if progress < warm
            else (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2
        )
    return 1.0


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
    basis: Mapping[str, str] = field(default_factory=dict)  # fingerprints of what it is trained on and under

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
        with autocast(spec, inputs.device):
            features = self.encoder(inputs, self.method.reads)
        if not torch.isfinite(features.embedding).all():  # miners fail on NaN in ways of their own, or skip it
            self._diverged("the embedding is not finite")
        batch = Batch(features, teacher, labels, index, self.step / spec.steps, shared)
        loss = self.method.loss(batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = (
                f"a tensor of shape {list(loss.shape)}"
                if isinstance(loss, Tensor)
                else f"of type {type(loss).__name__}"
            )
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

    def _diverged(self, what: str) -> NoReturn:
        spec = self.spec
        why = (
            f"lr={spec.lr:g} may be too large"
            if self.step
            else "nothing was updated yet, so the loss itself is at fault"
        )
        raise TrainingError(f"{spec.label}: {what} at step {self.step + 1} of {spec.steps}; {why}")

    def save(self, path: Path) -> None:
        """Write a checkpoint, at once: a crash leaves the old one."""
        state = {
            "step": self.step,
            "tail": self.tail,
            "seconds": self.seconds,
            "curve": self.curve,
            "threads": self.threads,
            "basis": dict(self.basis),
            "encoder": self.encoder.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def resume(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint that `save` wrote.

        Raises:
            BenchmarkError: it cannot be read.
        """
        try:
            content = read_regular(path)
            _check_archive(content)
            state = torch.load(io.BytesIO(content), weights_only=True, map_location=device)
            self.encoder.load_state_dict(state["encoder"])
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:  # torch.load has no error type of its own
            raise BenchmarkError(
                f"the checkpoint {path} cannot be read ({type(error).__name__}); delete it to start that run again"
            ) from error
        self.step, self.tail, self.seconds, self.curve = state["step"], state["tail"], state["seconds"], state["curve"]
        self.threads = state["threads"]


class Checkpoint(NamedTuple):
    """What a checkpoint says of itself."""

    basis: Mapping[str, str]  # empty in those of older versions
    threads: Sequence[int]


def peek(path: Path) -> Checkpoint:
    """Of a file that `Student.save` wrote, without reading the weights.

    Raises:
        Exception: it is none, or damaged.
    """
    state = torch.load(io.BytesIO(read_regular(path)), weights_only=True, map_location="cpu")
    return Checkpoint(state.get("basis", {}), state.get("threads", ()))


def _check_archive(content: bytes) -> None:
    """Raise a ValueError where a file of torch.save is damaged: it is a zip archive, whose checksums torch does not look at."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if (member := archive.testzip()) is not None:
            raise ValueError(f"{member} is damaged")


@dataclass(frozen=True)
class Drawn:
    """The batch of a step."""

    read: Callable[[Spec], np.ndarray]  # what the network of a spec reads: uint8 [n, h, w, 3] or float16 [n, pooled]
    labels: np.ndarray  # int64 [n]
    index: np.ndarray  # int64 [n]: rows of the training set


Watch = Callable[[int, Mapping[str, float]], None]


class Interrupted(BenchmarkError):
    """Stopped by the user between two updates; checkpoints are written."""

    exit_code = 130


def fit(
    students: Sequence[Student],
    teachers: Mapping[str, Network],
    draw: Callable[[int], Drawn],
    checkpoint: Callable[[Spec], Path],
    *,
    device: torch.device,
    every: float,
    milestones: Mapping[int, Callable[[Student], Any]] | None = None,
    watch: Watch = lambda step, losses: None,
) -> dict[str, Exception]:
    """Train students of one stream to their end, step by step together.

    A step draws one batch, runs each teacher once, and then each student in turn does forward, backward and update: one student's
    activations at a time. Students may stand at different steps (a checkpoint of some, none of others): those ahead wait.

    Args:
        teachers: by spec id, frozen and in eval mode.
        checkpoint: the file of a run, which is read when present and written every `every` seconds and on interruption.
        milestones: step -> what to note in the student's curve when it has done that many steps.
        watch: called after each step with the students' losses by id.

    Returns:
        The students that failed, by id; the others go on without them.

    Raises:
        Interrupted: SIGINT or SIGTERM; all students' states are on disk.
    """
    failed: dict[str, Exception] = {}
    for student in students:
        if (path := checkpoint(student.spec)).exists():
            try:
                student.resume(path, device)
            except Exception as error:
                failed[student.spec.id] = error
    steps = students[0].spec.steps
    needs = {
        teacher: frozenset().union(
            *(s.method.reads for s in students if s.spec.teacher and s.spec.teacher.id == teacher)
        )
        for teacher in teachers
    }

    def save() -> None:
        for student in students:
            if student.spec.id not in failed:
                student.save(checkpoint(student.spec))

    with _stoppable() as stop, seeded(0):
        saved = time.monotonic()
        for step in range(min(student.step for student in students), steps):
            turn = [student for student in students if student.step == step and student.spec.id not in failed]
            if not turn:
                continue
            drawn = draw(step)
            read = _read_once(drawn, device)
            labels, index = (torch.from_numpy(array).to(device) for array in (drawn.labels, drawn.index))
            seen: dict[str, Features] = {}
            shared: dict[str, dict[str, Any]] = collections.defaultdict(dict)
            for student in turn:
                if stop.requested:
                    save()
                    raise Interrupted(
                        f"stopped at step {step} of {steps}; run the same command again to go on from there"
                    )
                teacher = student.spec.teacher
                if teacher is not None and teacher.id not in seen:
                    with torch.no_grad(), autocast(teacher, device):
                        seen[teacher.id] = teachers[teacher.id](read(teacher), needs[teacher.id])
                try:
                    student.train_step(
                        read(student.spec),
                        seen[teacher.id] if teacher else None,
                        labels,
                        index,
                        shared[teacher.id if teacher else ""],
                    )
                    if milestones and student.step in milestones:
                        student.curve.append((student.step, milestones[student.step](student)))
                except Exception as error:  # whatever one student meets, the others go on
                    traceback.clear_frames(error.__traceback__)  # which hold its activations
                    failed[student.spec.id] = error
            watch(step + 1, {student.spec.id: student.loss for student in turn})
            if time.monotonic() - saved >= every:
                started = time.monotonic()
                save()
                saved = time.monotonic()
                every = max(every, MOST_SAVING * (saved - started)) if every else every
        save()  # what comes next, evaluation, may be interrupted too
        if stop.requested:
            raise Interrupted("stopped after the last step; run the same command again to evaluate")
    return failed


def _read_once(drawn: Drawn, device: torch.device) -> Callable[[Spec], Tensor]:
    """`drawn.read` as tensors on the device; what several networks read is moved there once."""
    moved: dict[int, Tensor] = {}

    def read(spec: Spec) -> Tensor:
        array = drawn.read(spec)
        if id(array) not in moved:
            tensor = torch.from_numpy(array).to(device)
            moved[id(array)] = tensor.float() if tensor.is_floating_point() else tensor
        return moved[id(array)]

    return read


@dataclass
class _Stop:
    requested: bool = False


@contextlib.contextmanager
def _stoppable() -> Iterator[_Stop]:
    """Turn the first SIGINT or SIGTERM into a request, so that no update is cut in half; a second one acts at once."""
    stop = _Stop()
    before: dict[int, Any] = {}

    def request(number: int, frame: object) -> None:
        stop.requested = True
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.getsignal(number)
            signal.signal(number, request)
    except ValueError:  # not in the main thread: the caller's handlers stay
        before.clear()
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def autocast(spec: Spec, device: torch.device) -> torch.autocast:
    """bfloat16 where the spec asks for it; parameters, losses and embeddings stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16")


class Rows(Protocol):
    """Images or features, a row each, that may be read when they are asked for: an array is one, and so are vectors in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | np.ndarray, /) -> np.ndarray: ...


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
            found = encoder(rows).embedding.float().cpu().numpy()
        if result is None:
            result = np.empty((len(inputs), found.shape[1]), np.float32)
        result[start : start + batch] = found
    assert result is not None, "nothing to embed"
    return result
