"""The settings that `benchmark tune` tries."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from scipy.stats import qmc

from .. import methods
from ..errors import BenchmarkError, UsageError
from ..spec import Scalar, derive
from ..tuned import Settings
from .grid import parse_scalar
from .presets import Axis, Preset, Range, Tuning

DRAWN, ROUND = 4, 2  # trials of a guided search that are drawn, and those of each round after them
Sampler = Literal["random", "tpe"]
DIGITS = 3  # significant ones of a drawn number


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
    rate for all of them, whatever else is searched and however many trials there are. The draws of a key are spread evenly over its
    range: the first two lie in different halves of it, the first four in different quarters.
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
        count, own = self.trials - 1, _own(entry)
        drawn = {key: draws(axis, derive(self.seed, "search", key), count) for key, axis in self.shared.items()}
        drawn |= {key: draws(axis, derive(self.seed, "search", entry.name, key), count) for key, axis in own.items()}
        return [{}, *({key: values[t] for key, values in drawn.items()} for t in range(count))]


@dataclass(frozen=True)
class GuidedTrials(RandomTrials):
    """Trials of which the first `DRAWN` are those of `RandomTrials`, and each later one lies where scores so far are best.

    By the tree-structured Parzen estimator of Bergstra et al., NeurIPS 2011, as optuna has it; each method has a search of its own. Trials
    come in rounds of `ROUND`, so that students of several train in lockstep. All that a trial depends on are the seed and the scores of
    the rounds before: a search that was stopped goes on from its records.

    Args:
        scored: by method, the settings of the rounds so far with their scores, in the order of the trials; None of one that failed.
    """

    scored: Mapping[str, Sequence[tuple[Settings, float | None]]] = field(default_factory=dict)
    begun: int = DRAWN  # trials of the rounds so far and of the one that comes

    def variants(self, entry: methods.Entry) -> list[Settings]:
        """The settings of the rounds so far and of the one that comes, trial by trial."""
        drawn, scored = super().variants(entry), self.scored.get(entry.name, ())
        scores = {tuple(settings.items()): score for settings, score in scored}
        result = drawn[:DRAWN]
        for t in range(DRAWN, min(self.begun, self.trials)):
            # The first is the preset's own setting, whose values its runs have.
            before = [*(settings for settings, _ in scored[:1]), *result[1 : t - (t - DRAWN) % ROUND]]
            known = [(each, score) for each in before if (score := scores.get(tuple(each.items()))) is not None]
            seed = derive(self.seed, "tpe", t, entry.name)
            result.append(_suggested(self.axes(entry), known, seed) if known else drawn[t])
        return result

    def after(self, scored: Mapping[str, Sequence[tuple[Settings, float | None]]]) -> GuidedTrials:
        """The search with one round more."""
        return replace(self, scored=scored, begun=self.begun + ROUND)


def _suggested(axes: Mapping[str, Axis], known: Sequence[tuple[Settings, float]], seed: int) -> Settings:
    """The setting that promises most, by those whose scores are known; one with a value beyond the axes is left out of account."""
    optuna = _optuna()
    forms = {
        key: optuna.distributions.FloatDistribution(axis.low, axis.high, log=True)
        if isinstance(axis, Range)
        else optuna.distributions.CategoricalDistribution(axis)
        for key, axis in axes.items()
    }
    sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, score in known:
        if all(_within(axes[key], value) for key, value in settings.items()):
            study.add_trial(optuna.trial.create_trial(params=settings, distributions=forms, value=score))
    promising = study.ask(forms).params
    return {key: _rounded(axis, promising[key]) for key, axis in axes.items()}


def _within(axis: Axis, value: Scalar) -> bool:
    return axis.low <= float(value) <= axis.high if isinstance(axis, Range) else value in axis


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        extra = "pip install 'embedding-distillation-benchmark[search]'"
        raise UsageError(f"--sampler tpe wants optuna, which is not installed: {extra}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def asked(
    grid: Sequence[str],
    trials: int | None,
    seed: int,
    preset: Preset,
    sampler: Sampler = "random",
    usual: Sequence[str] = Tuning().grid,
) -> tuple[Grid | RandomTrials, dict[str, object]]:
    """The candidates that the words of `tune` ask for, and the option that asks for it, for the record.

    By default a search where the preset has a space for one, else the grid `usual`.

    Raises:
        UsageError: both are asked for, or what cannot be had.
    """
    if grid and trials is not None:
        raise UsageError("--grid and --trials exclude each other")
    if trials is not None and trials < 1:
        raise UsageError(f"--trials wants at least 1, not {trials}")
    if sampler != "random" and (grid or not preset.search):
        raise UsageError(f"--sampler {sampler} is for a [search] of a preset, and not for a grid")
    if trials is not None and not preset.search:
        raise UsageError(f"preset {preset.name!r} has no [search] for --trials to draw from; use --grid")
    if grid or not preset.search:
        texts = tuple(grid) or tuple(usual)
        return Grid(parse_grid(texts)), {"--grid": texts}
    trials = preset.tuning.trials if trials is None else trials
    if sampler == "tpe":
        _optuna()  # before anything is trained
        return GuidedTrials(preset.search, seed, trials), {"--trials": trials, "--sampler": sampler}
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


def draws(axis: Axis, seed: int, count: int) -> list[Scalar]:
    """Draw values of an axis, spread evenly over it, by a scrambled van der Corput sequence in base 2: fewer draws are the first of more.

    Numbers of a range are log-uniform, with three significant digits, so that specs and TOML read well; choices are uniform.
    """
    points = qmc.Halton(1, rng=seed).random(count)[:, 0]
    if isinstance(axis, Range):
        return [_rounded(axis, axis.low * (axis.high / axis.low) ** point) for point in points]
    return [axis[int(point * len(axis))] for point in points]


def _rounded(axis: Axis, value: Scalar) -> Scalar:
    """A number of a range to three significant digits, within it; a choice as it is."""
    return min(max(float(f"{value:.{DIGITS}g}"), axis.low), axis.high) if isinstance(axis, Range) else value


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


def tune_command(options: Mapping[str, object]) -> str:
    """The command line of these options, to be recorded. One that is None is left out; one of several values is repeated."""
    words = ["python", "-m", "benchmark", "tune"]
    for option, given in options.items():
        values = given if isinstance(given, tuple) else () if given is None else (given,)
        for value in values:
            words += [option, str(value)]
    return shlex.join(words)
