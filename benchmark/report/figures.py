"""Figures from records, as SVG: the same bytes from the same records and the same matplotlib."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..costs import Costs
from ..record import Record
from . import style
from .cells import OF_ANY_DIM, ROLES, Cell, Row
from .comparison import Comparison
from .cost_table import price
from .families import head_name
from .render import WORDS
from .stats import FEW_SEEDS, Summary, by_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 3  # numbers of steps that make a curve
CAPTIONS = {name: " ".join(words.split()) for name, words in WORDS["figures"].items()}


def figures(
    compared: Comparison, tuned: Sequence[Record] = (), costs: Costs | None = None, pdf: Path | None = None
) -> dict[str, str]:
    """Draw those for which there is something to draw, by name.

    Args:
        pdf: a folder that each is written to, as PDF.
    """
    drawings: dict[str, tuple[Callable[..., str | None], *tuple[Any, ...]]] = {
        "dimension": (dimension_figure, compared),
        "differences": (differences_figure, compared),
        "cost": (cost_figure, compared, costs),
        "steps": (steps_figure, compared),
        "curves": (curves_figure, tuned),
    }
    made = {name: draw(*given, pdf=pdf and pdf / f"{name}.pdf") for name, (draw, *given) in drawings.items()}
    return {name: svg for name, svg in made.items() if svg is not None}


def _recall(compared: Comparison) -> str:
    return "agreement with the teacher" if compared.agreement else "Recall@1"


@style.as_svg
def dimension_figure(compared: Comparison) -> Figure | None:
    """Recall@1 against dimension, a panel a head; None for a single dimension.

    As many methods of each kind as can be told apart, the best first; the table has all. Bars: 95 % interval; dots: seeds, of fewer
    than six.
    """
    students: dict[Row, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in compared.candidates:
        if cell.row.steps == compared.usual_steps:
            students[cell.row._replace(hidden=0)][cell.row.hidden or 0].append(cell)
    lines = {row: own for row, heads in students.items() if (own := {h: c for h, c in heads.items() if len(c) > 1})}
    chosen = style.legible(lines, lambda row: list(chain.from_iterable(lines[row].values())))
    if not chosen:
        return None
    heads = sorted({head for row in chosen for head in lines[row]})
    references = [
        cell for cell in compared.cells if cell.row.role in style.REFERENCE_STYLES and cell.row.role in OF_ANY_DIM
    ]
    labels = [style.wrapped(compared.name(row, head=False)) for row in chosen]
    figure = style.canvas(2.6 + 3.2 * len(heads), style.beside(3.8, labels, len(references)))
    panels: Sequence[Axes] = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    for axes, head in zip(panels, heads, strict=True):
        for number, row in enumerate(chosen):
            # Side by side: bars of equal dimension would hide each other.
            shift = 2 ** (0.028 * (number - (len(chosen) - 1) / 2))
            points = {cell.dim * shift: list(cell.recall.values()) for cell in lines[row].get(head, ())}
            look = style.LOOKS[row.role].line
            style.series(axes, number, labels[number], look, points, lambda s: s.half if s.n >= FEW_SEEDS else None)
        style.doubling(axes, sorted({cell.dim for row in chosen for cell in lines[row].get(head, ())}))
        axes.set_xlabel("embedding dimension d")
        if len(heads) > 1:
            axes.set_title(head_name(head), fontsize=9)
    style.across(panels, {cell: f"{ROLES[cell.row.role]} (d = {cell.dim})" for cell in references})
    panels[0].set_ylabel(f"{_recall(compared)} [%]")
    style.side_legend(figure, panels[-1])
    return figure


@style.as_svg
def differences_figure(compared: Comparison) -> Figure | None:
    """A forest plot: paired differences of Recall@1 to the baseline with their 95 % intervals, a panel a head and dimension.

    At each head the methods are in the order of their mean differences.
    """
    differences: dict[Row, dict[int, tuple[Summary, list[float]]]] = defaultdict(dict)
    for cell in compared.trained:
        difference, other = compared.difference(cell), compared.baseline_of(cell)
        if difference and other and cell.row.steps == compared.usual_steps and not cell.fixed_dim:
            differences[cell.row][cell.dim] = difference, by_pairs(cell.recall, other.recall)
    if not differences:
        return None
    dims = sorted({dim for by_dim in differences.values() for dim in by_dim})
    effect = {row: fmean(difference.mean for difference, _ in by_dim.values()) for row, by_dim in differences.items()}
    heads: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(differences, key=lambda row: (row.hidden or 0, -effect[row], row.order)):
        heads[row.hidden or 0].append(row)
    labels = {row: style.wrapped(compared.name(row, head=False)) for row in differences}
    tall = [sum(labels[row].count("\n") + 1 for row in rows) for rows in heads.values()]
    figure = style.canvas(1.9 + 1.9 * len(dims), 0.9 + 0.3 * len(heads) + 0.2 * sum(tall))
    grid = figure.subplots(
        len(heads), len(dims), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": tall}
    )
    for (head, rows), panels in zip(heads.items(), grid, strict=True):
        for axes, dim in zip(panels, dims, strict=True):
            for height, row in enumerate(rows):
                if dim in differences[row]:
                    style.interval(axes, height, *differences[row][dim], style.LOOKS[row.role], linewidth=1.2)
            axes.axvline(0, color="0.3", linewidth=0.8)
        style.named_lines(panels[0], [labels[row] for row in rows])
        if len(heads) > 1:
            panels[0].set_ylabel(head_name(head))
    for axes, dim in zip(grid[0], dims, strict=True):
        axes.set_title(f"d = {dim}", fontsize=9)
    figure.supxlabel(style.wrapped(f"{_recall(compared)} − {compared.baseline} [points]"), fontsize=9)
    style.family_legend(figure, differences)
    return figure


@style.as_svg
def families_figure(gaps: Sequence[tuple[str, Summary, Summary]]) -> Figure:
    """A forest plot of relational minus individual methods: label, difference with its interval of these methods, and of the kinds."""
    figure = style.canvas(5.8, 0.9 + 0.22 * len(gaps))
    axes = figure.subplots()
    for height, (_, these, kinds) in enumerate(gaps):
        style.interval(axes, height, kinds, (), style.Look("0.6", "o", "-"), linewidth=0.9)
        style.interval(axes, height, these, (), style.Look(style.COLOURS[0], "o", "-"), linewidth=2.2)
    axes.axvline(0, color="0.3", linewidth=0.8)
    style.named_lines(axes, [style.wrapped(label) for label, _, _ in gaps])
    axes.set_xlabel("relational − individual, Recall@1 [points]")
    style.key(
        figure, {"these methods": style.Look(style.COLOURS[0], "o", "-"), "families": style.Look("0.6", "o", "-")}
    )
    return figure


@style.as_svg
def cost_figure(compared: Comparison, costs: Costs | None) -> Figure | None:
    """Recall@1 against the bytes of an embedding, and against the latency of an image where it was measured, with Pareto fronts."""
    cells = [
        cell
        for cell in compared.cells
        if cell.row.role in ("teacher", "posthoc") or (cell.row.trained and cell.row.steps == compared.usual_steps)
    ]
    if len({cell.dim for cell in cells}) < 2:
        return None
    prices = {cell: price(cell, costs) for cell in cells}
    latencies = {cell: 1e3 * cost.latency for cell, cost in prices.items() if cost.latency is not None}
    measured = len(latencies) == len(cells)
    figure = style.canvas(8.2 if measured else 4.8, 3.6)
    panels: Sequence[Axes] = figure.subplots(1, 1 + measured, sharey=True, squeeze=False)[0]
    _pareto(panels[0], {cell: float(prices[cell].embedding) for cell in cells}, apart=0.09)
    style.doubling(panels[0], sorted({prices[cell].embedding for cell in cells}), rotation=30)
    panels[0].set(xlabel="bytes of an embedding", ylabel=f"{_recall(compared)} [%]")
    if measured:
        _pareto(panels[1], latencies)
        panels[1].set_xlabel("latency of one image [ms]")
    style.family_legend(figure, (cell.row for cell in cells))
    return figure


def _pareto(axes: Axes, x: Mapping[Cell, float], apart: float = 0.0) -> None:
    """Cells as points, and as a step line those that nothing beats at their price.

    Args:
        apart: doublings that the points of one kind are shifted against those of the next, where all have the same few prices.
    """
    y, roles = {cell: cell.mean for cell in x}, [role for role in style.LOOKS if any(c.row.role == role for c in x)]
    shifts = {role: 2 ** (apart * (number - (len(roles) - 1) / 2)) for number, role in enumerate(roles)}
    place = {cell: x[cell] * shifts[cell.row.role] for cell in x}
    for cell in x:
        look, size = style.LOOKS[cell.row.role], 9 if cell.row.role == "teacher" else 4.5
        axes.plot(
            [place[cell]], [y[cell]], look.marker, color=look.colour, markersize=size, alpha=0.8, markeredgewidth=0
        )
    front: list[Cell] = []
    for cell in sorted(x, key=lambda cell: (x[cell], -y[cell], cell.row.order)):
        if not front or y[cell] > y[front[-1]]:
            front.append(cell)
    steps = [place[cell] for cell in front], [y[cell] for cell in front]
    axes.step(*steps, where="post", color="0.3", linewidth=0.9, zorder=1)
    names = [cell.row.method if cell.row.role != "teacher" else "teacher" for cell in front]
    # Where a method holds the front over several prices, the last point has its name: there it ends.
    for cell, name, following in zip(front, names, [*names[1:], ""], strict=True):
        if name != following:
            at = place[cell], y[cell]
            axes.annotate(style.wrapped(name), at, textcoords="offset points", xytext=(5, -9), fontsize=7)


@style.as_svg
def steps_figure(compared: Comparison) -> Figure | None:
    """Recall@1 against the number of training steps, one panel a dimension; None where too few numbers were tried.

    As many methods of each kind as can be told apart, the best first; the table has all.
    Each point is a run of that length with its own schedule, not a stop on the way.
    Bars: standard deviation over seeds; dots: seeds, of fewer than six.
    """
    cells: dict[tuple[str, str], dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted(compared.candidates, key=lambda cell: cell.row.steps):
        if cell.row.steps:
            cells[cell.row.role, style.wrapped(compared.name(cell.row))][cell.dim].append(cell)
    cells = {
        name: kept
        for name, by_dim in cells.items()
        if (kept := {dim: own for dim, own in by_dim.items() if len({cell.row.steps for cell in own}) >= FEWEST})
    }
    if not cells:
        return None
    first = {next(iter(by_dim.values()))[0].row: name for name, by_dim in cells.items()}
    chosen = style.legible(first, lambda row: [cell for own in cells[first[row]].values() for cell in own])
    names = sorted(first[row] for row in chosen)
    dims = sorted({dim for by_dim in cells.values() for dim in by_dim})
    height = style.beside(3.6, [label for _, label in names], len(style.REFERENCE_STYLES))
    figure = style.canvas(1.6 + 4.2 * len(dims), height)
    panels: Sequence[Axes] = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
    for axes, dim in zip(panels, dims, strict=True):
        for number, name in enumerate(names):
            points: dict[float, list[float]] = defaultdict(list)
            for cell in cells[name].get(dim, ()):
                points[cell.row.steps] += cell.recall.values()
            if points:
                style.series(axes, number, name[1], style.LOOKS[name[0]].line, points, lambda summary: summary.sd)
        references = [cell for cell in compared.cells if cell.row.role in OF_ANY_DIM or cell.dim == dim]
        style.across([axes], {c: ROLES[c.row.role] for c in references if c.row.role in style.REFERENCE_STYLES})
        style.doubling(
            axes, sorted({cell.row.steps for by_dim in cells.values() for cell in by_dim.get(dim, ())}), "{:,}", 30
        )
        axes.set_title(f"d = {dim}", fontsize=9)
        axes.set_xlabel("training steps")
    panels[0].set_ylabel(f"{_recall(compared)} [%]")
    style.side_legend(figure, panels[-1])
    return figure


@style.as_svg
def curves_figure(tuned: Sequence[Record]) -> Figure | None:
    """MAP@R on validation classes on the way, of each method's best validation run at the dimension of most; None where no run was
    scored on the way.

    At a rate not yet annealed: how a run goes, not what a shorter one would give. Test classes are seen once, after the last step.
    """
    tuned = [record for record in tuned if "map@r" in record.metrics]
    dims = Counter(record.spec.dim for record in tuned if record.curve and record.spec.teacher is not None)
    usual = min(dims, key=lambda dim: (-dims[dim], dim), default=None)
    taught = {record.spec.teacher.id for record in tuned if record.spec.teacher is not None}
    best: dict[str, Record] = {}
    for record in sorted(tuned, key=lambda record: (-record.metrics["map@r"], record.id)):
        if record.curve and usual in (record.spec.dim, None):
            best.setdefault(record.spec.method, record)
    chosen = [record for record in best.values() if record.id not in taught][: style.MOST]
    if not chosen:
        return None
    labels = [style.wrapped(f"{record.spec.method}-{record.spec.dim}") for record in chosen]
    figure = style.canvas(5.8, style.beside(3.6, labels))
    axes = figure.subplots()
    for record, label, colour, marker in zip(chosen, labels, style.COLOURS, style.MARKERS, strict=False):
        scored = {point.step: point.evaluation for point in record.curve}
        known = {step: score.cosine if record.spec.normalize else score.l2 for step, score in scored.items()}
        points = {step: metrics["map@r"] for step, metrics in known.items() if "map@r" in metrics}
        points[record.spec.steps] = record.metrics["map@r"]
        steps = sorted(points)
        shown = [100 * points[step] for step in steps]
        axes.plot(steps, shown, label=label, color=colour, marker=marker, markersize=4, linewidth=1.4)
    axes.set(xlabel="training steps", ylabel="MAP@R on validation classes [%]")
    style.side_legend(figure, axes)
    return figure
