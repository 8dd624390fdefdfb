"""Check contributed records, each alone, compared with each other, and with preset and tuning: `benchmark check-submission`."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data import cards
from ..errors import BenchmarkError, UsageError
from ..files import SEAL, digest, read_regular
from ..methods import entry
from ..protocol.choice import choose
from ..protocol.experiment import Experiment, gather, resolve
from ..protocol.request import Data, Device, Request
from ..protocol.tuning import Grid
from ..queries import check_queries
from ..record import MOST, Evaluation, Record, read_record
from ..report.cells import one_line
from ..report.write import Folder, differences
from ..spec import ENSEMBLE, Spec
from ..store import Store
from ..tuned import read_tuned
from .console import say
from .verify import row_of, run_again

WHOLE = 0.05  # hits by which Recall@K times its queries may miss a whole number: six decimals of 60,000 queries


def check_submission(folder: Path, /, *, rerun: int = 0, data: Data = None, device: Device = None) -> int:
    """Check a contributed folder of results: records, numbers, settings and generated files; print one line per fault.

    The check finds a number that was edited by hand if it disagrees with the rest of its record, or if a rerun differs.

    Parameters
    ----------
    folder
        results/<dataset>/<preset>
    rerun
        train this many runs again and compare them with their records; a digest of all records picks the runs
    """
    store = Store(folder)
    if not store.records.is_dir():
        raise UsageError(
            f"{folder} holds no runs/; name the folder of a data set and preset, results/<dataset>/<preset>"
        )
    (runs, lines), (tuned, more) = read_all(store), read_all(Store(folder, "tuning"))
    lines += more
    for record in (*runs, *tuned):
        lines += faults_of(record, folder, data)
    lines += faults_together(runs) + faults_together(tuned)
    lines += settings_faults(folder, runs, data) + tuning_faults(folder, tuned, data)
    if len(runs) + len(tuned) == len([*folder.glob("runs/*.json"), *folder.glob("tuning/*.json")]):
        # Of records that cannot be read there is nothing to generate.
        lines += differences(folder, Folder.read(folder).files())
    # Of a fault that many runs share a line tells as well: the first of them, and their number.
    alike = Counter(line.partition(": ")[2] or line for line in lines)
    first = {line.partition(": ")[2] or line: line for line in reversed(lines)}
    say(*(one_line(first[fault]) + f" (and {count - 1} more)" * (count > 1) for fault, count in alike.items()))
    failed = 0
    for id in _drawn(folder, runs, rerun):
        say(f"again: {id}")
        try:
            failed += run_again(folder, id, Request(data=data, device=device))
        except BenchmarkError as error:
            say(one_line(str(error)))
            failed += 1
    again = f", {failed} of {rerun} reruns failed" if rerun else ""
    faults = f"{len(lines) or 'no'} fault{'s' * (len(lines) != 1)}"
    say(f"{folder}: {len(runs) + len(tuned)} records: {faults}{again}")
    return 1 if lines or failed else 0


def _drawn(folder: Path, records: list[Record], count: int) -> list[str]:
    """Draw ids of runs that train something; the folder's content decides, so that contributors cannot choose.

    Raises:
        UsageError: there are fewer.
    """
    trained = [record.id for record in records if record.spec.steps]
    if count > len(trained):
        raise UsageError(f"--rerun {count}: {folder} has {len(trained)} runs that train something")
    content = b"".join(path.read_bytes() for path in sorted(Store(folder).records.glob("*.json")))
    return random.Random(digest(content)).sample(trained, count)


def read_all(store: Store) -> tuple[list[Record], list[str]]:
    """All valid records of a folder, and one line for each invalid one."""
    records, lines = [], []
    for path in sorted(store.records.glob("*.json")):
        try:
            record = read_record(path)
        except BenchmarkError as error:
            lines.append(str(error))
            continue
        if SEAL not in json.loads(read_regular(path, MOST)):
            lines.append(f"{path} has no digest, which all records of this version have")
        if (record.spec.evaluation == "validation") != (store.kind == "tuning"):
            lines.append(
                f"{path} was scored on {record.spec.evaluation} classes, and does not belong into {store.kind}/"
            )
        records.append(record)
    return records, lines


def faults_of(record: Record, folder: Path, data: Path | None) -> list[str]:
    """List impossible values of a record, and values that do not fit its folder, one line each."""
    spec, lines = record.spec, []
    if spec.dataset != folder.resolve().parent.name or spec.data or spec.builds_on_vectors:
        return [f"{spec.label}: is of own data or of another data set than the folder, and others cannot run it again"]
    if record.dirty:
        lines.append("was run with code that was not committed")
    if (record.loss is None) != (spec.steps == 0):
        lines.append("has a loss though nothing was trained, or none though it was")
    if spec.evaluation == "test":
        if record.by_class is None and record.evaluation.relevance == "class":
            lines.append("has no results by class; benchmark measure adds them")
        lines += _miscounted(record, data)
        try:
            check_queries(record, Store(folder).queries(spec))
        except BenchmarkError as error:
            return [*(f"{spec.label}: {line}" for line in lines), str(error)]
    for evaluation in (record.evaluation, record.asymmetric):
        lines += [] if evaluation is None else _broken_hits(evaluation)
    return [f"{spec.label}: {line}" for line in lines]


def _broken_hits(evaluation: Evaluation) -> Iterator[str]:
    """Name values of Recall@K that are not a whole number of queries."""
    for distance, metrics in (("L2", evaluation.l2), ("cosine", evaluation.cosine)):
        for name, value in metrics.items() if evaluation.relevance == "class" else ():
            hits = value * evaluation.queries
            if name.startswith("recall@") and abs(hits - round(hits)) > WHOLE:
                yield f"{name} by {distance} is {value}, which is no whole number of its {evaluation.queries} queries"


def _miscounted(record: Record, data: Path | None) -> Iterator[str]:
    """Name counts that differ from the data set's card."""
    counts, scored = cards.load_card(record.spec.dataset, data).counts, record.evaluation
    if record.spec.subset or not counts:
        return
    queries, gallery = counts.get("query", counts.get("test")), counts.get("gallery", counts.get("test"))
    for name, has, wanted in (
        ("queries", scored.queries + scored.dropped, queries),
        ("images to search in", scored.gallery, gallery),
    ):
        if wanted is not None and has != wanted.images:
            yield f"has {has} {name}, and the card {wanted.images} (of a reduced copy, name its folder by --data)"


def faults_together(records: Sequence[Record]) -> list[str]:
    """List disagreements between records of one folder: absent teachers, missing seeds, several sets of images."""
    lines, by_id = [], {record.id: record for record in records}
    for record in records:
        for parent in record.spec.parents:
            if parent.id not in by_id:
                lines.append(
                    f"{record.spec.label}: builds on {parent.label} ({parent.id}), of which there is no record"
                )
        teacher = by_id.get(record.spec.teacher.id) if record.spec.teacher else None
        if teacher is not None and teacher.weights != record.teacher:
            lines.append(f"{record.spec.label}: was taught by other weights than {teacher.spec.label} has")
    images = {record.data for record in records}
    lines += [f"records are of several sets of images: {', '.join(sorted(images))}"] * (len(images) > 1)
    if any(record.spec.evaluation == "validation" for record in records):
        return lines
    seeds: dict[str, dict[int, Spec]] = defaultdict(dict)
    for spec in _students(records):
        if spec.steps:
            seeds[row_of(spec)][spec.seed] = spec
    wanted = {seed for row in seeds.values() for seed in row}
    for row in seeds.values():
        if missing := sorted(wanted - {*row}):
            label = next(iter(row.values())).label.rpartition(" seed ")[0]
            lines.append(f"{label}: has no run of seed {', '.join(map(str, missing))}, which others have")
    return lines


def _students(records: Sequence[Record]) -> list[Spec]:
    """The specs that no other spec builds on, and all generations."""
    parents = {parent.id for record in records for parent in record.spec.parents}
    specs = [record.spec for record in records]
    return [
        spec for spec in specs if spec.id not in parents or spec.generation or spec.method.startswith("matryoshka-")
    ]


def _experiments(folder: Path, records: Sequence[Record], data: Path | None) -> Iterator[Experiment]:
    """Requests of the folder's preset for its runs: with the settings tuned there, and with the preset's own."""
    students = [
        spec
        for spec in _students(records)
        if spec.method != ENSEMBLE and spec.nested_in is None and not spec.generation
    ]
    path = folder.resolve()
    for results in (path.parents[1], path / "none"):
        for subset in sorted({spec.subset for spec in students}):
            own = [spec for spec in students if spec.subset == subset]
            yield gather(
                Request(
                    path.parent.name,
                    preset=path.name,
                    data=data,
                    results=results,
                    subset=subset,
                    methods=",".join(sorted({spec.method for spec in own})),
                    dims=",".join(map(str, sorted({spec.dim for spec in own if entry(spec.method).has_head}))) or None,
                    seeds=",".join(map(str, sorted({spec.seed for spec in own}))),
                )
            )


def settings_faults(folder: Path, records: Sequence[Record], data: Path | None) -> list[str]:
    """Runs whose settings are neither the preset's nor tuned for it, one line each."""
    wanted: dict[str, Spec] = {}
    try:
        for experiment in _experiments(folder, records, data):
            waiting = [*resolve(experiment).specs]
            while waiting:
                spec = waiting.pop()
                wanted[spec.id] = spec
                waiting += spec.parents
    except BenchmarkError as error:
        return [f"its runs cannot be asked for again: {error}"]
    return [
        f"{record.spec.label}: {_differing(record.spec, [*wanted.values()])}"
        for record in records
        if record.id not in wanted and not record.spec.generation and record.spec.method != ENSEMBLE
    ]


def _differing(spec: Spec, wanted: Sequence[Spec]) -> str:
    """Say how a spec differs from the nearest spec of the preset."""
    own = spec.model_dump(mode="json")
    alike = (other.model_dump(mode="json") for other in wanted if other.method == spec.method)
    off = min(([name for name in own if other[name] != own[name]] for other in alike), key=len, default=["method"])
    return f"is neither as the preset says nor as it was tuned, in {', '.join(off)}"


def tuning_faults(folder: Path, records: Sequence[Record], data: Path | None) -> list[str]:
    """Choices in the folder's tuned.toml that its records in tuning/ do not give by the rule, one line each."""
    path, lines, home = folder / "tuned.toml", [], folder.resolve()
    if not path.exists():
        return []
    students = {spec.id for spec in _students(records) if spec.steps}
    try:
        for method, choices in read_tuned(path).items():
            own = [record for record in records if record.spec.method == method and record.id in students]
            seeds = ",".join(map(str, sorted({record.spec.seed for record in own}))) or None
            words = {"preset": home.name, "methods": method, "seeds": seeds, "data": data, "results": home / "none"}
            asked = gather(Request(home.parent.name, **words))  # type: ignore[arg-type]
            defaults = {spec.id for spec in resolve(asked, lambda entry: [{}]).specs}
            for choice in choices:
                tried = Grid(dict.fromkeys(choice.values, ()))
                again = choose(own, tried, [record.spec for record in own], defaults, [*choice.where])
                given = [each.values for each in again if each.where == choice.where]
                if choice.values not in given:
                    said = "; ".join(map(str, given)) or "none"
                    lines.append(f"{path}: {method} has {choice.values}, and its records in tuning/ give {said}")
    except BenchmarkError as error:
        return [f"{path}: {error}"]
    return lines
