"""The choice among what `benchmark tune` tried, by runs on validation classes."""

from __future__ import annotations

import itertools
import operator
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from .. import methods
from ..errors import BenchmarkError
from ..record import Record
from ..spec import Spec
from ..tuned import Settings, Tuned, read_reasons, read_tuned, write_tuned
from .presets import Axis, Range
from .tuning import Grid, RandomTrials

CRITERION = "map@r"
Values = tuple[Any, ...]  # of what is tried, by axis
MARGIN = 0.05  # a choice within this part of its range from an end, in log scale, may not be the best there is


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
    settled: int = 1  # number of settings tried before the final choice stopped changing


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
    scores = _scores(records, tried, planned, by)
    owns = {_key(spec, by): _values(spec, tried) for spec in planned if spec.id in defaults}
    result = []
    for (method, *key), by_values in sorted(scores.items()):
        finished = {values: folds for values, folds in by_values.items() if folds is not None}
        if not finished:
            continue
        own = owns.get((method, *key))
        best = _best(finished, own)
        earlier = [_best(dict(itertools.islice(finished.items(), count)), own) for count in range(1, len(finished))]
        settled = 1 + max((count for count, choice in enumerate(earlier, 1) if choice != best), default=0)
        result.append(
            Choice(
                method,
                _settings(method, best, tried),
                statistics.fmean(finished[best]),
                statistics.fmean(finished[own]) if own in finished else None,
                len(finished),
                _error(finished[best]),
                dict(zip(by, key, strict=True)),
                settled,
            )
        )
    if not result:
        raise BenchmarkError("no setting was finished everywhere it was tried, so nothing can be chosen")
    return result


def scored(
    records: Sequence[Record], tried: Grid | RandomTrials, planned: Sequence[Spec]
) -> dict[str, list[tuple[Settings, float | None]]]:
    """By method, each setting with its mean score over folds, in the order in which they are tried; None where a run of it failed."""
    return {
        method: [
            (_settings(method, values, tried), None if folds is None else statistics.fmean(folds))
            for values, folds in by_values.items()
        ]
        for (method,), by_values in _scores(records, tried, planned).items()
    }


def _scores(
    records: Sequence[Record], tried: Grid | RandomTrials, planned: Sequence[Spec], by: Sequence[str] = ()
) -> dict[tuple[Any, ...], dict[Values, list[float] | None]]:
    """By method and what there is a choice by, the mean scores of each setting, fold by fold; None where a run of it failed."""
    for record in records:
        if record.spec.evaluation != "validation":
            raise ValueError(f"{record.id} was scored on {record.spec.evaluation} classes")
    scores = {record.id: record.metrics[CRITERION] for record in records}
    runs: dict[tuple[Any, ...], dict[Values, list[Spec]]] = {}
    for spec in planned:
        runs.setdefault(_key(spec, by), {}).setdefault(_values(spec, tried), []).append(spec)

    def folds(specs: Sequence[Spec]) -> list[float] | None:
        if any(spec.id not in scores for spec in specs):
            return None
        ordered = sorted(specs, key=lambda spec: (spec.fold, spec.id))
        parts = itertools.groupby(ordered, key=lambda spec: spec.fold)
        return [statistics.fmean(scores[spec.id] for spec in part) for _, part in parts]

    return {key: {values: folds(specs) for values, specs in own.items()} for key, own in runs.items()}


def _key(spec: Spec, by: Sequence[str]) -> tuple[Any, ...]:
    return spec.method, *(getattr(spec, name) for name in by)


def _values(spec: Spec, tried: Grid | RandomTrials) -> Values:
    entry = methods.entry(spec.method)
    # A hyper-parameter that came later is left out of a spec at its default.
    known = {**entry.defaults, **spec.params, **dict(spec)}
    return tuple(known[key] for key in tried.axes(entry))


def _settings(method: str, values: Values, tried: Grid | RandomTrials) -> Settings:
    return dict(zip(tried.axes(methods.entry(method)), values, strict=True))


def _best(finished: Mapping[Values, Sequence[float]], own: Values | None) -> Values:
    """The setting that did best over folds; the preset's `own` where it is among them and nothing is surely better."""
    best = max(sorted(finished), key=lambda values: statistics.fmean(finished[values]))
    if own is None or own not in finished:
        return best
    gains = [*map(operator.sub, finished[best], finished[own])]
    error = _error(gains)
    return best if error is None or statistics.fmean(gains) > error else own


def _error(values: Sequence[float]) -> float | None:
    """Standard error of a mean; None of one value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


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
        reason = {"by": command, **rounded, "values_finished": choice.finished, "settled_after": choice.settled}
        for kept, values in ((settings, choice.values), (reasons, reason)):
            # What was chosen by other fields gives way: of two choices for one run, neither would be the one.
            others = [old for old in kept.get(name, ()) if old.where.keys() == where.keys() and old.where != where]
            kept[name] = [*others, Tuned(values, where)]
    write_tuned(path, settings, reasons)
    return replaced


def choice_table(choices: Sequence[Choice], tried: Grid | RandomTrials) -> Table:
    """The choice, for people; a value at the edge of what was tried may not be the best there is."""
    table = Table(
        "method",
        "chosen",
        "MAP@R %",
        "MAP@R % of the preset's own",
        "note",
        title="chosen on held-out training classes",
    )
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


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
