"""From the words of a command line to its exit code."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import CycloptsError
from pydantic import ValidationError

from . import experiments, reports, tools  # noqa: F401  (they define the commands)
from .console import app, err
from .errors import BenchmarkError, UsageError


def run_command(words: Sequence[str]) -> int:
    """Run one command line; the exit code: 0, 1 for failure, 2 for usage, 130 where the user stopped it."""
    try:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        wrong = _invalid(error) or " ".join(str(error).split())
        err.print(f"benchmark: {wrong} (see benchmark --help)", markup=False, soft_wrap=True)
        return UsageError.exit_code
    except BenchmarkError as error:
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        err.print("benchmark: stopped; run the same command again to go on")
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:  # a full disk, no permission, a path that is no folder: the system's words name the path
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return 1


def _invalid(error: CycloptsError) -> str:
    """What pydantic says of options that are the fields of a model, in one line."""
    if not isinstance(error.__cause__, ValidationError):
        return ""
    first = error.__cause__.errors()[0]
    option = "".join(f"--{str(name).replace('_', '-')}: " for name in first["loc"][-1:])
    return option + first["msg"].removeprefix("Value error, ")
