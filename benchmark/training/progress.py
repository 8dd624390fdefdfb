"""The display of a run while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from ..spec import Spec
from .loop import Watch

PLAIN_EVERY = 30.0  # seconds between plain lines
FORWARD = 1 / 3  # of a step's time an image, that evaluation takes: a forward pass without the backward one


class _Note(TextColumn):
    """Text that is cut where there is no room for it."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class Reporter:
    """Progress of decoding, of features, and of groups in training; a context manager, so that a terminal is left clean.

    Args:
        searched: images that are embedded after training.
    """

    def __init__(self, console: Console, searched: int = 0) -> None:
        self.console = console
        self.searched = searched
        self.progress = Progress(
            # Where a terminal is narrow, bar and note give way: they are the columns that may wrap.
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            _Note("", table_column=Column()),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._begun: dict[str, tuple[int, float]] = {}  # by what is prepared: how far it was when, first

    def __enter__(self) -> Reporter:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def preparing(self, what: str, done: int, of: int) -> None:
        """Show how far something is; a remark, where there is nothing to count, stays on the screen."""
        if of:
            begun, since = self._begun.setdefault(what, (done, time.monotonic()))
            rate = (done - begun) / max(time.monotonic() - since, 1e-9)
            # A terminal has a column for it.
            left = rate and done < of and not self.console.is_terminal
            self._show(what, done, of, f"about {readable((of - done) / rate)} left" if left else "")
        else:
            self.console.print(what, highlight=False, soft_wrap=True, markup=False)

    def group(self, specs: Sequence[Spec]) -> Watch:
        """The `watch` of one group: loss per student, images (each seen by all students) a second, the time left."""
        first = specs[0]
        title = first.label if len(specs) == 1 else f"{len(specs)} students, seed {first.seed}"
        started: list[tuple[int, float]] = []

        def watch(step: int, losses: Mapping[str, float]) -> None:
            started.append((step, time.monotonic())) if not started else None
            step0, time0 = started[0]
            passed = time.monotonic() - time0
            speed = ""
            if step > step0 and passed > 0:
                images = (step - step0) * first.batch / passed
                speed = f"{images:.0f} images/s"
                if not self.console.is_terminal and step < first.steps:
                    left = ((first.steps - step) * first.batch + FORWARD * self.searched) / images
                    speed += f", about {readable(left)} left"
            shown = "  ".join(f"{spec.name}-{spec.dim} {losses[spec.id]:.3g}" for spec in specs if spec.id in losses)
            self._show(title, step, first.steps, f"{speed}  {shown}")

        return watch

    def _show(self, title: str, done: int, of: int, note: str) -> None:
        if self.console.is_terminal:
            if title not in self._tasks:
                self._tasks[title] = self.progress.add_task(title, total=of, note="")
            self.progress.update(self._tasks[title], completed=done, note=note)
            if done >= of:
                self.progress.remove_task(self._tasks.pop(title))
        elif done >= of or time.monotonic() - self._said.get(title, -PLAIN_EVERY) >= PLAIN_EVERY:
            self._said[title] = time.monotonic()
            self.console.print(f"{title}: {done}/{of}  {note}", highlight=False, soft_wrap=True)


def readable(duration: float) -> str:
    """Seconds for people: `45 s`, `12 min`, `3 h 20 min`."""
    if duration < 90:
        return f"{max(1, round(duration))} s"
    minutes = round(duration / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
