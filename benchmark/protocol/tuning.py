"""The settings that `benchmark tune` tries, and the choice among them by runs on validation classes."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from .. import methods
from ..data.cards import read_toml
from ..errors import BenchmarkError, UsageError
from ..record import Record
from ..spec import Scalar, Spec, derive
from ..tuned import Settings, read_tuned, write_tuned
from .grid import parse_scalar
from .presets import Axis, Preset, Range

CRITERION = "map@r"
DEFAULT_GRID = ("lr=1e-4,3e-4,1e-3,3e-3",)
DEFAULT_TRIALS = 20
DIGITS = 3  # significant ones of a drawn number
MARGIN = 0.05  # a choice within this part of its range from an end, in log scale, may not be the best there is


@dataclass(frozen=True)
class Grid:
    """All combinations of values, the same for every method."""

    values: Mapping[str, Sequence[Scalar]]

    def axes(self, entry: methods.Entry) -> dict[str, Axis]:
        """By field or hyper-parameter, what is tried of a method."""
        return {key: tuple(values) for key, values in self.values.items()}

    def variants(self, entry: methods.Entry) -> list[Settings]:
        """The settings that are tried of a method."""
        return [dict(zip(self.values, values, strict=True)) for values in itertools.product(*self.values.values())]


@dataclass(frozen=True)
class RandomTrials:
    """Random search with the same number of trials for every method.

    Trial 0 is the preset's own setting. What methods share is drawn from seed, trial and key alone, so a trial has the same learning
    rate for all of them, whatever else is searched and however many trials there are.
    Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, JMLR 13, 2012.
    """

    shared: Mapping[str, Axis]
    seed: int
    trials: int

    def axes(self, entry: methods.Entry) -> dict[str, Axis]:
        """By field or hyper-parameter, what is drawn for a method.

        Raises:
            BenchmarkError: the method's own ranges are none.
        """
        return {**self.shared, **_own(entry)}

    def variants(self, entry: methods.Entry) -> list[Settings]:
        """The settings that are tried of a method, trial by trial."""
        own = _own(entry)

        def trial(t: int) -> Settings:
            shared = {key: draw(axis, derive(self.seed, "search", t, key)) for key, axis in self.shared.items()}
            return shared | {
                key: draw(axis, derive(self.seed, "search", t, entry.name, key)) for key, axis in own.items()
            }

        return [{}, *map(trial, range(1, self.trials))]


def asked(
    grid: Sequence[str], trials: int | None, seed: int, preset: Preset
) -> tuple[Grid | RandomTrials, dict[str, object]]:
    """The candidates that the words of `tune` ask for, and the option that asks for it, for the record.

    By default a search where the preset has a space for one, else a grid of learning rates.

    Raises:
        UsageError: both are asked for, or what cannot be had.
    """
    if grid and trials is not None:
        raise UsageError("--grid and --trials exclude each other")
    if trials is not None and trials < 1:
        raise UsageError(f"--trials wants at least 1, not {trials}")
    if trials is not None and not preset.search:
        raise UsageError(f"preset {preset.name!r} has no [search] for --trials to draw from; use --grid")
    if grid or not preset.search:
        texts = tuple(grid) or DEFAULT_GRID
        return Grid(parse_grid(texts)), {"--grid": texts}
    trials = DEFAULT_TRIALS if trials is None else trials
    return RandomTrials(preset.search, seed, trials), {"--trials": trials}


def parse_grid(texts: Sequence[str]) -> dict[str, list[Scalar]]:
    """`["lr=1e-4,1e-3"]` -> values by key."""
    result: dict[str, list[Scalar]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        choices = [parse_scalar(value.strip()) for value in values.split(",") if value.strip()]
        if not key or not choices:
            raise UsageError(f"--grid wants KEY=VALUE,VALUE,..., such as lr=1e-4,1e-3, not {text!r}")
        if "." in key:
            raise UsageError(f"--grid {key}: a grid is the same for every method; give the bare name")
        result[key] = choices
    return result


def draw(axis: Axis, seed: int) -> Scalar:
    """One value: of a range log-uniform, to three significant digits, so that specs and TOML read well; of choices uniform."""
    generator = np.random.default_rng(seed)
    if not isinstance(axis, Range):
        return axis[int(generator.integers(len(axis)))]
    value = math.exp(generator.uniform(math.log(axis.low), math.log(axis.high)))
    return min(max(float(f"{value:.{DIGITS}g}"), axis.low), axis.high)


def _own(entry: methods.Entry) -> dict[str, Axis]:
    """The ranges of a method's hyper-parameters, as its file declares them."""
    result: dict[str, Axis] = {}
    for key, bounds in entry.ranges.items():
        try:
            low, high = bounds
            result[key] = Range(low=low, high=high)
        except (TypeError, ValueError):
            file = f"methods/{entry.module}.py"
            raise BenchmarkError(
                f"{file}: ranges of {key} wants (low, high) with 0 < low < high, not {bounds}"
            ) from None
    return result


@dataclass(frozen=True)
class Choice:
    """The best settings of a method, by MAP@R on held-out training classes (a fraction of 1)."""

    values: Settings
    score: float
    default: float | None  # score of the preset's own setting; None where that was not tried or did not finish
    finished: int  # settings that have a score


def choose(
    records: Sequence[Record], tried: Grid | RandomTrials, planned: Sequence[Spec], defaults: Collection[str] = ()
) -> dict[str, Choice]:
    """By method, the best of what was tried.

    Ties go to the first by value. Runs of several dimensions or forms of one method count together, by mean; a setting of which one
    of them did not finish is no candidate.

    Args:
        records: of the candidates; the teacher's is not one.
        planned: all candidates, those that failed as well.
        defaults: ids of the runs at the preset's own setting.

    Raises:
        BenchmarkError: of no method a setting is left.
    """
    for record in records:
        if record.spec.evaluation != "validation":
            raise ValueError(f"{record.id} was scored on {record.spec.evaluation} classes")
    scores = {record.id: record.metrics[CRITERION] for record in records}
    ids: dict[str, dict[tuple[Any, ...], list[str]]] = {}
    for spec in planned:
        values = tuple(_value(spec, key) for key in tried.axes(methods.entry(spec.method)))
        ids.setdefault(spec.method, {}).setdefault(values, []).append(spec.id)
    result = {}
    for method, by_values in sorted(ids.items()):
        means = {
            values: sum(scores[id] for id in runs) / len(runs)
            for values, runs in sorted(by_values.items())
            if all(id in scores for id in runs)
        }
        if means:
            best = max(means, key=lambda values: means[values])
            default = next((means[values] for values in means if set(by_values[values]) & set(defaults)), None)
            chosen = dict(zip(tried.axes(methods.entry(method)), best, strict=True))
            result[method] = Choice(chosen, means[best], default, len(means))
    if not result:
        raise BenchmarkError("no setting was finished everywhere it was tried, so nothing can be chosen")
    return result


def _value(spec: Spec, key: str) -> Any:
    if key in Spec.model_fields:
        return getattr(spec, key)
    # A hyper-parameter that came later is left out of a spec at its default.
    return spec.params.get(key, methods.entry(spec.method).defaults[key])


def write_choice(path: Path, choice: Mapping[str, Choice], command: str) -> list[str]:
    """Write the chosen settings, each with the command that chose it; methods chosen before and not now are kept.

    Returns:
        A line for each method whose earlier settings were others.
    """
    settings = read_tuned(path) if path.exists() else {}
    chosen = read_toml(path, "tuned settings").get("chosen", {}) if path.exists() else {}
    replaced = [
        f"{method}: {_listed(best.values)} replaces {_listed(settings[method])}"
        for method, best in choice.items()
        if settings.get(method, best.values) != best.values
    ]
    for method, best in choice.items():
        settings[method] = best.values
        scores = {"validation_map_at_r": best.score, "validation_map_at_r_default": best.default}
        rounded = {name: round(score, 4) for name, score in scores.items() if score is not None}
        chosen[method] = {"by": command, **rounded, "values_finished": best.finished}
    write_tuned(path, settings, chosen)
    return replaced


def choice_table(choice: Mapping[str, Choice], tried: Grid | RandomTrials) -> Table:
    """The choice, for people; a value at the edge of what was tried may not be the best there is."""
    table = Table("method", "chosen", "MAP@R %", "of the default %", "", title="chosen on held-out training classes")
    for method, best in choice.items():
        axes = tried.axes(methods.entry(method))
        edges = [key for key, axis in axes.items() if at_edge(best.values[key], axis)]
        note = f"at the edge of what was tried of {', '.join(edges)}: widen it" if edges else ""
        default = "" if best.default is None else f"{100 * best.default:.2f}"
        table.add_row(method, _listed(best.values), f"{100 * best.score:.2f}", default, note)
    return table


def at_edge(value: Any, axis: Axis) -> bool:
    """Whether better values may lie beyond: in the outer 5 % of a range, in log scale, or at an end of three or more numbers."""
    if isinstance(axis, Range):
        margin = (axis.high / axis.low) ** MARGIN
        return not axis.low * margin <= value <= axis.high / margin
    numbers = [choice for choice in axis if isinstance(choice, int | float) and not isinstance(choice, bool)]
    return len(axis) == len(numbers) > 2 and value in (min(numbers), max(numbers))


def tune_command(options: Mapping[str, object]) -> str:
    """The command line of these options, to be recorded. One that is None is left out; one of several values is repeated."""
    words = ["python", "-m", "benchmark", "tune"]
    for option, given in options.items():
        values = given if isinstance(given, tuple) else () if given is None else (given,)
        for value in values:
            words += [option, str(value)]
    return shlex.join(words)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
