"""The suite in Python: what the command line does, with results as data frames and networks as modules.

Each function takes the words of the command of its name, as keyword arguments: `run(dataset="tiny", preset="smoke", dims="8,16")`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BenchmarkError, UsageError, unknown
from .protocol.request import Request, Shared

if TYPE_CHECKING:
    import pandas as pd

    from .shipping.student import Shipped


def run(**words: Any) -> pd.DataFrame:
    """Train, distil, measure; finished runs are not repeated.

    Args:
        words: as of `benchmark run`; several values as a list or as text with commas.

    Returns:
        The results of the data set and preset, as `load_results`.

    Raises:
        BenchmarkError: a word is wrong, or a run failed.
    """
    from .commands.run import run as command
    from .protocol.experiment import gather

    request = Request(**_words(words, Request))
    folder = gather(request).folder
    if command(request=request, yes=True):
        raise BenchmarkError(f"runs failed, and are told above; what is done is in {folder}")
    return load_results(folder)


def tune(**words: Any) -> None:
    """Choose settings on held-out training classes, for later runs. Raises as `run`.

    Args:
        words: as of `benchmark tune`.
    """
    from .commands.tune import tune as command

    shared = {name: words.pop(name) for name in [*words] if name in Shared.__dataclass_fields__}
    if command(shared=Shared(**_words(shared, Shared)), **words):
        raise BenchmarkError("runs failed, and are told above")


def load_results(folder: str | Path) -> pd.DataFrame:
    """The finished runs of a `results/<dataset>/<preset>` folder, a row each, with the columns of `runs.csv`.

    Raises:
        BenchmarkError: there are none, or a record is damaged.
    """
    import pandas as pd

    from .report.write import Folder

    read = Folder.read(Path(folder))
    if not read.runs:
        raise UsageError(f"no results in {folder}: runs/ holds no record")
    return pd.read_csv(io.StringIO(read.files()["runs.csv"]))


def write_report(folder: str | Path) -> list[Path]:
    """Write tables, figures and page of a folder of results again, from its records. Raises as `load_results`."""
    from .report.write import Folder

    return Folder.read(Path(folder)).write()


def load_student(run: str, results: str | Path = "results", device: str = "cpu") -> Shipped:
    """A finished run's network, frozen, from images uint8 [n, size, size, 3] to embeddings [n, d].

    Args:
        run: the beginning of its id.

    Returns:
        A module whose `preprocess` reads image files as its input.

    Raises:
        BenchmarkError: there is no such run, it has no network of its own, or its weights are not here.
    """
    import torch

    from .record import read_record
    from .shipping.apply import find
    from .shipping.student import whole_network
    from .store import Store

    path = find(Path(results), run)
    return whole_network(read_record(path), Store(path.parents[1]), torch.device(device))


def _words(given: dict[str, Any], kind: type) -> dict[str, Any]:
    """Keyword arguments as a command line has them. Raises a UsageError where one is none of its words."""
    known: dict[str, Any] = kind.__dataclass_fields__  # type: ignore[attr-defined]
    paths = ("data", "mirror", "results")
    result: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise unknown("argument", name, known)
        if name == "set":
            value = (value,) if isinstance(value, str) else tuple(value)
        elif name in paths:
            value = None if value is None else Path(value)
        elif isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        elif name not in ("vectors", "closed", "generations") and value is not None:
            value = str(value)
        result[name] = value
    return result
