"""From validation runs to the settings that a preset uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .store import Record, write_atomically

CRITERION = "map@r"


def choose(records: Sequence[Record], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By method, the values of `keys` with the best MAP@R on held-out training classes, and that score.

    Ties go to the first of the grid's order by value. Records of several dimensions or variants of one method count together, by mean.

    Args:
        records: of the candidates; the teacher's is not one.

    Raises:
        BenchmarkError: no validation run is left.
    """
    scores: dict[str, dict[tuple[Any, ...], list[float]]] = {}
    for record in records:
        if record.spec.evaluation != "validation":
            raise ValueError(f"{record.id} was scored on {record.spec.evaluation} classes")
        values = tuple(
            getattr(record.spec, key) if hasattr(record.spec, key) else record.spec.params[key] for key in keys
        )
        scores.setdefault(record.spec.method, {}).setdefault(values, []).append(record.metrics[CRITERION])
    result = {}
    for method, by_values in sorted(scores.items()):
        means = {values: sum(found) / len(found) for values, found in sorted(by_values.items())}
        best = max(means, key=lambda values: means[values])
        result[method] = {**dict(zip(keys, best, strict=True)), "score": means[best], "tried": len(means)}
    if not result:
        raise BenchmarkError("no validation run was finished, so nothing can be chosen")
    return result


def write_choice(path: Path, choice: dict[str, dict[str, Any]], command: str) -> list[str]:
    """Write the chosen settings as TOML, each with the command that chose it; methods chosen before and not now are kept.

    Returns:
        A line for each method whose earlier settings were others.
    """
    import tomllib

    before = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {"method": {}, "chosen": {}}
    settings, chosen = before["method"], before["chosen"]
    replaced = []
    for method, values in choice.items():
        values = dict(values)
        score, tried = values.pop("score"), values.pop("tried")
        if settings.get(method, values) != values:
            replaced.append(f"{method}: {_listed(values)} replaces {_listed(settings[method])}")
        settings[method] = values
        chosen[method] = {"by": command, "validation_map_at_r": round(score, 4), "values_finished": tried}
    lines = [
        "# Written by `benchmark tune`: what did best, by MAP@R, on held-out training classes. Settings first, then how they were chosen."
    ]
    for title, tables in (("method", settings), ("chosen", chosen)):
        for method, values in sorted(tables.items()):
            lines += ["", f"[{title}.{method}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    write_atomically(path, "\n".join(lines) + "\n")
    return replaced


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)
