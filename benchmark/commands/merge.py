"""`benchmark merge`."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import BenchmarkError, UsageError
from ..files import write_atomically
from ..record import Record
from ..report.write import Folder, result_folders
from ..store import Store
from .console import say, say_written

KINDS: tuple[Literal["runs", "tuning"], ...] = ("runs", "tuning")
Records = Mapping[str, Record]  # by id
Parts = list[tuple[Store, Records]]


def merge(
    *folders: Annotated[Path, Parameter(help="folders with parts of one grid, made on several machines")],
    into: Annotated[Path, Parameter(help="the folder that gets all runs; one of these folders, or another")],
) -> int:
    """Join the results of one grid from several machines: records, weights, per-query results, tuned settings, costs, and one report.

    Folders with different images or different teachers are refused, and nothing is written. If several folders have the same run, the
    target folder's copy is kept, or else the copy of the folder that is named first.
    """
    if len(folders) < 2:
        raise UsageError("merge wants two or more folders of results")
    # A folder of many data sets and presets is joined to the same places of the other.
    places = [{path.relative_to(folder): path for path in result_folders(folder)} for folder in folders]
    joined = {place: [each[place] for each in places if place in each] for place in sorted(set().union(*places))}
    parts = [_parts(into / place, paths, kind) for place, paths in joined.items() for kind in KINDS]
    for stores in parts:
        _check(stores)
    for stores in parts:
        say(*_join(stores))
    for place, paths in joined.items():
        say(*_take_files(into / place, paths))
        say_written(Folder.read(into / place).write())
    return 0


def _take_files(into: Path, paths: Sequence[Path]) -> Iterator[str]:
    """Take over tuned settings and costs of the first folder that has them, unless they are there; yield lines that say whose they are."""
    for name in ("tuned.toml", "costs.json"):
        there = [path / name for path in (into, *paths) if (path / name).exists()]
        if not there:
            continue
        if there[0].parent != into:
            write_atomically(into / name, there[0].read_bytes())
        others = [str(path.parent) for path in there[1:] if path.read_bytes() != there[0].read_bytes()]
        if others:
            yield f"{into / name} is that of {there[0].parent}; not taken: {', '.join(others)}"


def _parts(into: Path, paths: Sequence[Path], kind: Literal["runs", "tuning"]) -> Parts:
    """Read the runs, or the validation runs, of one data set and preset: those of the target folder first.

    Raises:
        BenchmarkError: a record is damaged.
    """
    others = [path for path in paths if path.resolve() != into.resolve()]
    stores = [Store(path, kind) for path in (into, *others)]
    return [(store, {record.id: record for record in store}) for store in stores]


def _check(parts: Parts) -> None:
    """Raise a BenchmarkError where the folders' records cannot be compared."""
    for (store, records), (other, others) in itertools.combinations(parts, 2):
        marks, held = _marks(records), _marks(others)
        for wrong in sorted(marks.keys() & held.keys()):
            if marks[wrong] != held[wrong]:
                both = " and ".join(", ".join(sorted(values)) for values in (marks[wrong], held[wrong]))
                raise BenchmarkError(f"{store.folder} and {other.folder} are not joined: {wrong} ({both})")


def _join(parts: Parts) -> Iterator[str]:
    """Take over missing runs into the first part; yield lines that say which runs came from where."""
    (into, records), *others = parts
    present = dict(records)
    for store, more in others:
        new = [record for id, record in more.items() if id not in present]
        weights = sum([into.take(record, store) for record in new])
        again = sum(present[id].weights != record.weights for id, record in more.items() if id in present)
        present |= {record.id: record for record in new}
        if more:
            other = f"; {again} more are there with other weights, which stay" if again else ""
            yield f"{store.folder}: {len(new)} of {len(more)} {into.kind} taken, {weights} with weights{other}"


def _marks(records: Records) -> Mapping[str, set[str]]:
    """Fingerprints of images, of which records of older versions have only names and sizes, and digests of teachers' weights; by what is
    wrong where two folders have others."""
    known = all(record.listing for record in records.values())
    taught = {record.spec.teacher.id for record in records.values() if record.spec.teacher is not None}
    marks: dict[str, set[str]] = defaultdict(set)
    for record in records.values():
        spec, teacher = record.spec, record.spec.teacher
        name = " ".join(filter(None, (spec.dataset, spec.subset, spec.evaluation, spec.fold)))
        images, weights = f"they are of different images of {name}", "they have different weights of teachers, "
        marks[f"{images}, by names and sizes"].add(record.listed)
        if known:
            marks[images].add(record.data)
        if teacher is not None and record.teacher is not None:
            marks[f"{weights}{teacher.label} ({teacher.id})"].add(record.teacher)
        if record.id in taught:
            marks[f"{weights}{spec.label} ({record.id})"].add(record.weights)
    return marks
