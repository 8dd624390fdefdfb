"""Hold tables against records, and a rerun against its record by the spread over seeds: `benchmark verify`."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table
from rich.text import Text

from ..data.cards import NOTHING_SAID
from ..errors import BenchmarkError, UsageError
from ..methods import sources_of
from ..protocol.experiment import gather
from ..protocol.request import Data, Device, Request
from ..provenance import ROOMS, edited_since
from ..queries import check_queries
from ..record import Record, read_record
from ..report.cells import one_line
from ..report.stats import LEVEL, student
from ..report.style import DRAWN_WITH, other_release
from ..report.write import differences, overview_files
from ..shipping.student import find
from ..spec import Spec
from ..store import Store
from ..training.driver import Driver
from .console import RESULTS, device_of, folders_of, out, say
from .options import Baseline, Own, OwnDataset, Results, TeacherFeatures, TeacherNames, given_again
from .run import request_like

JUDGED = ("recall@1", "map@r")
ROUNDING = 0.1  # points by which metrics of the same weights differ between machines, where neighbours at equal distance change places
PRIOR = 3  # seeds
MOST = 12  # files that are named one by one


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
    try:
        folders = folders_of(results, baseline)
    except BenchmarkError:
        if len(damaged := _damaged(results)) < 2:
            raise
        say(*map(one_line, damaged))
        out.print(f"{len(damaged)} files are damaged, so nothing was compared")
        return 1
    lines = [line for folder in folders for line in differences(folder.path, folder.files())]
    if results not in [folder.path for folder in folders]:
        lines += differences(results, overview_files(results, folders))
    for folder in folders:
        for record in folder.runs:
            try:
                check_queries(record, Store(folder.path).queries(record.spec))
            except BenchmarkError as error:
                lines.append(str(error))
    say(*map(one_line, lines))
    if release := other_release():
        advice = f"pip install 'matplotlib=={DRAWN_WITH}.*' to compare them"
        say(f"figures are not compared: committed ones are of matplotlib {DRAWN_WITH}, this is {release}; {advice}")
    records = sum(len(folder.runs) + len(folder.tuned) for folder in folders)
    out.print(f"{len(folders)} folders, {records} records: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}")
    return 1 if lines else 0


def _damaged(results: Path) -> list[str]:
    """Say of each record that cannot be read why, so that all can be mended at once."""
    said = []
    for path in sorted(results.rglob("*.json")):
        if path.parent.name in ("runs", "tuning"):
            try:
                read_record(path)
            except BenchmarkError as error:
                said.append(str(error))
    return said


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
    with TemporaryDirectory() as scratch:
        plan = gather(replace(request_like(record, path, where), results=Path(scratch)))
        images = plan.images()
        if not record.was_of(images.fingerprint, images.listing):
            raise UsageError(f"{spec.label} was run on other images ({record.data}) than these ({images.fingerprint})")
        if spec.builds_on_vectors:
            images.taught_by(spec)
        store, before = Store(plan.folder), Store(folder)
        for parent in store.bring([spec], [folder]):
            say(f"{parent.spec.label}: taken from {folder}")
        missing = store.missing([spec])
        counts = {run.id: threads_of(read_record(before.path(run))) for run in missing if before.done(run)}
        from ..training.loop import Interrupted  # imports torch, which a look at tables does without

        try:
            failures = Driver(plan, store, out).run(
                missing,
                device_of(where.device),
                checkpoint_every=120.0,
                yes=True,
                counts={id: n for id, n in counts.items() if n},
            )
        except Interrupted:
            raise Interrupted("stopped; a rerun keeps nothing, and begins anew") from None
        if failures:
            return 1
        repeated = read_record(store.path(spec))
    table = Table("metric", "record", "again", "difference", title=Text(one_line(spec.label)))
    for name, off in differences_of(record, repeated).items():
        table.add_row(name, f"{100 * record.metrics[name]:.2f}", f"{100 * repeated.metrics[name]:.2f}", f"{off:+.2f}")
    out.print(table)
    words, failed = judge_rerun(record, repeated, list(before))
    say(words)
    return 1 if failed else 0


def threads_of(record: Record) -> int:
    """The number of threads that a run began with; 0 if its record does not have it."""
    first = record.environment.get("threads", "").partition(",")[0]
    return int(first) if re.fullmatch(r"[1-9]\d{0,3}", first) else 0


def differences_of(record: Record, again: Record) -> dict[str, float]:
    """Points by which the metrics that both have differ."""
    return {
        name: 100 * (again.metrics[name] - record.metrics[name]) for name in record.metrics if name in again.metrics
    }


def row_of(spec: Spec) -> str:
    """A key that is equal for the runs of a row: runs of one generation that differ only in seed and teacher."""
    return spec.name + json.dumps(spec.model_dump(mode="json", exclude={"seed", "teacher"}), sort_keys=True)


def allowed(record: Record, records: Sequence[Record], metric: str) -> float | None:
    """The largest difference, in points, that two seeds of a record's row may have in a metric: Student's interval of a difference, at 95 %
    for all judged metrics together. The variance is of the row's other seeds, so a wrong record does not widen the interval.

    The variance of few seeds is uncertain. So the folder's median row counts as `PRIOR` further seeds. In the committed tables,
    95 to 100 % of pairs of seeds differ by less; the aim is 97.5 %.

    Returns:
        None if the row has no other seed, or the spread over seeds is unknown.
    """
    rows: dict[str, list[float]] = defaultdict(list)
    for other in records:
        if other.id != record.id and metric in other.metrics:
            rows[row_of(other.spec)].append(100 * other.metrics[metric])
    own = rows.pop(row_of(record.spec), [])
    typical = [statistics.variance(values) for values in rows.values() if len(values) > 2]
    degrees = len(own) - 1 + PRIOR * bool(typical)
    if not own or not degrees:
        return None
    squares = statistics.variance(own) * (len(own) - 1) if len(own) > 1 else 0.0
    squares += PRIOR * statistics.median(typical) if typical else 0.0
    return max(ROUNDING, float(student(degrees, 1 - (1 - LEVEL) / len(JUDGED))) * (2 * squares / degrees) ** 0.5)


def judge_rerun(record: Record, again: Record, records: Sequence[Record]) -> tuple[str, bool]:
    """Judge a rerun: the text of the verdict, and whether the rerun failed.

    A rerun passes if it equals its record up to rounding, or is within the spread of its row's seeds. It fails beyond that, or if the same
    weights give other numbers. The text lists other differences between the runs as possible reasons; the verdict ignores them.

    Args:
        records: of its folder.
    """
    off = differences_of(record, again)
    worst, same = max(map(abs, off.values())), again.weights == record.weights
    if same and worst == 0:
        return "the same weights, to the bit", False
    kind, reason = f"{'the same' if same else 'other'} weights", _reason(record, again)
    if worst <= ROUNDING or same:
        judged = "rounding" if worst <= ROUNDING else "a fault"
        return f"{kind}; {judged}: metrics differ by up to {worst:.2f} points; {reason}", worst > ROUNDING
    limits = {name: allowed(record, records, name) for name in JUDGED if name in off}
    if None in limits.values():
        why = "its row has no other seed, so that only equality can be judged"
        return f"{kind}; not equal: metrics differ by up to {worst:.2f} points, and {why}; {reason}", True
    beyond = any(abs(off[name]) > (limit or 0) for name, limit in limits.items())
    judged = "a fault, beyond the seeds' spread" if beyond else "within the seeds' spread"
    said = (f"{name} by {off[name]:+.2f} points, seeds by up to {limit:.2f}" for name, limit in limits.items())
    return f"{kind}; {judged}: they differ in {', '.join(said)}; {reason}", beyond


def _reason(record: Record, again: Record) -> str:
    """Say what differs between a run and its rerun other than numbers; fields that an older record lacks are skipped."""
    before, now = record.environment, again.environment
    names = [name for name in before if name not in ("code", "method") and now.get(name, before[name]) != before[name]]
    changed = [f"{name} {before[name]}, now {now[name]}" for name in names]
    reasons = ["its teacher was trained again as well, to other weights"] * (again.teacher != record.teacher)
    reasons += [f"the machine, threads or libraries are others ({'; '.join(changed)})"] * bool(changed)
    if code := _code(record, again):
        reasons.append(f"the code has changed ({'; '.join(code)})")
    reasons = reasons or ["machine, threads, libraries and code are the same"]
    return "; ".join([*reasons, *["its record does not say on which processor it ran"] * ("processor" not in before)])


def _code(record: Record, again: Record) -> list[str]:
    """Name changes in the code that a run's numbers depend on: commits, and files if git knows them, otherwise sub-packages."""
    before, now = record.environment, again.environment
    versions = [name for name in ("code", "method") if name in before and now.get(name, before[name]) != before[name]]
    rooms = [room for room, was in record.sources.items() if again.sources.get(room, was) != was]
    if not rooms and "method" not in versions and (record.sources or not versions):
        return []
    own = {f"methods/{module}.py" for module in ("base", *sources_of(record.spec.method))}
    edited = edited_since(before.get("code", ""))
    files = [name for name in edited if name in own or name.partition("/")[0] in ROOMS or "/" not in name]
    if len(files) > MOST:
        counts = Counter(name.rpartition("/")[0] or "the package's top" for name in files)
        files = [f"{count} files of {room}" for room, count in counts.items()]
    return [*(f"{name} {before[name]}, now {now[name]}" for name in versions), *(files or rooms)]
