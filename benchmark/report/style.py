"""How figures look, and the parts that several of them have."""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import write_atomically
from .cells import ROLES, SELF_TAUGHT, Cell, Row, fixed, one_line
from .stats import FEW_SEEDS, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN_WITH = "3.11"  # the release of matplotlib that the committed figures are of; others draw other bytes
LETTERS, LINES = 34, 3  # of a label
NEAR = 0.2  # of a panel's height: how far a reference may stretch it
MOST = 7  # lines that a reader can tell apart
# Okabe and Ito's colours, which people who see colours differently tell apart; a line's style says its family as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


class Look(NamedTuple):
    """How a kind of method is told apart: colour and marker of its points, style of its lines."""

    colour: str
    marker: str
    line: Any


LOOKS = {
    "baseline": Look("#000000", "s", ":"),
    "control": Look("0.35", "<", ":"),
    "individual": Look("#D55E00", "D", "--"),
    "relational": Look("#0072B2", "o", "-"),
    "mixed": Look("#009E73", "P", (0, (5, 1, 1, 1))),
    "nested": Look("#E69F00", "h", (0, (3, 1))),
    SELF_TAUGHT: Look("#CC79A7", "^", (0, (1, 1))),
    "posthoc": Look("0.35", "X", ":"),
    "teacher": Look("0.35", "*", "-"),
    "other": Look("#000000", "v", ":"),
}
REFERENCE_STYLES = {"teacher": "-", "features": "-.", "untrained": (0, (1, 3))}
STYLE: dict[str, Any] = {
    "svg.hashsalt": "embedding-distillation-benchmark",
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # and in PDF letters of a font, as publishers ask
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def other_release() -> str:
    """The release of matplotlib that is installed, where its figures cannot be held against the committed ones; else nothing."""
    here = version("matplotlib")
    return "" if here.startswith(f"{DRAWN_WITH}.") else here


def as_svg(draw: Callable[..., Figure | None]) -> Callable[..., Any]:
    """Make of a function that draws a figure, or None, one that gives its SVG; with `pdf=FILE` it writes a PDF as well."""

    @functools.wraps(draw)
    def svg(*given: Any, pdf: Path | None = None) -> str | None:
        import matplotlib

        with matplotlib.rc_context(), warnings.catch_warnings():
            # A browser has other fonts.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            matplotlib.rcdefaults()  # whatever the user's own settings are
            matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
            if (figure := draw(*given)) is None:
                return None
            file, content = io.StringIO(), io.BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            if pdf is not None:
                figure.savefig(content, format="pdf", metadata={"CreationDate": None})
                write_atomically(pdf, content.getvalue())
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"

    return svg


def canvas(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def legible(rows: Iterable[Row], cells_of: Callable[[Row], Sequence[Cell]]) -> list[Row]:
    """Choose as many rows as can be told apart: the best of each kind in turn, by mean Recall@1; in the order of the table."""
    every = list(rows)

    def score(row: Row) -> float:
        return -summarise(value for cell in cells_of(row) for value in cell.recall.values()).mean

    by_role = [sorted((row for row in every if row.role == role), key=score) for role in LOOKS]
    chosen = [row for row in chain.from_iterable(zip_longest(*by_role)) if row is not None]
    return sorted(chosen[:MOST], key=lambda row: row.order)


def wrapped(label: str) -> str:
    """Break a label into a few lines, which leave room for the figure: a dollar sign would begin a formula."""
    lines = textwrap.wrap(one_line(label), LETTERS, max_lines=LINES, placeholder=" …")
    return "\n".join(lines).replace("$", r"\$")


def beside(height: float, labels: Sequence[str], more: int = 0) -> float:
    """The height of a figure that has room for a legend at its side.

    Args:
        more: entries of one line.
    """
    return max(height, 0.3 + 0.165 * (more + sum(label.count("\n") + 1 for label in labels)))


def series(
    axes: Axes,
    number: int,
    label: str,
    line: Any,
    points: Mapping[float, Sequence[float]],
    spread: Callable[[Summary], float | None],
) -> None:
    """A line through the means of some values at each x, with error bars, and the values themselves where they are few.

    Args:
        number: of the series, for its colour and marker.
        points: values by x.
    """
    summaries = [summarise(values) for values in points.values()]
    axes.errorbar(
        list(points),
        [summary.mean for summary in summaries],
        yerr=[spread(summary) or 0.0 for summary in summaries],
        label=label,
        color=COLOURS[number],
        linestyle=line,
        marker=MARKERS[number],
        markersize=4,
        linewidth=1.4,
        elinewidth=0.8,
    )
    for x, values in points.items():
        seed_dots(axes, [x] * len(values), values, COLOURS[number])


def seed_dots(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """The seeds themselves, where they are too few for their mean to stand for them."""
    if len(y) < FEW_SEEDS:
        axes.plot(x, y, ".", color=colour, markersize=3, alpha=0.55, zorder=1)


def interval(axes: Axes, height: float, summary: Summary, seeds: Sequence[float], look: Look, **line: Any) -> None:
    """A line of a forest plot: a difference with its interval, and its seeds."""
    if summary.half is not None:
        ends = [summary.mean - summary.half, summary.mean + summary.half]
        axes.plot(ends, [height, height], color=look.colour, **line)
    axes.plot([summary.mean], [height], look.marker, color=look.colour, markersize=4.5)
    seed_dots(axes, seeds, [height] * len(seeds), look.colour)


def named_lines(axes: Axes, labels: Sequence[str]) -> None:
    """Name the lines of a forest plot, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def across(panels: Sequence[Axes], labels: Mapping[Cell, str]) -> None:
    """Draw what is not trained here as lines through panels of one scale: the teacher, the frozen features, the student at step 0.

    What lies far from all that is drawn already would leave most of the figure empty: it gets a line of the legend alone.
    """
    low, high = panels[0].get_ylim()
    near = NEAR * (high - low)
    for cell, label in labels.items():
        look: dict[str, Any] = {"color": "0.45", "linewidth": 1, "linestyle": REFERENCE_STYLES[cell.row.role]}
        if low - near <= cell.mean <= high + near:
            for axes in panels:
                axes.axhline(cell.mean, **look, label=label)
        else:
            side = "above" if cell.mean > high else "below"
            panels[-1].plot([], [], " ", label=f"{side}: {label}, {fixed(cell.mean, 1)}")


def doubling(axes: Axes, ticks: Sequence[int], form: str = "{}", rotation: float = 0) -> None:
    """Make x logarithmic, with just these ticks."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [form.format(tick) for tick in ticks], rotation=rotation)
    axes.minorticks_off()


def side_legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)


def family_legend(figure: Figure, rows: Iterable[Row]) -> None:
    """Kinds of methods, above the panels."""
    present = {row.role for row in rows}
    key(figure, {ROLES[role]: look for role, look in LOOKS.items() if role in present})


def key(figure: Figure, looks: Mapping[str, Look]) -> None:
    """Markers and their names, above the panels, in as many lines as it takes to fit."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=name) for name, look in looks.items()
    ]
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=8)
        if legend.get_window_extent().width <= 0.98 * figure.bbox.width:
            return
        legend.remove()
