"""Figures from records, as SVG: the same bytes from the same records and the same matplotlib."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..costs import Costs
from ..record import Record
from . import style
from .cells import OF_ANY_DIM, ROLES, Cell, Row
from .comparison import Comparison
from .cost_table import price
from .render import WORDS
from .stats import FEW_SEEDS, Summary, by_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3  # numbers of steps that make a curve
CAPTIONS = {name: " ".join(words.split()) for name, words in WORDS["figures"].items()}


def figures(compared: Comparison, tuned: Sequence[Record] = (), costs: Costs | None = None) -> dict[str, str]:
    """Draw those for which there is something to draw, by name."""
    drawn = {
        "dimension": dimension_figure(compared),
        "differences": differences_figure(compared),
        "cost": cost_figure(compared, costs),
        "steps": steps_figure(compared),
        "curves": curves_figure(tuned),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _recall(compared: Comparison) -> str:
    return "agreement with the teacher" if compared.agreement else "Recall@1"


def dimension_figure(compared: Comparison) -> str | None:
    """Recall@1 against dimension, the teacher as a line across; None for a single dimension.

    As many methods of each kind as can be told apart, the best first; the table has all. Bars: 95 % interval; dots: seeds, of fewer
    than six.
    """
    students: dict[Row, list[Cell]] = defaultdict(list)
    for cell in compared.candidates:
        if cell.row.steps == compared.usual_steps:
            students[cell.row].append(cell)
    chosen = style.legible((row for row in students if len(students[row]) > 1), students.__getitem__)
    if not chosen:
        return None
    references = [
        cell for cell in compared.cells if cell.row.role in style.REFERENCE_STYLES and cell.row.role in OF_ANY_DIM
    ]
    labels = [style.wrapped(compared.name(row)) for row in chosen]
    with style.canvas(5.8, style.beside(3.8, labels, len(references))) as (figure, svg):
        axes = figure.subplots()
        for number, row in enumerate(chosen):
            # Side by side: bars of equal dimension would hide each other.
            shift = 2 ** (0.028 * (number - (len(chosen) - 1) / 2))
            points = {cell.dim * shift: list(cell.recall.values()) for cell in students[row]}
            line = style.LOOKS[row.role].line
            style.series(axes, number, labels[number], line, points, lambda s: s.half if s.n >= FEW_SEEDS else None)
        for cell in references:
            style.across(axes, cell, f"{ROLES[cell.row.role]}, d = {cell.dim}")
        style.doubling(axes, sorted({cell.dim for row in chosen for cell in students[row]}))
        axes.set(xlabel="embedding dimension d", ylabel=f"{_recall(compared)} [%]")
        style.side_legend(figure, axes)
    return svg()


def differences_figure(compared: Comparison) -> str | None:
    """A forest plot: paired differences of Recall@1 to the baseline with their 95 % intervals, a panel a dimension."""
    cells = [cell for cell in compared.trained if compared.difference(cell) and cell.row.steps == compared.usual_steps]
    if not cells:
        return None
    dims = sorted({cell.dim for cell in cells})
    rows = sorted({cell.row for cell in cells}, key=lambda row: row.order)
    labels = [style.wrapped(compared.name(row)) for row in rows]
    with style.canvas(1.9 + 1.9 * len(dims), 0.9 + 0.2 * sum(label.count("\n") + 1 for label in labels)) as (
        figure,
        svg,
    ):
        panels: Sequence[Axes] = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
        for axes, dim in zip(panels, dims, strict=True):
            for cell in (cell for cell in cells if cell.dim == dim and not cell.fixed_dim):
                difference, other = compared.difference(cell), compared.baseline_of(cell)
                if difference is not None and other is not None:
                    seeds, look = by_pairs(cell.recall, other.recall), style.LOOKS[cell.row.role]
                    style.interval(axes, rows.index(cell.row), difference, seeds, look, linewidth=1.2)
            axes.axvline(0, color="0.3", linewidth=0.8)
            axes.set_title(f"d = {dim}", fontsize=9)
        style.named_lines(panels[0], labels)
        figure.supxlabel(style.wrapped(f"{_recall(compared)} − {compared.baseline} [points]"), fontsize=9)
        style.family_legend(figure, rows)
    return svg()


def families_figure(gaps: Sequence[tuple[str, Summary, Summary]]) -> str:
    """A forest plot of relational minus individual methods: label, difference with its interval of these methods, and of the kinds."""
    with style.canvas(5.8, 0.9 + 0.22 * len(gaps)) as (figure, svg):
        axes = figure.subplots()
        for height, (_, these, kinds) in enumerate(gaps):
            style.interval(axes, height, kinds, (), style.Look("0.6", "o", "-"), linewidth=0.9)
            style.interval(axes, height, these, (), style.Look(style.COLOURS[0], "o", "-"), linewidth=2.2)
        axes.axvline(0, color="0.3", linewidth=0.8)
        style.named_lines(axes, [style.wrapped(label) for label, _, _ in gaps])
        axes.set_xlabel("relational − individual, Recall@1 [points]")
    return svg()


def cost_figure(compared: Comparison, costs: Costs | None) -> str | None:
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
    with style.canvas(8.2 if measured else 4.8, 3.6) as (figure, svg):
        panels: Sequence[Axes] = figure.subplots(1, 1 + measured, sharey=True, squeeze=False)[0]
        _pareto(panels[0], {cell: float(prices[cell].embedding) for cell in cells})
        style.doubling(panels[0], sorted({prices[cell].embedding for cell in cells}), rotation=30)
        panels[0].set(xlabel="bytes of an embedding", ylabel=f"{_recall(compared)} [%]")
        if measured:
            _pareto(panels[1], latencies)
            panels[1].set_xlabel("latency of one image [ms]")
            panels[1].set_xlim(left=0)
        style.family_legend(figure, (cell.row for cell in cells))
    return svg()


def _pareto(axes: Axes, x: Mapping[Cell, float]) -> None:
    """Cells as points, and as a step line those that nothing beats at their price."""
    y = {cell: cell.mean for cell in x}
    for cell in x:
        look, size = style.LOOKS[cell.row.role], 9 if cell.row.role == "teacher" else 4.5
        axes.plot([x[cell]], [y[cell]], look.marker, color=look.colour, markersize=size, alpha=0.8, markeredgewidth=0)
    front: list[Cell] = []
    for cell in sorted(x, key=lambda cell: (x[cell], -y[cell], cell.row.order)):
        if not front or y[cell] > y[front[-1]]:
            front.append(cell)
    steps = [x[cell] for cell in front], [y[cell] for cell in front]
    axes.step(*steps, where="post", color="0.3", linewidth=0.9, zorder=1)
    for cell in front:
        name = style.wrapped(cell.row.method) if cell.row.role != "teacher" else "teacher"
        axes.annotate(name, (x[cell], y[cell]), textcoords="offset points", xytext=(5, -9), fontsize=7)


def steps_figure(compared: Comparison) -> str | None:
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
    with style.canvas(1.6 + 4.2 * len(dims), height) as (figure, svg):
        panels: Sequence[Axes] = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
        for axes, dim in zip(panels, dims, strict=True):
            for number, name in enumerate(names):
                points: dict[float, list[float]] = defaultdict(list)
                for cell in cells[name].get(dim, ()):
                    points[cell.row.steps] += cell.recall.values()
                if points:
                    style.series(axes, number, name[1], style.LOOKS[name[0]].line, points, lambda summary: summary.sd)
            for cell in compared.cells:
                if cell.row.role in style.REFERENCE_STYLES and (cell.row.role in OF_ANY_DIM or cell.dim == dim):
                    style.across(axes, cell, ROLES[cell.row.role])
            style.doubling(
                axes, sorted({cell.row.steps for by_dim in cells.values() for cell in by_dim.get(dim, ())}), "{:,}", 30
            )
            axes.set_title(f"d = {dim}", fontsize=9)
            axes.set_xlabel("training steps")
        panels[0].set_ylabel(f"{_recall(compared)} [%]")
        style.side_legend(figure, panels[-1])
    return svg()


def curves_figure(tuned: Sequence[Record]) -> str | None:
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
    with style.canvas(5.8, style.beside(3.6, labels)) as (figure, svg):
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
    return svg()
