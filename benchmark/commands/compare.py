"""`benchmark compare`."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError
from ..report.contrast import contrast_folders, contrast_methods
from ..report.render import rich
from ..report.write import Folder, result_folders
from .console import RESULTS, out


def compare(first: str, second: str, /, *, results: Path = RESULTS) -> int:
    """Show paired differences, second minus first, between two folders of results, or two methods of one folder.

    Parameters
    ----------
    first
        a folder <dataset>/<preset>, or a method
    second
        the same
    results
        for methods: the folder <dataset>/<preset>, or a folder above it that holds only this one
    """
    paths = [Path(name).absolute() for name in (first, second)]
    if all(path.is_dir() for path in paths):
        before, after = (Folder.read(path).compared for path in paths)
        above = len(Path(os.path.commonpath(paths)).parts)
        names = ["/".join(path.parts[above:]) or str(path) for path in paths]
        table = contrast_folders(before, after, *names)
    else:
        for name in (first, second):
            if "/" in name:
                raise UsageError(f"{name} is no folder")
        folders = [str(path) for path in result_folders(results) if (path / "runs").is_dir()]
        if len(folders) != 1:
            raise UsageError(
                f"two methods are compared within one folder; choose one by --results: {', '.join(folders)}"
            )
        table = contrast_methods(Folder.read(Path(folders[0])).compared, first, second)
    # What all rows share is said once, and leaves its room to what tells them apart.
    shared = {}
    for number, column in enumerate(table.columns):
        values = {line.values[number].text for line in table.lines}
        if column.name in ("method", "steps", "seeds") and len(values) == 1:
            shared[number] = f"{column.name} {values.pop()}"
    title = f"{table.title}: {table.caption}" + f" All rows: {', '.join(shared.values())}." * bool(shared)
    out.print(rich(table, title, lambda number: number not in shared))
    return 0
