"""Figures from records, as SVG: the same bytes from the same records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .stats import summarise
from .tables import OF_ANY_DIM, ROLES, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3  # numbers of steps that make a curve
# Okabe and Ito's colours, which people who see colours differently tell apart; a line's style says its family as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: dict[str, Any] = {"baseline": ":", "individual": "--", "relational": "-", "mixed": (0, (5, 1, 1, 1))}
REFERENCE_STYLES = {"teacher": "-", "features": "-.", "untrained": (0, (1, 3))}
MARKERS = "osD^vPX"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "embedding-distillation-benchmark",
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def steps_figure(compared: Comparison) -> str | None:
    """Recall@1 against the number of training steps, one panel a dimension; None where too few numbers were tried.

    Each point is a run of that length with its own schedule, not a stop on the way. Bars: standard deviation over seeds.
    """
    lines: dict[int, dict[tuple[str, str], dict[int, list[float]]]] = {}
    for cell in compared.cells:
        row = cell.row
        if row.role in STYLES and row.steps:
            points = lines.setdefault(cell.dim, {}).setdefault((row.role, row.label), {})
            points.setdefault(row.steps, []).extend(cell.by_seed("recall@1").values())
    lines = {
        dim: kept
        for dim, found in sorted(lines.items())
        if (kept := {name: points for name, points in found.items() if len(points) >= FEWEST})
    }
    if not lines:
        return None
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.6 + 4.2 * len(lines), 3.6), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
        names = sorted({name for found in lines.values() for name in found})
        for axes, (dim, found) in zip(panels, lines.items(), strict=True):
            for number, name in enumerate(names):
                if name not in found:
                    continue
                steps = sorted(found[name])
                summaries = [summarise(found[name][step]) for step in steps]
                axes.errorbar(
                    steps,
                    [one.mean for one in summaries],
                    yerr=[one.sd or 0.0 for one in summaries],
                    label=name[1],
                    color=COLOURS[number % len(COLOURS)],
                    linestyle=STYLES[name[0]],
                    marker=MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
                    markersize=4,
                    linewidth=1.4,
                    elinewidth=0.8,
                )
            _reference_lines(axes, compared, dim)
            ticks = sorted({step for points in found.values() for step in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{step:,}" for step in ticks], rotation=30)
            axes.minorticks_off()
            axes.set_title(f"d = {dim}", fontsize=9)
            axes.set_xlabel("training steps")
        panels[0].set_ylabel("Recall@1 [%]")
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _reference_lines(axes: Axes, compared: Comparison, dim: int) -> None:
    """What is not trained here, as lines across: the teacher, the frozen features, the student at step 0."""
    for cell in compared.cells:
        if cell.row.role in REFERENCE_STYLES and (cell.row.role in OF_ANY_DIM or cell.dim == dim):
            found = cell.summary("recall@1")
            if found is not None:
                style = REFERENCE_STYLES[cell.row.role]
                axes.axhline(found.mean, color="0.45", linewidth=1, linestyle=style, label=ROLES[cell.row.role])
