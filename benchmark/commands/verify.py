"""`benchmark verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table
from rich.text import Text

from ..data.cards import NOTHING_SAID
from ..errors import BenchmarkError, UsageError
from ..protocol.experiment import gather
from ..protocol.presets import preset_names
from ..protocol.request import Data, Device, Request
from ..queries import check_queries
from ..record import read_record
from ..report.cells import one_line
from ..report.style import DRAWN_WITH, other_release
from ..report.write import differences, overview_files
from ..shipping.apply import find
from ..store import Store
from ..training.driver import Driver
from .console import RESULTS, device_of, folders_of, out
from .options import Baseline, Own, OwnDataset, Results, TeacherFeatures, TeacherNames, given_again
from .rerun import differences_of, judge_rerun, threads_of


def verify(
    *,
    results: Results = RESULTS,
    baseline: Baseline = "triplet",
    rerun: str | None = None,
    dataset: OwnDataset = None,
    own: Own = NOTHING_SAID,
    data: Data = None,
    device: Device = None,
    teacher_features: TeacherFeatures = None,
    teacher_names: TeacherNames = None,
) -> int:
    """Compare tables and figures with the records; with --rerun, compare a record with a new training run.

    Parameters
    ----------
    rerun
        the beginning of a run's id: train it again, and compare its metrics with the record's. Another machine rounds differently, and
        training amplifies this, so they may differ as much as two seeds of its row
    """
    where = Request(dataset, own, vectors=given_again(teacher_features, teacher_names), data=data, device=device)
    if rerun is not None:
        return run_again(results, rerun, where)
    if where != Request():
        raise UsageError("what says where images, vectors and devices are is for --rerun ID")
    folders = folders_of(results, baseline)
    lines = [line for folder in folders for line in differences(folder.path, folder.files())]
    if results not in [folder.path for folder in folders]:
        lines += differences(results, overview_files(results, folders))
    for folder in folders:
        for record in folder.runs:
            try:
                check_queries(record, Store(folder.path).queries(record.spec))
            except BenchmarkError as error:
                lines.append(str(error))
    for line in lines:
        out.print(one_line(line), markup=False, soft_wrap=True)
    if release := other_release():
        advice = f"pip install 'matplotlib=={DRAWN_WITH}.*' to compare them"
        out.print(
            f"figures are not compared: committed ones are of matplotlib {DRAWN_WITH}, this is {release}; {advice}",
            markup=False,
            soft_wrap=True,
        )
    records = sum(len(folder.runs) + len(folder.tuned) for folder in folders)
    out.print(f"{len(folders)} folders, {records} records: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}")
    return 1 if lines else 0


def run_again(results: Path, id: str, where: Request) -> int:
    """Train a run again, in a temporary folder, and compare its metrics with its record's.

    Args:
        where: the place of its images or of its teacher's vectors, and the device.
    """
    path = find(results, id)
    record, folder = read_record(path), path.parents[1]
    spec = record.spec
    if spec.reads_vectors and not spec.joined:
        raise UsageError(f"{spec.label} is of own vectors; run it again with --results elsewhere, and compare")
    if spec.data and where.dataset is None:
        raise UsageError(f"{spec.label} is of own images: say where they are, by --dataset")
    with TemporaryDirectory() as scratch:
        preset = folder.name if folder.name in preset_names() else None
        again = replace(where, dataset=where.dataset or spec.dataset, preset=preset, subset=spec.subset)
        plan = gather(replace(again, results=Path(scratch)))
        images = plan.images()
        if not record.was_of(images.fingerprint, images.listing):
            raise UsageError(f"{spec.label} was run on other images ({record.data}) than these ({images.fingerprint})")
        if spec.builds_on_vectors:
            images.taught_by(spec)
        store, before = Store(plan.folder), Store(folder)
        for parent in store.bring([spec], [folder]):
            out.print(f"{parent.spec.label}: taken from {folder}", markup=False, soft_wrap=True)
        missing = store.missing([spec])
        counts = {run.id: threads_of(read_record(before.path(run))) for run in missing if before.done(run)}
        if Driver(plan, store, out).run(
            missing,
            device_of(where.device),
            checkpoint_every=120.0,
            yes=True,
            counts={id: n for id, n in counts.items() if n},
        ):
            return 1
        repeated = read_record(store.path(spec))
    table = Table("metric", "record", "again", "difference", title=Text(one_line(spec.label)))
    for name, off in differences_of(record, repeated).items():
        table.add_row(name, f"{100 * record.metrics[name]:.2f}", f"{100 * repeated.metrics[name]:.2f}", f"{off:+.2f}")
    out.print(table)
    words, failed = judge_rerun(record, repeated, list(before))
    out.print(words, markup=False, soft_wrap=True)
    return 1 if failed else 0
