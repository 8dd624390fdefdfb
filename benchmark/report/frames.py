"""`runs.csv`, `comparison.csv` and `tuning.csv`: the same bytes from the same records.

Nothing here reads a clock, a path or another run's files. Columns keep the values as they are (`object`): where a line lacks one, pandas
would make fractions of the whole numbers of the others.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..store import Geometry, Metrics, Record
from .cells import Cell, Row, fixed, plain, settings, varied
from .comparison import Comparison
from .families import Families, Pool

if TYPE_CHECKING:
    import pandas as pd


def frame(compared: Comparison) -> pd.DataFrame:
    """A row a run: what it is, all its settings, and all it measured. Metrics in percent, missing values empty."""
    import pandas as pd

    roles = compared.roles

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        row = Row(roles[record.id], spec.name, spec.backbone, spec.hidden, spec.normalize, spec.steps, "")
        return *row.order, spec.dim, spec.seed, record.id

    def asymmetric(record: Record) -> float | None:
        return 100 * record.asymmetric_metrics["recall@1"] if record.asymmetric_metrics else None

    def line(record: Record) -> dict[str, Any]:
        spec, found = record.spec, record.evaluation
        first = {
            "role": roles[record.id],
            "method": spec.method,
            "kind": compared.kinds.get(spec.method, "other"),
            "backbone": spec.backbone,
            "dim": spec.dim,
            "l2": plain(spec.normalize),
            "teacher": spec.teacher.id if spec.teacher else "",
            "seed": spec.seed,
            "steps": spec.steps,
            "params": json.dumps(spec.params, sort_keys=True) if spec.params else "",
        }
        rest = {name: plain(value) for name, value in spec if name not in {*first, "normalize"}}
        return {
            **first,
            **{f"{name} [px]" if name in ("resize", "image") else name: value for name, value in rest.items()},
            "loss": None if record.loss is None else float(f"{record.loss:.4g}"),
            "distance": "cosine" if spec.normalize else "L2",
            **_percent(record.metrics, ""),
            **_percent(found.l2, "L2 "),
            **_percent(found.cosine, "cosine "),
            **({"asymmetric recall@1 [%]": asymmetric(record)} if compared.asymmetric else {}),
            "queries": found.queries,
            "dropped": found.dropped,
            "gallery": found.gallery,
            "parameters": record.parameters,
            **{f"{name} [s]": record.seconds.get(name) for name in ("train", "evaluate")},
            **_geometry(record),
            "fingerprint": record.data,
            "code": record.environment.get("code", ""),
            "id": record.id,
        }

    return pd.DataFrame([line(record) for record in sorted(compared.records, key=order)], dtype=object)


def _geometry(record: Record) -> dict[str, float | None]:
    found = record.geometry
    return {name.replace("_", " "): None if found is None else getattr(found, name) for name in Geometry.model_fields}


def _percent(metrics: Metrics, prefix: str) -> dict[str, float]:
    def order(name: str) -> tuple[bool, int, str]:
        return (False, int(name.split("@")[1]), "") if name.startswith("recall@") else (True, 0, name)

    return {f"{prefix}{name} [%]": 100 * metrics[name] for name in sorted(metrics, key=order)}


def comparison(compared: Comparison) -> pd.DataFrame:
    """A row a method and dimension: means over seeds, their spread, and the difference to the baseline; then the families as one."""
    import pandas as pd

    lines = [_cell(cell, compared) for cell in compared.cells]
    families = Families(compared)
    for pool in families.pools:
        lines += [_pool(pool, dim) for dim in sorted(pool.recall)]
    return pd.DataFrame(lines, dtype=object)


def _cell(cell: Cell, compared: Comparison) -> dict[str, Any]:
    row, recall, others = cell.row, cell.summary("recall@1"), [*compared.recalls[1:], "map@r"]
    difference = compared.difference(cell)
    off = None if difference is None else difference.summary
    means = {name: cell.summary(name) for name in others}
    asymmetric = cell.asymmetric
    geometry = {
        name: cell.over_seeds(lambda record, name=name: record.geometry and getattr(record.geometry, name))  # type: ignore[misc]
        for name in Geometry.model_fields
        if any(record.geometry for record in compared.records)
    }
    return {
        "role": row.role,
        "method": row.method,
        "settings": row.settings,
        "backbone": row.backbone,
        "hidden": row.hidden,
        "dim": cell.dim,
        "l2": plain(row.l2),
        "distance": row.distance,
        "steps": row.steps,
        "seeds": len(cell.recall),
        "recall@1 mean [%]": recall and recall.mean,
        "recall@1 sd [points]": recall and recall.sd,
        "recall@1 95% half-width [points]": recall and recall.half,
        **{f"{name} mean [%]": summary and summary.mean for name, summary in means.items()},
        f"recall@1 minus {compared.baseline} [points]": off and off.mean,
        "difference 95% half-width [points]": off and off.half,
        "difference seeds": off.n if off else 0,
        "difference p (Holm)": difference and difference.p,
        **({"asymmetric recall@1 mean [%]": asymmetric and asymmetric.mean} if compared.asymmetric else {}),
        **{f"{name.replace('_', ' ')} mean": summary and summary.mean for name, summary in geometry.items()},
        "train [s]": cell.seconds,
        "flags": compared.flags(cell),
    }


def _pool(pool: Pool, dim: int) -> dict[str, Any]:
    found = pool.at(dim)
    assert found is not None
    return {
        "role": f"{pool.role} family",
        "method": pool.label,
        "settings": "; ".join(row.label for row in pool.rows),
        "backbone": pool.backbone,
        "dim": dim,
        "steps": pool.steps,
        "seeds": found.n,
        "recall@1 mean [%]": found.mean,
        "recall@1 sd [points]": found.sd,
        "recall@1 95% half-width [points]": found.half,
        "difference seeds": 0,
    }


def tuning(records: Iterable[Record]) -> pd.DataFrame:
    """A row a validation run and evaluated step: what was varied, and what it gave on held-out training classes."""
    import pandas as pd

    by_method: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_method[record.spec.method].append(record)
    always = {"method", "backbone", "dim", "normalize", "lr"}
    tried = sorted(set().union(*(varied(list(map(settings, runs))) for runs in by_method.values())) - always)

    def order(record: Record) -> tuple[Any, ...]:
        spec = record.spec
        return spec.method, spec.backbone, spec.dim, not spec.normalize, spec.lr, spec.seed, record.id

    lines = []
    for record in sorted((record for runs in by_method.values() for record in runs), key=order):
        spec, found_settings = record.spec, settings(record)
        points = {point.step: point.evaluation for point in record.curve} | {spec.steps: record.evaluation}
        for step, found in sorted(points.items()):
            metrics = found.cosine if spec.normalize else found.l2
            lines.append(
                {
                    "method": spec.method,
                    "backbone": spec.backbone,
                    "dim": spec.dim,
                    "l2": plain(spec.normalize),
                    "lr": spec.lr,
                    **{name: found_settings.get(name, "") for name in tried},
                    "seed": spec.seed,
                    "step": step,
                    "recall@1 [%]": 100 * metrics["recall@1"],
                    "map@r [%]": 100 * metrics["map@r"],
                    "id": record.id,
                }
            )
    return pd.DataFrame(lines, dtype=object)


def csv(table: pd.DataFrame) -> str:
    """With the decimals that a column's unit asks for: percent and points 2, seconds 1; what has no unit 4, p two digits."""
    table = table.copy()
    for name in table.columns:
        digits = (
            2
            if name.endswith(("[%]", "[points]"))
            else 1
            if name.endswith("[s]")
            else 4
            if name.endswith(" mean")
            else None
        )
        if digits is not None:
            table[name] = ["" if value is None or value != value else fixed(value, digits) for value in table[name]]
        elif name.endswith("(Holm)"):
            table[name] = ["" if value is None or value != value else f"{value:.2g}" for value in table[name]]
    # So that a reader that only splits lines at commas finds the columns; of a stranger's record, any may be in a parameter's name.
    table.columns = [re.sub(r'[",\s]+', " ", name) for name in table.columns]
    return table.to_csv(index=False, lineterminator="\n")
