"""What is told of a group in training, where there is no terminal."""

from __future__ import annotations

import io
import time

import pytest
from conftest import tiny_spec
from rich.console import Console

from benchmark.training.progress import Reporter, readable


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (12000, "3 h 20 min")]
)
def test_durations_for_people(seconds: float, said: str) -> None:
    assert readable(seconds) == said


def test_the_time_left_is_by_the_steps_that_were_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation included, as a third of a training pass an image; of a group that goes on, by its steps of now."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    output = io.StringIO()
    spec = tiny_spec(steps=100, batch=12)
    reporter = Reporter(Console(file=output, width=200), searched=720)
    watch = reporter.group([spec])
    for step in range(40, 101):
        watch(step, {spec.id: 0.5})
        now[0] += 6.0
    first, *later = output.getvalue().splitlines()
    assert first.startswith(f"{spec.label}: 40/100") and "left" not in first
    # Two images a second: 55 steps of 12, and a third of 720.
    assert "45/100  2 images/s, about 8 min left  triplet-6 0.5" in later[0]
    assert "about 2 min left" in later[-2] and "95/100" in later[-2]
    assert later[-1].startswith(f"{spec.label}: 100/100") and "left" not in later[-1]


def test_a_narrow_terminal_shows_the_step_before_the_bar_and_the_losses() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    reporter = Reporter(console)
    specs = [tiny_spec(steps=500, method=name) for name in ("triplet", "rkd-d", "rkd-a", "fitnet", "multi-similarity")]
    watch = reporter.group(specs)
    for step in (1, 123):
        watch(step, {spec.id: 0.5 for spec in specs})
    with console.capture() as shown:
        console.print(reporter.progress.get_renderable())
    (line,) = shown.get().splitlines()
    assert "5 students, seed 0" in line and "123/500" in line and line.rstrip().endswith("…")
