"""The command that makes runs again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from ..spec import ENSEMBLE, Spec
from ..zoo import TEACHER_VECTORS, VECTORS


def command(
    specs: Sequence[Spec], preset: str, *, teacher: bool = False, apart: Mapping[str, str] | None = None
) -> str:
    """The `run` that gives these runs of one method, and of no other than the teacher.

    Args:
        teacher: whether they are the preset's teacher, which every run of the preset makes.
        apart: what was set for them and not for others of their name.
    """
    first = specs[0]
    words = ["python", "-m", "benchmark", "run", *_source(first), "--preset", preset]
    if first.subset:
        words += ["--subset", first.subset]
    if teacher:
        return shlex.join(words)
    if first.method == ENSEMBLE:
        words += ["--methods", first.members[0].method, "--generations", str(len(first.members))]
    elif first.generation:
        words += ["--methods", first.method, "--generations", str(max(spec.generation for spec in specs))]
    else:
        words += ["--methods", first.method]
        if first.method != "features":
            words += ["--dims", _list(spec.dim for spec in specs)]
    words += ["--seeds", _list(spec.seed for spec in specs)]
    if first.steps:
        words += ["--steps", _list(spec.steps for spec in specs)]
    for name, value in (apart or {}).items():
        words += ["--set", f"{name}={value}" if name.startswith("teacher.") else f"{first.method}.{name}={value}"]
    return shlex.join(words)


def _source(spec: Spec) -> list[str]:
    if spec.backbone in (VECTORS, TEACHER_VECTORS):
        return ["--features", "FILE"]
    return ["--dataset", f"path/to/{spec.dataset}" if spec.data else spec.dataset]


def _list(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(values))))
