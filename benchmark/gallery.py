"""What the numbers look like: queries with their nearest neighbours by teacher and students, and a map of the embeddings, as a page."""

from __future__ import annotations

import base64
import functools
import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import cards
from .data import DataSet, Split, load
from .data.vectors import VectorRows
from .errors import BenchmarkError, DataError, UsageError
from .evaluate import Floats, Ints, Labels
from .geometry import Space
from .remeasure import TOLERANCE, weights_of
from .report import Folder
from .report.cells import ROLES, Cell, Comparison
from .report.figures import COLOURS, STYLE
from .report.stats import summarise
from .run import Search
from .spec import Spec, waves
from .store import Record, Store, write_atomically
from .workspace import Workspace, silent
from .zoo import TEACHER_VECTORS, VECTORS

if TYPE_CHECKING:
    import torch

SHOWN = 5  # neighbours of a query
PIXELS = 96  # the longer side of an image on the page
KINDS = ("baseline", "individual", "relational")  # of the students that are shown, in the order of the page
MAP_CLASSES = 20
MAP_IMAGES = 1500
LEAST = 5  # images that a map is drawn of
PERPLEXITY = 30.0
# Each filled and hollow: as many as there are classes on the map, to be told apart without colour.
MARKERS = "os^vDP*X<>"
LEGIBLE = 28  # characters of a class's name in the map's legend

Bools = NDArray[np.bool_]


class Chosen(NamedTuple):
    """The runs that are shown."""

    teacher: Record
    students: dict[str, Record]  # by kind
    best: str  # kind


@dataclass(frozen=True, eq=False)
class Shown:
    """A network on the page, and what it retrieves.

    Args:
        role: teacher, or the student's kind.
        space: the embeddings that its record was measured with.
        nearest: [n, SHOWN or fewer] rows of the gallery by the main distance, nearest first.
        right: [n, SHOWN or fewer] whether these are of the query's class.
    """

    role: str
    record: Record
    space: Space
    nearest: Ints
    right: Bools
    best: bool

    @property
    def title(self) -> str:
        spec = self.record.spec
        return f"{'best student, ' if self.best else ''}{ROLES[self.role]}: {spec.name} {spec.backbone}-{spec.dim}"

    @property
    def recall(self) -> str:
        return f"Recall@1 {100 * self.record.metrics['recall@1']:.1f} %"

    @property
    def distance(self) -> str:
        return "cosine" if self.space.metric == "cosine" else "L2"

    @property
    def first(self) -> Bools:
        """[n] whether the nearest neighbour is right."""
        return self.right[:, 0]


class Section(NamedTuple):
    """A kind of case: how many queries it has, and which of them are shown."""

    key: str
    title: str
    rule: str
    total: int
    queries: Ints


def write_gallery(
    folder: Path,
    n: int,
    data_dir: Path | None,
    device: torch.device,
    progress: Callable[[str, int, int], None] = silent,
) -> list[Path]:
    """Write `gallery/index.html`, and `gallery/map.svg` of all but the tiniest sets, of the finished image runs of one folder.

    Retrieval is that of the evaluation: each network embeds what its own run embedded, and must find the Recall@1 of its record.

    Args:
        folder: results/<dataset>/<preset>, with the weights of the teacher and of the students that are shown.
        n: the most queries a section.
        data_dir: the folder of the images; by default that of `run`.
        progress: of decoding and of features: what, how many are done, of how many.

    Returns:
        What was written.

    Raises:
        UsageError: n below 1; no records; own vectors, which have no images; no teacher or no student to show.
        BenchmarkError: weights are missing, or not those of the record.
        DataError: images are missing, or others than those of the records.
    """
    if n < 1:
        raise UsageError(f"--gallery wants 1 or more queries a section, not {n}")
    read = Folder.read(folder)
    if not read.runs:
        raise UsageError(f"no results in {folder}: runs/ holds no record")
    if any(record.spec.backbone in (VECTORS, TEACHER_VECTORS) for record in read.runs):
        raise UsageError(f"{folder} is of own vectors: they have no images that a gallery could show")
    chosen = choose(read.compared)
    store, records = Store(folder), [chosen.teacher, *chosen.students.values()]
    for record in records:
        weights_of(record, store)
    dataset = _dataset(records, data_dir or cards.default_data_dir())
    workspace = Workspace(dataset, data_dir or cards.default_data_dir(), store, device, progress)
    found = spaces([record.spec for record in records], workspace)
    shown = [
        _shown(role, record, found[record.id], dataset, best=role == chosen.best)
        for role, record in {"teacher": chosen.teacher, **chosen.students}.items()
    ]
    best = next(one for one in shown if one.best)
    parts = sections(shown[0], best, dataset, n)
    drawn = _map(shown[0], best, dataset, progress)
    files = {
        "index.html": _page(f"{folder.resolve().parent.name}, {folder.resolve().name}", shown, parts, dataset, drawn)
    }
    if drawn is not None:
        files["map.svg"] = drawn.svg
    else:
        (folder / "gallery" / "map.svg").unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(folder / "gallery" / name, content)
    return [folder / "gallery" / name for name in files]


def choose(compared: Comparison) -> Chosen:
    """Of each kind the student of the best mean Recall@1 at the largest dimension, its lowest seed; and the teacher of the best of them.

    Of baselines only the one that others are held against.

    Raises:
        UsageError: there is no such student, or no teacher.
        BenchmarkError: the teacher has no record.
    """

    def mean(cell: Cell) -> float:
        return summarise(list(cell.recall.values())).mean

    students = [
        cell
        for cell in compared.candidates
        if cell.row.role in KINDS and (cell.row.role != "baseline" or cell.row.method == compared.baseline)
    ]
    if not students:
        raise UsageError(
            "there is no student to show: none of the runs is of a baseline, individual or relational method"
        )
    largest = max(cell.dim for cell in students)
    best: dict[str, Cell] = {}
    for kind in KINDS:
        cells = [cell for cell in students if cell.row.role == kind and cell.dim == largest]
        if cells:
            best[kind] = max(cells, key=mean)
    winner = max(best, key=lambda kind: mean(best[kind]))
    chosen = {kind: cell.records[0] for kind, cell in best.items()}  # sorted by seed
    return Chosen(_teacher_of([chosen[winner], *chosen.values()], compared), chosen, winner)


def _teacher_of(students: Sequence[Record], compared: Comparison) -> Record:
    """The record of the first one's teacher that has one; of students without, the folder's."""
    spec = next((record.spec.teacher for record in students if record.spec.teacher is not None), None)
    if spec is None:
        found = [record for record in compared.records if compared.roles[record.id] == "teacher"]
        if not found:
            raise UsageError("there is no teacher to hold the students against")
        return found[0]
    for record in compared.records:
        if record.id == spec.id:
            return record
    raise BenchmarkError(f"the teacher, {spec.label}, has no record beside those of its students ({spec.id})")


def _dataset(records: Sequence[Record], data_dir: Path) -> DataSet:
    """The images that the records were measured on."""
    spec = records[0].spec
    dataset = load(_card(spec.dataset, data_dir), data_dir, spec.subset)
    for record in records:
        if record.data != dataset.fingerprint:
            raise DataError(
                f"the {spec.dataset} images in {data_dir} are not those of {record.spec.label}: "
                f"their fingerprint is {dataset.fingerprint}, that of its record {record.data}"
            )
    return dataset


def _card(name: str, data_dir: Path) -> cards.Card:
    """Of a data set of the suite, or of the folder of own images of that name: a record does not say where that was."""
    if name in cards.names():
        return cards.load(name, data_dir)
    for folder in (data_dir.resolve(), data_dir / name):
        if folder.name == name and folder.is_dir():
            return cards.load(str(folder))
    raise DataError(
        f"the images {name} are missing: {data_dir} is not that folder and does not hold it; name it by --data"
    )


def spaces(specs: Sequence[Spec], workspace: Workspace) -> dict[str, Space]:
    """Of finished runs, by id: the embeddings that each was evaluated with, in its own stream. Raises as `Search.open`."""
    found = {}
    for group in (group for wave in waves(list(specs)) for group in wave):
        search = Search.open(group, workspace)
        for spec in group:
            found[spec.id] = search.space(spec, search.inputs.frozen(spec))
    return found


def _searched(dataset: DataSet) -> Split:
    return dataset.query if dataset.gallery is None else dataset.gallery


def _shown(role: str, record: Record, space: Space, dataset: DataSet, *, best: bool) -> Shown:
    nearest = space.nearest[:, :SHOWN]
    right = _searched(dataset).labels[nearest] == dataset.query.labels[:, None]
    found = float(right[answerable(dataset), 0].mean())
    if abs(found - record.metrics["recall@1"]) > TOLERANCE:
        raise BenchmarkError(
            f"{record.spec.label}: Recall@1 is {found:.4f} here, and {record.metrics['recall@1']:.4f} in its record"
        )
    return Shown(role, record, space, nearest, right, best)


def answerable(dataset: DataSet) -> Bools:
    """[n] whether a query has another image of its class to be found; the others are not scored, and not shown."""
    counts = np.bincount(_searched(dataset).labels, minlength=int(dataset.query.labels.max()) + 1)
    return counts[dataset.query.labels] > (dataset.gallery is None)


def sections(teacher: Shown, student: Shown, dataset: DataSet, n: int) -> list[Section]:
    """The cases in which one network is right and the other wrong, and those in which both are; at most n queries each."""
    scored, labels = answerable(dataset), dataset.query.labels
    ours, theirs = student.right.sum(axis=1), teacher.right.sum(axis=1)
    beats = "largest margin first (its right neighbours among the {} shown, less those of the other)"
    both = "fewest right neighbours first (of both networks, among the {} shown)"
    cases = [
        ("student", "The student beats the teacher", beats, student.first & ~teacher.first, ours - theirs),
        ("teacher", "The teacher beats the student", beats, teacher.first & ~student.first, theirs - ours),
        ("neither", "Both wrong", both, ~teacher.first & ~student.first, -ours - theirs),
    ]
    return [
        Section(key, title, rule.format(SHOWN), int((scored & wanted).sum()), pick(scored & wanted, score, labels, n))
        for key, title, rule, wanted, score in cases
    ]


def pick(wanted: Bools, score: Ints, labels: Labels, n: int) -> Ints:
    """At most n of the wanted queries, those of the highest score [n] first, of equal ones the lowest index.

    Of each class one, before there is a second one of any.
    """
    order = np.argsort(-score, kind="stable")
    order = order[wanted[order]]
    seen: Counter[Any] = Counter()
    turns = []
    for label in labels[order].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return order[np.argsort(np.array(turns, np.int64), kind="stable")][:n]


# --- the map ---


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
    return np.concatenate([np.flatnonzero(labels == one)[:most] for one in classes[places]])


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


def _map(teacher: Shown, student: Shown, dataset: DataSet, progress: Callable[[str, int, int], None]) -> Map | None:
    """Both networks' maps of the same images, side by side; None where there are too few of them."""
    rows = sample(dataset.query.labels)
    if len(rows) < LEAST:
        return None
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    panels = {}
    for done, one in enumerate((teacher, student), 1):
        panels["teacher" if one is teacher else "student"] = one, flattened(one.space, rows, perplexity)
        progress("map of the embeddings", done, 2)
    labels = dataset.query.labels[rows]
    names = {int(label): dataset.query.names[label] for label in np.unique(labels)}
    return Map(_svg(list(panels.values()), labels, names), len(rows), len(names), perplexity)


def _svg(panels: Sequence[tuple[Shown, Floats]], labels: Labels, names: Mapping[int, str]) -> str:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's fonts have it
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        longest = max(len(name) for name in names.values())
        columns = max(2, min(7, 140 // (min(longest, LEGIBLE) + 6)))
        figure = Figure(figsize=(10, 5.2 + 0.2 * -(-len(names) // columns)), layout="constrained")
        looks = {label: _look(number) for number, label in enumerate(names)}
        for axes, (one, points) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for label, look in looks.items():
                axes.plot(*points[labels == label].T, linestyle="", markersize=5, **look)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            axes.spines[:].set_visible(True)
            axes.spines[:].set_color("0.8")
            axes.set_title(f"{one.title}\n{one.recall}", fontsize=9)
        # A leading blank: matplotlib leaves out what begins with an underscore. A dollar sign would begin a formula.
        texts = [" " + _shortened(name).replace("$", r"\$") for name in names.values()]
        handles = [Line2D([], [], linestyle="", markersize=6, **look) for look in looks.values()]
        figure.legend(
            handles, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=8, title="class"
        )
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _look(number: int) -> dict[str, Any]:
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


# --- the page ---


class Picture(NamedTuple):
    uri: str
    name: str  # of its class
    row: int  # in its split


class Neighbour(NamedTuple):
    picture: Picture
    right: bool


class Case(NamedTuple):
    """A query, and what each network finds."""

    query: Picture
    found: list[tuple[Shown, list[Neighbour]]]


def _page(title: str, shown: Sequence[Shown], parts: Sequence[Section], dataset: DataSet, drawn: Map | None) -> str:
    import jinja2

    @functools.cache
    def picture(split: Split, row: int) -> Picture:
        return Picture(thumbnail(split, row), split.names[split.labels[row]], row)

    def case(query: int) -> Case:
        found = [
            (
                one,
                [
                    Neighbour(picture(_searched(dataset), row), right)
                    for row, right in zip(one.nearest[query].tolist(), one.right[query].tolist(), strict=True)
                ],
            )
            for one in shown
        ]
        return Case(picture(dataset.query, query), found)

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    scored = int(answerable(dataset).sum())
    template = resources.files("benchmark.report").joinpath("gallery.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        shown=shown,
        teacher=shown[0],
        best=next(one for one in shown if one.best),
        scored=scored,
        both=scored - sum(part.total for part in parts),
        dropped=len(dataset.query) - scored,
        searched=len(_searched(dataset)),
        parts=[(part, [case(query) for query in part.queries.tolist()]) for part in parts],
        neighbours=SHOWN,
        map=drawn,
        map_data="" if drawn is None else base64.b64encode(drawn.svg.encode()).decode(),
    )


def thumbnail(split: Split, row: int) -> str:
    """An image as a data: URI, JPEG, its longer side at most PIXELS; in its own proportions, which networks do not see.

    Raises:
        DataError: the file cannot be decoded.
    """
    images = split.images
    assert not isinstance(images, VectorRows)
    try:
        with Image.fromarray(images[row]) if isinstance(images, np.ndarray) else Image.open(images[row]) as image:
            image.draft("RGB", (2 * PIXELS, 2 * PIXELS))
            small = image.convert("RGB")
    except Exception as error:  # damaged files make decoders raise about anything
        raise DataError(f"{images[row]} cannot be decoded ({error})") from None
    small.thumbnail((PIXELS, PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
