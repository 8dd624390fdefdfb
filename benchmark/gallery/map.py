"""A map of the test embeddings in two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.splits import DataSet
from ..report.cells import one_line
from ..report.style import COLOURS, as_svg, canvas
from ..retrieval.geometry import Space
from ..retrieval.metrics import Labels
from ..retrieval.search import Floats, Ints
from .networks import ShownNetwork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP_CLASSES = 20
MAP_IMAGES = 1500
LEAST = 5  # images that a map is drawn of
PERPLEXITY = 30.0
# Each filled and hollow: as many as there are classes on the map, to be told apart without colour.
MARKERS = "os^vDP*X<>"
LEGIBLE = 28  # characters of a class's name in the map's legend


class Map(NamedTuple):
    svg: str
    images: int
    classes: int
    perplexity: float


def sample(labels: Labels) -> Ints:
    """Rows of at most MAP_IMAGES images of at most MAP_CLASSES classes: classes evenly spaced in their order, of each its first images."""
    classes = np.unique(labels)
    places = np.linspace(0, len(classes) - 1, min(MAP_CLASSES, len(classes))).round().astype(np.int64)
    most = MAP_IMAGES // len(places)
    return np.concatenate([np.flatnonzero(labels == label)[:most] for label in classes[places]])


def flattened(space: Space, rows: Ints, perplexity: float) -> Floats:
    """t-SNE [rows, 2] of queries by the main distance: Euclidean, under cosine of directions."""
    from sklearn.manifold import TSNE

    points = space.query[rows].astype(np.float64)
    if space.metric == "cosine":
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points /= np.where(lengths == 0, 1, lengths)
    # Where all embeddings are one point, or have one coordinate, there are no two principal components to start from.
    start = "pca" if points.shape[1] > 1 and points.std(axis=0).any() else "random"
    return TSNE(perplexity=perplexity, init=start, learning_rate="auto", random_state=0).fit_transform(points)


def draw_map(
    teacher: ShownNetwork, student: ShownNetwork, dataset: DataSet, progress: Callable[[str, int, int], None]
) -> Map | None:
    """Both networks' maps of the same images, side by side; None where there are too few of them."""
    rows = sample(dataset.query.labels)
    if len(rows) < LEAST:
        return None
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    panels = []
    for done, network in enumerate((teacher, student), 1):
        panels.append((network, flattened(network.space, rows, perplexity)))
        progress("map of the embeddings", done, 2)
    labels = dataset.query.labels[rows]
    names = {int(label): dataset.query.names[label] for label in np.unique(labels)}
    return Map(_svg(panels, labels, names), len(rows), len(names), perplexity)


@as_svg
def _svg(panels: Sequence[tuple[ShownNetwork, Floats]], labels: Labels, names: Mapping[int, str]) -> Figure:
    from matplotlib.lines import Line2D

    longest = max(len(name) for name in names.values())
    columns = max(2, min(7, 140 // (min(longest, LEGIBLE) + 6)))
    looks = {label: look_of(number) for number, label in enumerate(names)}
    figure = canvas(10, 5.2 + 0.2 * -(-len(names) // columns))
    for axes, (network, points) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for label, look in looks.items():
            axes.plot(*points[labels == label].T, linestyle="", markersize=5, **look)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set(visible=True, color="0.8")
        axes.set_title(f"{network.title}\n{network.recall}", fontsize=9)
    # A leading blank: matplotlib leaves out what begins with an underscore. A dollar sign would begin a formula.
    texts = [" " + _shortened(one_line(name)).replace("$", r"\$") for name in names.values()]
    handles = [Line2D([], [], linestyle="", markersize=6, **look) for look in looks.values()]
    figure.legend(handles, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=8, title="class")
    return figure


def look_of(number: int) -> dict[str, Any]:
    """Shape and filling tell the classes of the map apart; colours repeat."""
    colour = COLOURS[number % len(COLOURS)]
    filled = number < len(MARKERS)
    return {
        "marker": MARKERS[number % len(MARKERS)],
        "markeredgecolor": colour,
        "markerfacecolor": colour if filled else "none",
        "markeredgewidth": 0 if filled else 0.9,
        "alpha": 0.8,
    }


def _shortened(name: str) -> str:
    return name if len(name) <= LEGIBLE else name[: LEGIBLE - 1] + "…"
