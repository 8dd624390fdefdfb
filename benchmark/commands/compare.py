"""`benchmark compare`."""

from __future__ import annotations

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
        ours, theirs = Folder.read(Path(first)), Folder.read(Path(second))
        table = contrast_folders(ours.compared, theirs.compared, first, second)
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
    shared = {}
    for number, column in enumerate(table.columns):
        values = {line.values[number].text for line in table.lines}
        if column.name in ("method", "steps", "seeds") and len(values) == 1:
            shared[number] = f"{column.name} {values.pop()}"
    title = " ".join([f"{table.title}: {table.caption}", f"All rows: {', '.join(shared.values())}." * bool(shared)])
    out.print(rich(table, title.strip(), lambda number: number not in shared))
    return 0
