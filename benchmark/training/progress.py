"""What a run shows while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ..spec import Spec
from .loop import Watch

PLAIN_EVERY = 30.0  # seconds between plain lines


class Reporter:
    """Progress of decoding, of features, and of groups in training; a context manager, so that a terminal is left clean."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, object] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> Reporter:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def preparing(self, what: str, done: int, of: int) -> None:
        """Show how far something is; a remark, where there is nothing to count, stays on the screen."""
        if of:
            self._show(what, done, of, "")
        else:
            self.console.print(what, highlight=False, soft_wrap=True, markup=False)

    def group(self, specs: Sequence[Spec]) -> Watch:
        """The `watch` of one group: loss per student, images (each seen by all students) a second."""
        first = specs[0]
        names = {spec.id: spec.label for spec in specs}
        title = first.label if len(specs) == 1 else f"{len(specs)} students, seed {first.seed}"
        started: list[tuple[int, float]] = []

        def watch(step: int, losses: Mapping[str, float]) -> None:
            started.append((step, time.monotonic())) if not started else None
            step0, time0 = started[0]
            passed = time.monotonic() - time0
            speed = f"{(step - step0) * first.batch / passed:.0f} images/s" if step > step0 and passed > 0 else ""
            shown = "  ".join(f"{_short(names[id])} {loss:.3g}" for id, loss in losses.items())
            self._show(title, step, first.steps, f"{speed}  {shown}")

        return watch

    def _show(self, title: str, done: int, of: int, note: str) -> None:
        if self.console.is_terminal:
            if title not in self._tasks:
                self._tasks[title] = self.progress.add_task(title, total=of, note="")
            self.progress.update(self._tasks[title], completed=done, note=note)  # type: ignore[arg-type]
            if done >= of:
                self.progress.remove_task(self._tasks.pop(title))  # type: ignore[arg-type]
        elif done >= of or time.monotonic() - self._said.get(title, -PLAIN_EVERY) >= PLAIN_EVERY:
            self._said[title] = time.monotonic()
            self.console.print(f"{title}: {done}/{of}  {note}", highlight=False, soft_wrap=True)


def _short(label: str) -> str:
    """Method and dimension of a label: `rkd-da conv4-32-16 raw seed 0` -> `rkd-da-16`."""
    method, network, *_ = label.split()
    return f"{method}-{network.rpartition('-')[2]}"
