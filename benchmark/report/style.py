"""How figures look, and the parts that several of them have."""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .cells import ROLES, SELF_TAUGHT, Cell, Row, one_line
from .comparison import Comparison
from .stats import FEW_SEEDS, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS, LINES = 34, 3  # of a label
MOST = 7  # lines that a reader can tell apart
# Okabe and Ito's colours, which people who see colours differently tell apart; a line's style says its family as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: dict[str, Any] = {
    "baseline": ":",
    "individual": "--",
    "relational": "-",
    "mixed": (0, (5, 1, 1, 1)),
    SELF_TAUGHT: (0, (1, 1)),
    "other": ":",
}
FAMILY_COLOURS = {
    "baseline": "#000000",
    "individual": "#D55E00",
    "relational": "#0072B2",
    "mixed": "#009E73",
    SELF_TAUGHT: "#CC79A7",
    "other": "#000000",
}
FAMILY_MARKERS = {
    "baseline": "s",
    "individual": "D",
    "relational": "o",
    "mixed": "P",
    SELF_TAUGHT: "^",
    "posthoc": "X",
    "teacher": "*",
    "other": "v",
}
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


@contextlib.contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """A figure of the suite's style, and the function that gives its SVG once it is drawn."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A browser has other fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        drawn: list[str] = []
        yield figure, lambda: drawn[0]
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        drawn.append("\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n")


def legible(rows: Sequence[Row], cells_of: Callable[[Row], Sequence[Cell]]) -> list[Row]:
    """As many rows as can be told apart: the best of each kind in turn, by mean Recall@1; in the order of the table."""

    def score(row: Row) -> float:
        return -summarise([value for cell in cells_of(row) for value in cell.recall.values()]).mean

    by_role = {role: sorted((row for row in rows if row.role == role), key=score) for role in STYLES}
    chosen: list[Row] = []
    while len(chosen) < MOST and any(by_role.values()):
        for role in STYLES:
            if by_role[role] and len(chosen) < MOST:
                chosen.append(by_role[role].pop(0))
    return sorted(chosen, key=lambda row: row.order)


def recall_label(compared: Comparison) -> str:
    return "agreement with the teacher [%]" if compared.agreement else "Recall@1 [%]"


def plain(label: str) -> str:
    """As it is, in a few lines that leave room for the figure: a dollar sign would begin a formula."""
    lines = textwrap.wrap(one_line(label), LETTERS, max_lines=LINES, placeholder=" …")
    return "\n".join(lines).replace("$", r"\$")


def beside(height: float, labels: Sequence[str], more: int = 0) -> float:
    """The height of a figure that has room for a legend at its side.

    Args:
        more: entries of one line.
    """
    return max(height, 0.3 + 0.165 * (more + sum(label.count("\n") + 1 for label in labels)))


def curve(axes: Axes, number: int, name: tuple[str, str], x: Sequence[float], found: Sequence[Summary]) -> None:
    axes.errorbar(
        x,
        [one.mean for one in found],
        yerr=[one.sd or 0.0 for one in found],
        label=name[1],
        color=COLOURS[number % len(COLOURS)],
        linestyle=STYLES[name[0]],
        marker=MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
        markersize=4,
        linewidth=1.4,
        elinewidth=0.8,
    )


def seed_dots(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """The seeds themselves, where they are too few for their mean to stand for them."""
    if len(y) < FEW_SEEDS and len(x) < FEW_SEEDS:
        axes.plot(x, y, ".", color=colour, markersize=3, alpha=0.55, zorder=1)


def across(axes: Axes, cell: Cell, label: str) -> None:
    """What is not trained here, as a line: the teacher, the frozen features, the student at step 0."""
    mean = summarise(list(cell.recall.values())).mean
    axes.axhline(mean, color="0.45", linewidth=1, linestyle=REFERENCE_STYLES[cell.row.role], label=label)


def pareto(axes: Axes, x: dict[Cell, float]) -> None:
    """Cells as points, and as a step line those that nothing beats at their price."""
    y = {cell: summarise(list(cell.recall.values())).mean for cell in x}
    for cell in x:
        role = cell.row.role
        axes.plot(
            [x[cell]],
            [y[cell]],
            FAMILY_MARKERS[role],
            color=FAMILY_COLOURS.get(role, "0.35"),
            markersize=9 if role == "teacher" else 4.5,
            alpha=0.8,
            markeredgewidth=0,
        )
    front: list[Cell] = []
    for cell in sorted(x, key=lambda cell: (x[cell], -y[cell], cell.row.order)):
        if not front or y[cell] > y[front[-1]]:
            front.append(cell)
    axes.step(
        [x[cell] for cell in front], [y[cell] for cell in front], where="post", color="0.3", linewidth=0.9, zorder=1
    )
    for cell in front:
        axes.annotate(
            plain(cell.row.method) if cell.row.role != "teacher" else "teacher",
            (x[cell], y[cell]),
            textcoords="offset points",
            xytext=(5, -9),
            fontsize=7,
        )


def family_legend(figure: Figure, rows: Sequence[Row]) -> None:
    """Above the panels, in as many lines as it takes to fit."""
    from matplotlib.lines import Line2D

    roles = [role for role in FAMILY_MARKERS if any(row.role == role for row in rows)]
    handles = [
        Line2D(
            [], [], color=FAMILY_COLOURS.get(role, "0.35"), marker=FAMILY_MARKERS[role], linestyle="", label=ROLES[role]
        )
        for role in roles
    ]
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=8)
        if legend.get_window_extent().width <= 0.98 * figure.bbox.width:
            return
        legend.remove()
