"""The suite in Python: what the command line does, with results as data frames and networks as modules.

Each function takes the words of the command of its name, as keyword arguments: `run(dataset="tiny", preset="smoke", dims="8,16")`.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .data.cards import OwnImages
from .errors import BenchmarkError, UsageError, unknown
from .methods.plugins import add_plugin
from .protocol.request import Request, Shared
from .spec import Spec

if TYPE_CHECKING:
    import pandas as pd

    from .shipping.student import Shipped


def run(**words: Any) -> pd.DataFrame:
    """Train, distil, measure; finished runs are not repeated.

    Args:
        words: as of `benchmark run`; several values as a list or as text with commas. `plugin` names files of methods of your own.

    Returns:
        The results of the data set and preset, as `load_results`.

    Raises:
        BenchmarkError: a word is wrong, or a run failed.
    """
    from .commands.run import run as command
    from .protocol.experiment import gather

    request = _request(words, Request)
    folder = gather(request).folder
    if command(request=request, yes=True):
        raise BenchmarkError(f"runs failed, and are told above; what is done is in {folder}")
    return load_results(folder)


def tune(**words: Any) -> None:
    """Choose settings on held-out training classes, for later runs. Raises as `run`.

    Args:
        words: as of `benchmark tune`; `grid` may be values by setting: `{"lr": [1e-3, 1e-2]}`.
    """
    from .commands.tune import tune as command

    own = {name: words.pop(name) for name in inspect.signature(command).parameters if name in words}
    grid = own.get("grid", ())
    if isinstance(grid, Mapping):
        grid = [f"{key}={_text(values)}" for key, values in grid.items()]
    own |= {"grid": (grid,) if isinstance(grid, str) else tuple(grid), "dims": _text(own.get("dims"))}
    if command(shared=_request(words, Shared), **own):
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


R = TypeVar("R", bound=Shared)


def _request(words: Mapping[str, Any], kind: type[R]) -> R:
    """Keyword arguments as a command line has them. Raises a UsageError where one is none of its words."""
    of_images = OwnImages.__dataclass_fields__
    known = [*(name for name in kind.__dataclass_fields__ if name != "own"), *of_images, "plugin"]
    for name in words:
        if name in Spec.model_fields and name not in known:
            raise UsageError(f"{name} is a setting: set={{{name!r}: {words[name]!r}}}")
        if name not in known:
            raise unknown("argument", name, known)
    plugins = words.get("plugin", ())
    for file in [plugins] if isinstance(plugins, str | Path) else plugins:
        add_plugin(str(file))
    result = {name: _word(name, value) for name, value in words.items() if name != "plugin"}
    own = OwnImages(**{name: result.pop(name) for name in [*result] if name in of_images})
    return kind(**result, own=own)


def _word(name: str, value: Any) -> Any:
    if name in ("set", "slurm") and isinstance(value, Mapping):
        return tuple(f"{key}={_text(setting)}" for key, setting in value.items())
    if name in ("set", "slurm"):
        return (value,) if isinstance(value, str) else tuple(value)
    if name in ("data", "mirror", "results"):
        return None if value is None else Path(value)
    return value if name in ("vectors", "closed", "unlabelled", "generations", "parts") else _text(value)


def _text(value: Any) -> str | None:
    """A value, or several with commas between them, as a command line has it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else None if value is None else str(value)
