"""`benchmark compare`."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from ..errors import UsageError
from ..report import Folder, contrast_folders, contrast_methods, find, rich
from .console import RESULTS, out


def compare(first: str, second: str, /, *, results: Path = RESULTS) -> int:
    """Paired differences, second minus first: of two folders of results, or of two methods of one folder.

    Parameters
    ----------
    first
        a folder <dataset>/<preset>, or a method
    second
        the same
    results
        for methods: the folder <dataset>/<preset>, or one above that holds only one
    """
    if Path(first).is_dir() and Path(second).is_dir():
        before, after = Folder.read(Path(first)), Folder.read(Path(second))
        steps = takewhile(lambda pair: pair[0] == pair[1], zip(before.path.parts, after.path.parts, strict=False))
        above = len(list(steps))
        short = ["/".join(folder.path.parts[above:]) or str(folder.path) for folder in (before, after)]
        table = contrast_folders(before.compared, after.compared, *short)
    else:
        for name in (first, second):
            if "/" in name:
                raise UsageError(f"{name} is no folder")
        paths = [path for path in find(results) if (path / "runs").is_dir()]
        if len(paths) != 1:
            names = ", ".join(str(path) for path in paths)
            raise UsageError(f"two methods are compared within one folder; choose one by --results: {names}")
        table = contrast_methods(Folder.read(paths[0]).compared, first, second)
    # What all rows share is said once, and leaves its room to what tells them apart.
    said = {}
    for number, column in enumerate(table.columns):
        values = {line.values[number].text for line in table.lines}
        if column.name in ("method", "steps", "seeds") and len(values) == 1:
            said[number] = f"{column.name} {values.pop()}"
    title = " ".join([f"{table.title}: {table.caption}", f"All rows: {', '.join(said.values())}." * bool(said)])
    out.print(rich(table, title.strip(), lambda number: number not in said))
    return 0
