"""The command that makes runs again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError
from ..methods import catalogue, entry
from ..protocol.presets import OF_TEACHER
from ..protocol.request import Plan
from ..spec import ENSEMBLE, TEACHER_VECTORS, VECTORS, Spec

NOWHERE = Path("nowhere")  # a plan of runs reads no images


class Recipes:
    """The commands of one folder's runs: what the preset says, and by `--set` what it does not.

    Args:
        preset: the folder's.
        known: whether the catalogue and presets are those that the runs were made with; else commands have no `--set`.
    """

    def __init__(self, preset: str, *, known: bool = True) -> None:
        self.preset = preset
        self.known = known
        self._plans: dict[tuple[str, str], Plan | None] = {}
        self._found: dict[str, tuple[Any, ...]] = {}

    def command(self, specs: Sequence[Spec], *, parent: bool = False) -> str:
        """The `run` that gives these runs of one method, and of no other than their parents.

        Args:
            parent: whether they are the preset's teacher or trunk, which all of its runs make.
        """
        first = specs[0]
        words = ["python", "-m", "benchmark", "run", *words_of(first), "--preset", self.preset]
        if parent:
            return shlex.join(words)
        return shlex.join([*words, *_options(specs), *self._set(specs)])

    def _set(self, specs: Sequence[Spec]) -> tuple[str, ...]:
        """What must be set for the preset's runs to be these."""
        found = [self._difference(spec) for spec in specs]
        common = [one for one in found[0] if all(one in other for other in found)]
        return tuple(word for one in common for word in (one if isinstance(one, tuple) else ("--set", one)))

    def _difference(self, spec: Spec) -> tuple[Any, ...]:
        """What the preset's run of that name, dimension and seed is to be given; runs that differ in seeds alone differ alike."""
        one = spec if spec.generation or spec.method == ENSEMBLE else spec.replace(seed=0)
        if one.id not in self._found:
            self._found[one.id] = self._to_set(one)
        return self._found[one.id]

    def _to_set(self, spec: Spec) -> tuple[Any, ...]:
        plan = self._plan(spec) if self.known else None
        method = spec.members[0].method if spec.method == ENSEMBLE else spec.method
        if plan is None or not all(name in catalogue() for name in method.split("+")):
            return ()
        try:
            planned = plan.specs(
                methods=method,
                dims=None if spec.method == "features" or spec.generation or spec.method == ENSEMBLE else str(spec.dim),
                seeds=str(spec.seed),
                steps=str(spec.steps) if spec.steps else None,
                backbone=None,
                teacher=None,
                assignments=(),
                generations=len(spec.members) if spec.method == ENSEMBLE else spec.generation,
            )
        except BenchmarkError:
            return ()
        same = [one for one in planned if one.name == spec.name]
        if not same or any(one.id == spec.id for one in same):
            return ()
        other = min(same, key=lambda one: len(_changes(one, spec)))
        return tuple(_changes(other, spec))

    def _plan(self, spec: Spec) -> Plan | None:
        """Of a data set that the suite has: own data are known by their fingerprint, not by where they are."""
        key = spec.dataset, spec.subset
        if key not in self._plans:
            try:
                own = bool(spec.data) or spec.backbone in (VECTORS, TEACHER_VECTORS)
                self._plans[key] = None if own else Plan(
                    spec.dataset, self.preset, data=NOWHERE, mirror=None, results=NOWHERE, device="cpu", subset=spec.subset, dry=True
                )  # fmt: skip
            except BenchmarkError:
                self._plans[key] = None
        return self._plans[key]


def _changes(planned: Spec, wanted: Spec) -> list[Any]:
    """The words that make the planned run the wanted one; those of a student's backbone as an option."""
    found: list[Any] = []
    for name in type(wanted).model_fields:
        ours, theirs = getattr(planned, name), getattr(wanted, name)
        if ours == theirs or name in ("seed", "steps", "dim"):
            continue
        if name in OF_TEACHER and entry(wanted.method).kind == "posthoc":
            continue
        if name == "backbone":
            found.append(("--backbone", theirs))
        elif name == "params":
            found += [
                f"{wanted.method}.{key}={_text(value)}" for key, value in theirs.items() if ours.get(key) != value
            ]
        elif name == "teacher":
            if ours is not None and theirs is not None:
                found += _teacher(ours, theirs)
        elif name != "trunk":
            found.append(f"{wanted.method}.{name}={_text(theirs)}")
    return found


def _teacher(planned: Spec, wanted: Spec) -> list[Any]:
    fields = ((name, getattr(planned, name), getattr(wanted, name)) for name in type(wanted).model_fields)
    return [
        f"teacher.{name}={_text(theirs)}"
        for name, ours, theirs in fields
        if ours != theirs and name not in ("params", "teacher", "trunk")
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _options(specs: Sequence[Spec]) -> list[str]:
    """Method, dimensions, seeds and steps."""
    first = specs[0]
    if first.method == ENSEMBLE:
        words = ["--methods", first.members[0].method, "--generations", str(len(first.members))]
    elif first.generation:
        words = ["--methods", first.method, "--generations", str(max(spec.generation for spec in specs))]
    else:
        words = ["--methods", first.method]
        if first.method != "features":
            words += ["--dims", _list(spec.dim for spec in specs)]
    words += ["--seeds", _list(spec.seed for spec in specs)]
    if first.steps:
        words += ["--steps", _list(spec.steps for spec in specs)]
    return words


def words_of(spec: Spec) -> list[str]:
    """The options that name a run's data."""
    if spec.backbone in (VECTORS, TEACHER_VECTORS):
        words = ["--features", "FILE", "..."]
    else:
        words = ["--dataset", f"path/to/{spec.dataset}" if spec.data else spec.dataset]
    return words + (["--subset", spec.subset] if spec.subset else [])


def _list(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(values))))
