"""Words to specs, and what is printed. No logic, and no torch before it is needed."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from . import cards, listing
from .driver import Driver
from .errors import BenchmarkError, UsageError
from .plan import Plan, integers
from .spec import Spec, waves
from .store import Store

if TYPE_CHECKING:
    import torch

    from .data import DataSet

app = App(
    name="benchmark",
    help="Distil image-embedding teachers into small students by every published method, and compare them fairly.",
    version_flags=[],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # it has a message of ours
)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # a file or a pipe folds nothing
err = Console(stderr=True, highlight=False)

Words = str | None  # comma-separated
Out = Annotated[Path, Parameter(name="--out")]
Files = Annotated[cards.Vectors | None, Parameter(name="*")]  # an option a field
RESULTS = Path("results")


def run_command(words: Sequence[str]) -> int:
    """Run one command line; the exit code: 0, 1 for failure, 2 for usage, 130 where the user stopped it."""
    try:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        wrong = _invalid(error) or " ".join(str(error).split())
        err.print(f"benchmark: {wrong} (see benchmark --help)", markup=False, soft_wrap=True)
        return UsageError.exit_code
    except BenchmarkError as error:
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        err.print("benchmark: stopped; run the same command again to go on")
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:  # a full disk, no permission, a path that is no folder: the system's words name the path
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return 1


def _invalid(error: CycloptsError) -> str:
    """What pydantic says of options that are the fields of a model, in one line."""
    if not isinstance(error.__cause__, ValidationError):
        return ""
    first = error.__cause__.errors()[0]
    option = "".join(f"--{str(name).replace('_', '-')}: " for name in first["loc"][-1:])
    return option + first["msg"].removeprefix("Value error, ")


@app.command
def run(
    *,
    dataset: str | None = None,
    vectors: Files = None,
    preset: str | None = None,
    methods: Words = None,
    dims: Words = None,
    seeds: Words = None,
    steps: Words = None,
    backbone: str | None = None,
    teacher: str | None = None,
    generations: int = 0,
    set: tuple[str, ...] = (),
    subset: str = "",
    data: Path | None = None,
    mirror: Path | None = None,
    results: Path = RESULTS,
    device: str | None = None,
    checkpoint_every: float = 120.0,
    dry_run: bool = False,
    yes: bool = False,
) -> int:
    """Train the teacher, distil it by every method, measure retrieval, write the comparison.

    Finished runs are not repeated; a stopped one goes on where it was.

    Parameters
    ----------
    dataset
        a card (benchmark list datasets), a card's .toml, or a folder of images; or else --features
    preset
        a protocol (benchmark list presets); the default depends on data set and machine, and is printed
    methods
        comma-separated names, or all, relational, individual, posthoc; names joined by + are one method, the sum of their losses
    dims
        comma-separated embedding dimensions of the students
    seeds
        comma-separated seeds of the students
    steps
        training steps of the students; of several, comma-separated, each is a run of its own (of the teacher: --set teacher.steps=...)
    backbone
        network of the students
    teacher
        network of the teacher, NAME or NAME@DIM, such as resnet50@512
    generations
        students of the teacher's size, each of which teaches the next one; this many, and their ensemble
    set
        KEY=VALUE, repeatable: a field of the spec or a hyper-parameter, for all students, or as teacher.KEY or METHOD.KEY
    subset
        CLASSESxIMAGES of each split, such as 8x6
    data
        the folder that holds CUB_200_2011/, stanford_cars/, ...
    mirror
        a folder to take archives from instead of the network
    results
        where records and tables go
    device
        cpu or cuda; the default is cuda where there is one
    checkpoint_every
        seconds between checkpoints, from which a stopped run goes on
    dry_run
        print the plan and stop
    yes
        do not ask before a run that is too long for this machine
    """
    plan = Plan(
        dataset,
        preset,
        vectors=vectors,
        data=data,
        mirror=mirror,
        results=results,
        device=device,
        subset=subset,
        dry=dry_run,
    )
    specs = plan.specs(
        methods=methods,
        dims=dims,
        seeds=seeds,
        steps=steps,
        backbone=backbone,
        teacher=teacher,
        assignments=set,
        generations=generations,
    )
    driver = Driver(plan, plan.store, out)
    missing = driver.announce(specs, dry=dry_run)
    if dry_run:
        out.print(_plan_table(waves(missing)))
        return 0
    failures = driver.run(missing, _device(device), checkpoint_every=checkpoint_every, yes=yes) if missing else 0
    _finish(plan.folder)
    return 1 if failures else 0


@app.command
def tune(
    *,
    dataset: str | None = None,
    vectors: Files = None,
    preset: str | None = None,
    methods: Words = None,
    dims: Words = None,
    seed: int = 0,
    steps: int | None = None,
    grid: tuple[str, ...] = (),
    trials: int | None = None,
    set: tuple[str, ...] = (),
    data: Path | None = None,
    mirror: Path | None = None,
    results: Path = RESULTS,
    device: str | None = None,
    checkpoint_every: float = 120.0,
    measure_only: bool = False,
    dry_run: bool = False,
) -> int:
    """Choose settings on held-out training classes: equally many tried for every method, in lockstep, scored by MAP@R.

    Trains on the first 80 % of the training classes (teacher included) and scores on the rest; test classes are not read.
    Writes tuning.csv, and the choice to benchmark/presets/tuned/, where it replaces the earlier one of the same methods.

    Parameters
    ----------
    dataset
        as for run
    preset
        as for run
    methods
        comma-separated names, or all, relational, individual, posthoc; names joined by + are one method, the sum of their losses
    dims
        comma-separated; the default is the preset's middle one
    seed
        the one seed of all runs, and of what is drawn
    steps
        training steps of the students, when fewer than the preset's must do; recorded with the choice
    grid
        KEY=VALUE,VALUE,...; repeatable: all combinations are tried; the default is four values of lr
    trials
        try the preset's setting and others, drawn from its [search] and from the methods' own ranges, this many in all; the default
        (20) where the preset has a [search] and no --grid is given
    set
        as for run
    data
        as for run
    mirror
        as for run
    results
        as for run
    device
        as for run
    checkpoint_every
        as for run
    measure_only
        write tuning.csv, and leave the settings that runs use as they are
    dry_run
        print the plan and stop
    """
    from .tuning import asked, choice_table, choose, tune_command, write_choice

    plan = Plan(dataset, preset, vectors=vectors, data=data, mirror=mirror, results=results, device=device, dry=dry_run)
    middle = str(sorted(plan.dims)[(len(plan.dims) - 1) // 2])
    candidates, option = asked(grid, trials, seed, plan.preset)
    specs_of = functools.partial(
        plan.specs,
        methods=methods,
        dims=dims or middle,
        seeds=str(seed),
        steps=None if steps is None else str(steps),
        backbone=None,
        teacher=None,
        assignments=set,
    )
    specs = [spec for spec in specs_of(variants=candidates.variants) if spec.steps]
    store = Store(plan.folder, "tuning")
    driver = Driver(plan, store, out)
    missing = driver.announce(specs, dry=dry_run)
    if dry_run:
        out.print(_plan_table(waves(missing)))
        return 0
    failures = driver.run(missing, _device(device), checkpoint_every=checkpoint_every, yes=True) if missing else 0
    students = {spec.id for spec in specs} - {spec.teacher.id for spec in specs if spec.teacher is not None}
    defaults = {spec.id for spec in specs_of(variants=lambda entry: [{}])}
    choice = choose([record for record in store if record.id in students], candidates, defaults)
    out.print(choice_table(choice, candidates))
    words = {**plan.source, "--preset": plan.preset.name, "--methods": methods, "--dims": dims}
    command = tune_command({**words, "--seed": seed or None, "--steps": steps, **option, "--set": set})
    from .report import write_report

    written = write_report(plan.folder)
    if not measure_only:
        for line in write_choice(plan.tuned_path, choice, command):
            out.print(line, markup=False, soft_wrap=True)
        written.append(plan.tuned_path)
    for path in written:
        out.print(f"wrote {path}", soft_wrap=True)
    return 1 if failures else 0


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


@app.command
def evaluate(
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
        .npy, [n, d]
    labels
        .npy, [n] integers
    gallery_embeddings
        .npy, [m, d]; without it, queries are searched among themselves, each without itself
    gallery_labels
        .npy, [m] integers
    metric
        l2 or cosine; both without it
    at
        comma-separated K of Recall@K
    json
        print JSON
    """
    from .evaluate import evaluate_files

    result = evaluate_files(embeddings, labels, gallery_embeddings, gallery_labels, at=tuple(integers("--at", at)))
    shown = {name: getattr(result, name) for name in ([metric] if metric else ["l2", "cosine"])}
    if json:
        _print_json({**shown, "queries": result.queries, "dropped": result.dropped, "gallery": result.gallery})
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
    from .apply import apply, find

    spec, rows = apply(find(results, run), features, to, _device(device))
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
    from . import estimate, extract, zoo
    from .data import fetch as fetch_data
    from .data import load
    from .progress import Reporter
    from .workspace import Workspace

    zoo.check_name(backbone)
    folder = data or cards.default_data_dir()
    card = cards.load(dataset, folder)
    if card.vectors is not None:
        raise UsageError(f"{dataset} holds vectors, not images")
    fetch_data(card, folder)
    images = load(cards.load(dataset, folder), folder)
    chosen, where = extract.named(images, split), _device(device)
    spec = extract.request(images, backbone, views=views, image=image, resize=resize)
    estimate.check_size(spec, where)
    with Reporter(out) as reporter:
        workspace = Workspace(images, folder, Store(RESULTS), where, reporter.preparing)
        shape = extract.extract(spec, chosen, workspace, to, labels_out)
    out.print(f"wrote {to}, {' x '.join(map(str, shape))}, float16", markup=False, soft_wrap=True)
    return 0


@app.command
def report(*, results: Path = RESULTS) -> int:
    """Regenerate every table from the records alone.

    Parameters
    ----------
    results
        the folder of all results, or of one data set or preset
    """
    from .report import find, write_report

    for folder in find(results):
        for path in write_report(folder):
            out.print(f"wrote {path}", soft_wrap=True)
    return 0


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
        _print_json(rows)
        return 0
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in columns))
    out.print(table)
    return 0


def _plan_table(plan: Sequence[Sequence[Sequence[Spec]]]) -> Table:
    table = Table("wave", "group", "method", "network", "l2", "seed", "steps", "batch", "lr", "id")
    for wave, groups in enumerate(plan, 1):
        for group, specs in enumerate(groups, 1):
            for spec in specs:
                l2 = "yes" if spec.normalize else "no"
                table.add_row(
                    str(wave), str(group), spec.method, f"{spec.backbone}-{spec.dim}", l2, str(spec.seed), str(spec.steps),
                    str(spec.batch), f"{spec.lr:g}", spec.id,
                )  # fmt: skip
    return table


def _finish(folder: Path) -> None:
    from .report import terminal_table, write_report

    if not any((folder / "runs").glob("*.json")):
        return
    paths = write_report(folder)
    out.print(terminal_table(folder))
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True)


def _device(name: str | None) -> torch.device:
    """The device, with the machine's settings for training made."""
    from .machine import prepare

    return prepare(name)


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


def _print_json(value: Any) -> None:
    out.print(json.dumps(value, indent=1), markup=False, soft_wrap=True)
