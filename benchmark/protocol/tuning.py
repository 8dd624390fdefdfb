"""The settings that `benchmark tune` tries, and the choice among them by runs on validation classes."""

from __future__ import annotations

import itertools
import math
import operator
import shlex
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from .. import methods
from ..errors import BenchmarkError, UsageError
from ..record import Record
from ..spec import Scalar, Spec, derive
from ..tuned import Settings, Tuned, read_reasons, read_tuned, write_tuned
from .grid import parse_scalar
from .presets import Axis, Preset, Range

CRITERION = "map@r"
DEFAULT_GRID = ("lr=1e-4,3e-4,1e-3,3e-3",)
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
    trials = preset.tuning.trials if trials is None else trials
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
    """The settings of a method that did best, by MAP@R on held-out training classes (a fraction of 1)."""

    method: str
    values: Settings
    score: float
    default: float | None  # score of the preset's own setting; None where that was not tried or did not finish
    finished: int  # settings that have a score
    error: float | None = None  # standard error of the score over folds
    where: Settings = field(default_factory=dict)  # the runs that it is for, by field; empty: for all


def choose(
    records: Sequence[Record],
    tried: Grid | RandomTrials,
    planned: Sequence[Spec],
    defaults: Collection[str] = (),
    by: Sequence[str] = (),
) -> list[Choice]:
    """The best of what was tried, of each method.

    The preset's own setting stays where nothing is better than it by more than the standard error of the difference over folds
    (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3); other ties go to the first by value. Runs that differ in
    what there is no choice by count together, by mean; a setting of which one of them did not finish is no candidate.

    Args:
        records: of the candidates; the teacher's is not one.
        planned: all candidates, those that failed as well.
        defaults: ids of the runs at the preset's own setting.
        by: fields of a run; each of their combinations has a choice of its own.

    Raises:
        BenchmarkError: of no method a setting is left.
    """
    for record in records:
        if record.spec.evaluation != "validation":
            raise ValueError(f"{record.id} was scored on {record.spec.evaluation} classes")
    scores = {record.id: record.metrics[CRITERION] for record in records}
    runs: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Spec]]] = {}
    for spec in planned:
        values = tuple(_value(spec, key) for key in tried.axes(methods.entry(spec.method)))
        runs.setdefault((spec.method, *(getattr(spec, name) for name in by)), {}).setdefault(values, []).append(spec)
    result = []
    for (method, *key), by_values in sorted(runs.items()):
        finished = {
            values: _by_fold(specs, scores)
            for values, specs in sorted(by_values.items())
            if all(spec.id in scores for spec in specs)
        }
        if not finished:
            continue
        best = max(finished, key=lambda values: statistics.fmean(finished[values]))
        own = [values for values in finished if {spec.id for spec in by_values[values]} & {*defaults}]
        if own and (error := _error(map(operator.sub, finished[best], finished[own[0]]))) is not None:
            gain = statistics.fmean(finished[best]) - statistics.fmean(finished[own[0]])
            best = best if gain > error else own[0]
        default = statistics.fmean(finished[own[0]]) if own else None
        score, chosen = (
            statistics.fmean(finished[best]),
            dict(zip(tried.axes(methods.entry(method)), best, strict=True)),
        )
        where = dict(zip(by, key, strict=True))
        result.append(Choice(method, chosen, score, default, len(finished), _error(finished[best]), where))
    if not result:
        raise BenchmarkError("no setting was finished everywhere it was tried, so nothing can be chosen")
    return result


def _by_fold(specs: Sequence[Spec], scores: Mapping[str, float]) -> list[float]:
    """Mean scores of one setting, fold by fold."""
    folds: dict[str, list[float]] = {}
    for spec in sorted(specs, key=lambda spec: (spec.fold, spec.id)):
        folds.setdefault(spec.fold, []).append(scores[spec.id])
    return [statistics.fmean(values) for values in folds.values()]


def _error(values: Iterable[float]) -> float | None:
    """Standard error of a mean; None of one value."""
    values = list(values)
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _value(spec: Spec, key: str) -> Any:
    if key in Spec.model_fields:
        return getattr(spec, key)
    # A hyper-parameter that came later is left out of a spec at its default.
    return spec.params.get(key, methods.entry(spec.method).defaults[key])


def write_choice(path: Path, choices: Sequence[Choice], command: str) -> list[str]:
    """Write the chosen settings, each with the command that chose it; what was chosen before and not now is kept.

    Returns:
        A line for each method whose earlier settings were others.
    """
    settings, reasons = read_tuned(path) if path.exists() else {}, read_reasons(path)
    replaced = []
    for choice in choices:
        name, where = choice.method, choice.where
        for before in settings.get(name, ()):
            if before.where == where and before.values != choice.values:
                replaced.append(f"{_named(choice)}: {_listed(choice.values)} replaces {_listed(before.values)}")
        scores = {
            "validation_map_at_r": choice.score,
            "standard_error": choice.error,
            "validation_map_at_r_default": choice.default,
        }
        rounded = {key: round(score, 4) for key, score in scores.items() if score is not None}
        reason = {"by": command, **rounded, "values_finished": choice.finished}
        for kept, values in ((settings, choice.values), (reasons, reason)):
            # What was chosen by other fields gives way: of two choices for one run, neither would be the one.
            others = [old for old in kept.get(name, ()) if old.where.keys() == where.keys() and old.where != where]
            kept[name] = [*others, Tuned(values, where)]
    write_tuned(path, settings, reasons)
    return replaced


def choice_table(choices: Sequence[Choice], tried: Grid | RandomTrials) -> Table:
    """The choice, for people; a value at the edge of what was tried may not be the best there is."""
    table = Table("method", "chosen", "MAP@R %", "of the default %", "", title="chosen on held-out training classes")
    for choice in choices:
        axes = tried.axes(methods.entry(choice.method))
        edges = [key for key, axis in axes.items() if at_edge(choice.values[key], axis)]
        note = f"at the edge of what was tried of {', '.join(edges)}: widen it" if edges else ""
        score = f"{100 * choice.score:.2f}" + ("" if choice.error is None else f" ± {100 * choice.error:.2f}")
        default = "" if choice.default is None else f"{100 * choice.default:.2f}"
        table.add_row(_named(choice), _listed(choice.values), score, default, note)
    return table


def _named(choice: Choice) -> str:
    return choice.method + (f" ({_listed(choice.where)})" if choice.where else "")


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
