"""The suite in Python: what the command line does, with results as data frames and networks as modules.

Each function takes the options of the command of its name, as keyword arguments: `run(dataset="tiny", preset="smoke", dims="8,16")`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from inspect import BoundArguments
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import CycloptsError

from .cli import app, explained, without_plugins
from .errors import BenchmarkError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from .shipping.student import Shipped

REPEATABLE = ("set", "slurm", "grid", "plugin")  # options that are given once for each value


def run(**words: Any) -> pd.DataFrame:
    """Train, distil, measure; finished runs are not repeated.

    Args:
        words: as of `benchmark run`; several values as a list or as text with commas, KEY=VALUE also as a mapping. `plugin` names files
            of methods of your own.

    Returns:
        The results of the data set and preset, as `load_results`.

    Raises:
        BenchmarkError: a word is wrong, or a run failed.
    """
    from .protocol.experiment import gather

    command, bound = _parsed("run", {**words, "yes": True})
    folder = gather(bound.arguments["request"]).folder
    if command(*bound.args, **bound.kwargs):
        raise BenchmarkError(f"runs failed, and are told above; what is done is in {folder}")
    return load_results(folder)


def tune(**words: Any) -> None:
    """Choose settings on held-out training classes, for later runs. Raises as `run`.

    Args:
        words: as of `benchmark tune`; `grid` may be values by setting: `{"lr": [1e-3, 1e-2]}`.
    """
    command, bound = _parsed("tune", words)
    if command(*bound.args, **bound.kwargs):
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
    from .shipping.student import find, whole_network
    from .store import Store

    path = find(Path(results), run)
    return whole_network(read_record(path), Store(path.parents[1]), torch.device(device))


def _parsed(verb: str, words: Mapping[str, Any]) -> tuple[Callable[..., int], BoundArguments]:
    """A command, and keyword arguments as its command line has them. Raises a UsageError where one is none of its words."""
    line = [verb]
    for name, value in words.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            line.append(option)
        elif value is not None and value is not False:
            values = [f"{key}={_text(each)}" for key, each in value.items()] if isinstance(value, Mapping) else value
            several = name in REPEATABLE and not isinstance(values, str | Path)
            line += [part for each in (values if several else [values]) for part in (option, _text(each))]
    try:
        command, bound, _ = app.parse_args(without_plugins(line), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(explained(error)[0]) from None
    return command, bound


def _text(value: Any) -> str:
    """A value, or several with commas between them, as a command line has it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
