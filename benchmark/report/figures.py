"""Figures from records, as SVG: the same bytes from the same records and the same matplotlib."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..costs import Costs
from ..store import Record
from .cells import OF_ANY_DIM, ROLES, Cell
from .comparison import Comparison
from .cost_table import price
from .stats import FEW_SEEDS, Summary, summarise
from .style import (
    COLOURS,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    MARKERS,
    MOST,
    REFERENCE_STYLES,
    STYLES,
    across,
    beside,
    canvas,
    curve,
    family_legend,
    legible,
    pareto,
    plain,
    recall_label,
    seed_dots,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3  # numbers of steps that make a curve


def figures(compared: Comparison, tuned: Sequence[Record] = (), costs: Costs | None = None) -> dict[str, str]:
    """Those for which there is something to draw, by name."""
    found = {
        "dimension": dimension_figure(compared),
        "differences": differences_figure(compared),
        "cost": cost_figure(compared, costs),
        "steps": steps_figure(compared),
        "curves": curves_figure(tuned),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def dimension_figure(compared: Comparison) -> str | None:
    """Recall@1 against dimension, the teacher as a line across; None for a single dimension.

    As many methods of each kind as can be told apart, the best first; the table has all. Bars: 95 % interval; dots: seeds, of fewer
    than six.
    """
    students = [cell for cell in compared.candidates if cell.row.steps == compared.usual_steps]
    rows = [row for row in compared.rows if sum(cell.row == row for cell in students) > 1]
    chosen = legible(rows, lambda row: [cell for cell in students if cell.row == row])
    if not chosen:
        return None
    dims = sorted({cell.dim for cell in students if cell.row in chosen})
    across_it = [cell for cell in compared.cells if cell.row.role in REFERENCE_STYLES and cell.row.role in OF_ANY_DIM]
    labels = [plain(compared.name(row)) for row in chosen]
    with canvas(5.8, beside(3.8, labels, len(across_it))) as (figure, done):
        axes = figure.subplots()
        for number, row in enumerate(chosen):
            cells = [cell for cell in students if cell.row == row]
            colour = COLOURS[number % len(COLOURS)]
            # Side by side: bars of equal dimension would hide each other.
            shift = 2 ** (0.028 * (number - (len(chosen) - 1) / 2))
            summaries = [summarise(list(cell.recall.values())) for cell in cells]
            axes.errorbar(
                [cell.dim * shift for cell in cells],
                [one.mean for one in summaries],
                yerr=[one.half if one.half is not None and one.n >= FEW_SEEDS else 0.0 for one in summaries],
                label=labels[number],
                color=colour,
                linestyle=STYLES[row.role],
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                linewidth=1.4,
                elinewidth=0.8,
            )
            for cell in cells:
                seed_dots(axes, [cell.dim * shift] * len(cell.recall), list(cell.recall.values()), colour)
        for cell in across_it:
            across(axes, cell, f"{ROLES[cell.row.role]}, d = {cell.dim}")
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.minorticks_off()
        axes.set_xlabel("embedding dimension d")
        axes.set_ylabel(recall_label(compared))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return done()


def differences_figure(compared: Comparison) -> str | None:
    """A forest plot: paired differences of Recall@1 to the baseline with their 95 % intervals, a panel a dimension."""
    cells = [
        cell
        for cell in compared.trained
        if compared.difference(cell) is not None and cell.row.steps == compared.usual_steps
    ]
    if not cells:
        return None
    dims = sorted({cell.dim for cell in cells})
    rows = sorted({cell.row for cell in cells}, key=lambda row: row.order)
    lines = sum(plain(compared.name(row)).count("\n") + 1 for row in rows)
    with canvas(1.9 + 1.9 * len(dims), 0.9 + 0.2 * lines) as (figure, done):
        panels: Sequence[Axes] = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
        for axes, dim in zip(panels, dims, strict=True):
            for height, row in enumerate(rows):
                cell = compared.at(row, dim)
                found = None if cell is None else compared.difference(cell)
                if cell is None or found is None:
                    continue
                colour, other = FAMILY_COLOURS[row.role], compared.baseline_of(cell)
                if found.summary.half is not None:
                    axes.plot(
                        [found.summary.mean - found.summary.half, found.summary.mean + found.summary.half],
                        [height, height],
                        color=colour,
                        linewidth=1.2,
                    )
                axes.plot([found.summary.mean], [height], FAMILY_MARKERS[row.role], color=colour, markersize=4.5)
                if other is not None:
                    common = sorted(cell.recall.keys() & other.recall.keys())
                    points = [cell.recall[seed] - other.recall[seed] for seed in common]
                    seed_dots(axes, points, [height] * len(points), colour)
            axes.axvline(0, color="0.3", linewidth=0.8)
            axes.set_title(f"d = {dim}", fontsize=9)
        panels[0].set_yticks(range(len(rows)), [plain(compared.name(row)) for row in rows])
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.supxlabel(
            plain(f"{recall_label(compared).removesuffix(' [%]')} − {compared.baseline} [points]"), fontsize=9
        )
        family_legend(figure, rows)
    return done()


def cost_figure(compared: Comparison, costs: Costs | None) -> str | None:
    """Recall@1 against the bytes of an embedding, and against the latency of an image where it was measured, with Pareto fronts."""
    cells = [
        cell
        for cell in compared.cells
        if cell.row.role == "teacher"
        or cell.row.role == "posthoc"
        or (cell.row.trained and cell.row.steps == compared.usual_steps)
    ]
    if len({cell.dim for cell in cells}) < 2:
        return None
    prices = {cell: price(cell, costs) for cell in cells}
    measured = all(found.latency is not None for found in prices.values())
    with canvas(8.2 if measured else 4.8, 3.6) as (figure, done):
        panels: Sequence[Axes] = figure.subplots(1, 1 + measured, sharey=True, squeeze=False)[0]
        pareto(panels[0], {cell: float(prices[cell].embedding) for cell in cells})
        panels[0].set_xscale("log", base=2)
        sizes = sorted({prices[cell].embedding for cell in cells})
        panels[0].set_xticks(sizes, [str(size) for size in sizes], rotation=30)
        panels[0].minorticks_off()
        panels[0].set_xlabel("bytes of an embedding")
        panels[0].set_ylabel(recall_label(compared))
        if measured:
            pareto(panels[1], {cell: 1e3 * (prices[cell].latency or 0.0) for cell in cells})
            panels[1].set_xlabel("latency of one image [ms]")
            panels[1].set_xlim(left=0)
        family_legend(figure, [cell.row for cell in cells])
    return done()


def steps_figure(compared: Comparison) -> str | None:
    """Recall@1 against the number of training steps, one panel a dimension; None where too few numbers were tried.

    As many methods of each kind as can be told apart, the best first; the table has all.
    Each point is a run of that length with its own schedule, not a stop on the way.
    Bars: standard deviation over seeds; dots: seeds, of fewer than six.
    """
    lines: dict[int, dict[tuple[str, str], dict[int, list[float]]]] = {}
    for cell in compared.candidates:
        row = cell.row
        if row.steps:
            points = lines.setdefault(cell.dim, {}).setdefault((row.role, plain(compared.name(row))), {})
            points.setdefault(row.steps, []).extend(cell.recall.values())
    lines = {
        dim: kept
        for dim, found in sorted(lines.items())
        if (kept := {name: points for name, points in found.items() if len(points) >= FEWEST})
    }
    if not lines:
        return None
    drawn: dict[tuple[str, str], list[Cell]] = {}
    for cell in compared.candidates:
        name = cell.row.role, plain(compared.name(cell.row))
        if name in lines.get(cell.dim, {}):
            drawn.setdefault(name, []).append(cell)
    first = {cells[0].row: name for name, cells in drawn.items()}
    names = sorted(first[row] for row in legible(list(first), lambda row: drawn[first[row]]))
    height = beside(3.6, [label for _, label in names], len(REFERENCE_STYLES))
    with canvas(1.6 + 4.2 * len(lines), height) as (figure, done):
        panels: Sequence[Axes] = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
        for axes, (dim, found) in zip(panels, lines.items(), strict=True):
            for number, name in enumerate(names):
                if name not in found:
                    continue
                steps = sorted(found[name])
                summaries = [summarise(found[name][step]) for step in steps]
                curve(axes, number, name, steps, summaries)
                for step in steps:
                    seed_dots(axes, [step] * len(found[name][step]), found[name][step], COLOURS[number % len(COLOURS)])
            for cell in compared.cells:
                if cell.row.role in REFERENCE_STYLES and (cell.row.role in OF_ANY_DIM or cell.dim == dim):
                    across(axes, cell, ROLES[cell.row.role])
            ticks = sorted({step for points in found.values() for step in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{step:,}" for step in ticks], rotation=30)
            axes.minorticks_off()
            axes.set_title(f"d = {dim}", fontsize=9)
            axes.set_xlabel("training steps")
        panels[0].set_ylabel(recall_label(compared))
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return done()


def curves_figure(tuned: Sequence[Record]) -> str | None:
    """MAP@R on validation classes on the way, of each method's best validation run at the dimension of most; None where no run was
    scored on the way.

    At a rate not yet annealed: how a run goes, not what a shorter one would give. Test classes are seen once, after the last step.
    """
    tuned = [record for record in tuned if "map@r" in record.metrics]
    dims = Counter(record.spec.dim for record in tuned if record.curve and record.spec.teacher is not None)
    usual = min(dims, key=lambda dim: (-dims[dim], dim), default=None)
    best: dict[str, Record] = {}
    for record in sorted((one for one in tuned if usual in (one.spec.dim, None)), key=lambda record: record.id):
        held = best.get(record.spec.method)
        if record.curve and (held is None or record.metrics["map@r"] > held.metrics["map@r"]):
            best[record.spec.method] = record
    taught = {record.spec.teacher.id for record in tuned if record.spec.teacher is not None}
    best = {name: record for name, record in best.items() if record.id not in taught}
    chosen = sorted(best, key=lambda name: -best[name].metrics["map@r"])[:MOST]
    if not chosen:
        return None
    labels = [plain(f"{name}-{best[name].spec.dim}") for name in chosen]
    with canvas(5.8, beside(3.6, labels)) as (figure, done):
        axes = figure.subplots()
        for number, name in enumerate(chosen):
            record = best[name]
            points = {
                point.step: metrics["map@r"]
                for point in record.curve
                if "map@r" in (metrics := point.evaluation.cosine if record.spec.normalize else point.evaluation.l2)
            } | {record.spec.steps: record.metrics["map@r"]}
            axes.plot(
                sorted(points),
                [100 * points[step] for step in sorted(points)],
                label=labels[number],
                color=COLOURS[number],
                marker=MARKERS[number],
                markersize=4,
                linewidth=1.4,
            )
        axes.set_xlabel("training steps")
        axes.set_ylabel("MAP@R on validation classes [%]")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return done()


def families_figure(found: Sequence[tuple[str, Summary, Sequence[float]]]) -> str:
    """A forest plot of relational minus individual methods: label, difference with its interval, and its seeds."""
    with canvas(5.8, 0.9 + 0.22 * len(found)) as (figure, done):
        axes = figure.subplots()
        for height, (_, summary, seeds) in enumerate(found):
            if summary.half is not None:
                axes.plot(
                    [summary.mean - summary.half, summary.mean + summary.half], [height, height], color=COLOURS[0]
                )
            axes.plot([summary.mean], [height], "o", color=COLOURS[0], markersize=4.5)
            seed_dots(axes, seeds, [height] * len(seeds), COLOURS[0])
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_yticks(range(len(found)), [plain(label) for label, _, _ in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel("relational − individual, Recall@1 [points]")
    return done()
