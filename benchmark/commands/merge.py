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
from .console import out, say_written

KINDS: tuple[Literal["runs", "tuning"], ...] = ("runs", "tuning")
Records = Mapping[str, Record]  # by id


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
    plans = [_Join(into / place, paths, kind) for place, paths in joined.items() for kind in KINDS]
    for plan in plans:
        plan.check()
    for plan in plans:
        for line in plan.carry_out():
            out.print(line, markup=False, soft_wrap=True)
    for place, paths in joined.items():
        for line in _take_files(into / place, paths):
            out.print(line, markup=False, soft_wrap=True)
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


class _Join:
    """Joins the runs, or the validation runs, of one data set and preset.

    Raises:
        BenchmarkError: a record is damaged.
    """

    def __init__(self, into: Path, paths: list[Path], kind: Literal["runs", "tuning"]) -> None:
        self.into = Store(into, kind)
        others = [Store(path, kind) for path in paths if path.resolve() != into.resolve()]
        self.parts = [(store, {record.id: record for record in store}) for store in (self.into, *others)]

    def check(self) -> None:
        """Raise a BenchmarkError where the folders' records cannot be compared."""
        for (store, records), (other, others) in itertools.combinations(self.parts, 2):
            where = f"{store.folder} and {other.folder} are not joined"
            if clash := _clash(_images(records), _images(others)):
                raise BenchmarkError(f"{where}: they are of different images of {clash}")
            if clash := _clash(_teachers(records), _teachers(others)):
                raise BenchmarkError(f"{where}: they have different weights of teachers, {clash}")

    def carry_out(self) -> Iterator[str]:
        """Take over missing runs; yield lines that say which runs came from where."""
        present = dict(self.parts[0][1])
        for store, records in self.parts[1:]:
            new = [record for id, record in records.items() if id not in present]
            weights = sum([self.into.take(record, store) for record in new])
            again = sum(present[id].weights != record.weights for id, record in records.items() if id in present)
            present |= {record.id: record for record in new}
            if records:
                other = f"; {again} more are there with other weights, which stay" if again else ""
                yield f"{store.folder}: {len(new)} of {len(records)} {self.into.kind} taken, {weights} with weights{other}"


Values = Mapping[str, set[str]]


def _images(records: Records) -> Values:
    """Fingerprints of the records' images, by data set; records of older versions have only names and sizes."""
    known = all(record.listing for record in records.values())
    values: Values = defaultdict(set)
    for record in records.values():
        spec = record.spec
        name = " ".join(filter(None, (spec.dataset, spec.subset, spec.evaluation, spec.fold)))
        values[f"{name}, by names and sizes"].add(record.listed)
        if known:
            values[name].add(record.data)
    return values


def _teachers(records: Records) -> Values:
    """Digests of teachers' weights by run."""
    values: Values = defaultdict(set)
    for record in records.values():
        if record.spec.teacher is not None and record.teacher is not None:
            values[f"{record.spec.teacher.label} ({record.spec.teacher.id})"].add(record.teacher)
    taught = {record.spec.teacher.id for record in records.values() if record.spec.teacher is not None}
    for record in records.values():
        if record.id in taught:
            values[f"{record.spec.label} ({record.id})"].add(record.weights)
    return values


def _clash(values: Values, others: Values) -> str:
    """The first entry that two folders have with different values, with these values; or nothing."""
    for name in sorted(values.keys() & others.keys()):
        if values[name] != others[name]:
            return f"{name} ({', '.join(sorted(values[name]))} and {', '.join(sorted(others[name]))})"
    return ""
