"""The commands that do not train: words to calls, and what is printed. No logic, and no torch before it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table

from . import listing
from .console import RESULTS, app, device_of, err, out, print_json, say_written
from .data import cards
from .errors import UsageError
from .protocol.request import integers
from .store import Store

if TYPE_CHECKING:
    from .bench.performance import Environment
    from .data import DataSet

Out = Annotated[Path, Parameter(name="--out")]


@app.command
def fetch(*, dataset: str, data: Path | None = None, mirror: Path | None = None) -> int:
    """Download, verify and unpack a data set, and check that it holds what its card says.

    Parameters
    ----------
    dataset
        a card (benchmark list datasets) or a card's .toml
    data
        the folder to unpack into
    mirror
        a folder to take archives from instead of the network
    """
    from .data import fetch as fetch_data
    from .data import load

    folder = data or cards.default_data_dir()
    path = fetch_data(cards.load(dataset, folder), folder, mirror)
    found = load(cards.load(dataset, folder), folder)
    out.print(f"{path}: {_sizes(found)}", soft_wrap=True)
    return 0


@app.command(name="evaluate")
def evaluate_(
    *,
    embeddings: Path,
    labels: Path,
    gallery_embeddings: Path | None = None,
    gallery_labels: Path | None = None,
    metric: Literal["l2", "cosine"] | None = None,
    at: str = "1,2,4,8",
    json: bool = False,
) -> int:
    """Measure retrieval by embeddings from anywhere, with the definitions of the suite.

    Parameters
    ----------
    embeddings
        .npy, or .npz with an array of that name or one array alone, [n, d]
    labels
        the same, [n] integers or strings
    gallery_embeddings
        the same, named embeddings, [m, d]; without it, queries are searched among themselves, each without itself
    gallery_labels
        the same, named labels, [m]
    metric
        l2 or cosine; both without it
    at
        comma-separated K of Recall@K
    json
        print JSON
    """
    from .absurd import absurd_rows, told
    from .data.arrays import EMBEDDINGS, LABELS, open_array
    from .retrieval.metrics import evaluate

    query = open_array(embeddings, "embeddings", EMBEDDINGS), open_array(labels, "labels", LABELS)
    gallery = (
        None if gallery_embeddings is None else open_array(gallery_embeddings, "embeddings", EMBEDDINGS),
        None if gallery_labels is None else open_array(gallery_labels, "labels", LABELS),
    )
    result = evaluate(*query, *gallery, at=tuple(integers("--at", at)))
    for what, rows in (("embeddings", query[0]), ("gallery embeddings", gallery[0])):
        if rows is not None and len(bad := absurd_rows(rows)):
            # Beside the numbers, which may be JSON for a program.
            err.print(f"{told(bad, len(rows), what)}; a mended infinity?", markup=False, soft_wrap=True)
    shown = {name: getattr(result, name) for name in ([metric] if metric else ["l2", "cosine"])}
    if json:
        print_json({**shown, "queries": result.queries, "dropped": result.dropped, "gallery": result.gallery})
        return 0
    table = Table(
        title=f"{result.queries} queries, {result.gallery} items"
        + (f", {result.dropped} queries without a partner dropped" if result.dropped else "")
    )
    table.add_column("%")
    for name in shown:
        table.add_column(name, justify="right")
    for key in next(iter(shown.values())):
        table.add_row(key, *(f"{100 * metrics[key]:.2f}" for metrics in shown.values()))
    out.print(table)
    return 0


@app.command(name="apply")
def apply_(*, run: str, features: Path, to: Out, results: Path = RESULTS, device: str | None = None) -> int:
    """Apply a trained head to new vectors: [m, c] to [m, d], l2-normalised if the run says so.

    Parameters
    ----------
    run
        the beginning of the run's id (runs.csv)
    features
        .npy or .npz, [m, c]
    to
        .npy to write
    results
        where the run's record and weights are
    device
        as for run
    """
    from .shipping.apply import apply, find

    spec, rows, absurd = apply(find(results, run), features, to, device_of(device))
    if absurd:
        out.print(absurd, markup=False, soft_wrap=True)
    out.print(f"{spec.label}: wrote {to}, {rows} x {spec.dim}", markup=False, soft_wrap=True)
    return 0


@app.command(name="extract")
def extract_(
    *,
    dataset: str,
    backbone: str,
    to: Out,
    labels_out: Path | None = None,
    split: str = "train",
    views: int = 1,
    image: int = 96,
    resize: int = 112,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Write a pretrained trunk's pooled features of images, for run --features: float16, [n, c], or [n, V, c] of several views.

    Parameters
    ----------
    dataset
        as for run
    backbone
        a network (benchmark list backbones)
    to
        .npy to write
    labels_out
        .npy for the names of the classes
    split
        train or test; of some data sets train, query or gallery
    views
        crops of each image: the centre one, and seeded ones
    image
        pixels a side of the crop
    resize
        pixels a side of the decoded image
    data
        the folder that holds CUB_200_2011/, stanford_cars/, ...
    device
        as for run
    """
    from .data import fetch as fetch_data
    from .data import load
    from .networks import names as zoo
    from .shipping import extract
    from .training import estimate
    from .training.context import Workspace
    from .training.progress import Reporter

    zoo.check_name(backbone)
    folder = data or cards.default_data_dir()
    card = cards.load(dataset, folder)
    if card.vectors is not None:
        raise UsageError(f"{dataset} holds vectors, not images")
    fetch_data(card, folder)
    images = load(cards.load(dataset, folder), folder)
    chosen, where = extract.named(images, split), device_of(device)
    spec = extract.request(images, backbone, views=views, image=image, resize=resize)
    estimate.check_size(spec, where)
    with Reporter(out) as reporter:
        workspace = Workspace(images, folder, Store(RESULTS), where, reporter.preparing)
        shape = extract.extract(spec, chosen, workspace, to, labels_out)
    out.print(f"wrote {to}, {' x '.join(map(str, shape))}, float16", markup=False, soft_wrap=True)
    return 0


@app.command
def bench(
    what: Literal["all", "training", "loss", "retrieval", "report"] = "all",
    /,
    *,
    json: bool = False,
    to: Annotated[Path | None, Parameter(name="--to")] = None,
) -> int:
    """Measure what things cost on this machine, beside the plain way, in one run; all of it takes half an hour.

    Parameters
    ----------
    what
        training: a grid of students beside the plain loop;
        loss: forward and backward of RKD's angle loss;
        retrieval: metrics of 60,502 embeddings;
        report: the start of commands, and the report of 1,000 runs
    json
        print JSON: rows and environment by section
    to
        a folder for performance.json and performance.md; of what is not measured now, earlier rows stay there
    """
    import torch

    from .bench import loss, performance, report, retrieval, training
    from .training.context import environment

    tables = {
        "training": training.table,
        "loss": loss.rows,
        "retrieval": retrieval.table,
        "report": report.table,
    }
    if to is not None:  # what is wrong with it is met before anything is measured
        performance.read(to / performance.FILE)
        performance.check_folder(to)
    where = performance.Environment(**environment(torch.device("cpu")))
    found = {}
    for name in tables if what == "all" else (what,):
        rows = tables[name]()
        found[name] = performance.Section(environment=where, rows=rows)
        if not json:
            out.print(_measured(performance.TITLES[name], rows, where))
        if to is not None:  # at once: the next one may be stopped
            written = performance.write(to, found)
    if json:
        print_json(performance.Performance(sections=found).model_dump(mode="json"))
    elif to is not None:
        say_written(written)
    return 0


def _measured(title: str, rows: list[dict[str, Any]], where: Environment) -> Table:
    from .bench.performance import shown

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, title=f"{title}: {where.threads} threads, {where.device}")
    for row in rows:
        table.add_row(*(shown(row[name]) if name in row else "" for name in columns))
    return table


@app.command(name="list")
def list_(what: Literal["datasets", "methods", "backbones", "presets"], /, *, json: bool = False) -> int:
    """Show what there is to choose from.

    Parameters
    ----------
    what
        datasets, methods, backbones or presets
    json
        print JSON
    """
    rows = listing.ROWS[what]()
    if json:
        print_json(rows)
        return 0
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in columns))
    out.print(table)
    return 0


def _sizes(images: DataSet) -> str:
    parts = [
        ("train", images.train),
        ("query" if images.gallery else "test", images.query),
        ("gallery", images.gallery),
    ]
    return ", ".join(split.described(name) for name, split in parts if split is not None)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
