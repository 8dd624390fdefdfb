"""From the words of a command line to its exit code."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from cyclopts import App, CycloptsError, Parameter, Token, convert
from pydantic import ValidationError

from .commands.console import err
from .errors import BenchmarkError, UsageError, wrong_option

# The function of each command, where it is not called as its verb: so are things that it uses.
COMMANDS = {
    "run": "run", "tune": "tune", "report": "report", "compare": "compare", "verify": "verify", "measure": "measure",
    "costs": "costs", "fetch": "fetch", "evaluate": "evaluate_command", "apply": "apply_command",
    "extract": "extract_command", "bench": "bench", "list": "list_command",
}  # fmt: skip


def _value(kind: type, tokens: tuple[Token, ...]) -> Any:
    """Convert the words of an option, as cyclopts does but for numbers: it rounds fractions, and takes NaN.

    Raises:
        ValueError: a number is negative or not finite, which none of the suite may be, or a fraction where a whole one is wanted.
    """
    if kind in (int, float):
        (word,) = (token.value for token in tokens)
        if kind is int and not re.fullmatch(r"[0-9]{1,18}", word):
            raise ValueError(f"{word!r} is no whole number of 0 or more")
        if kind is float and not (re.fullmatch(r"[0-9.e+-]+", word.lower()) and 0 <= convert(kind, tokens) < math.inf):
            raise ValueError(f"{word!r} is no number of 0 or more")
    return convert(kind, tokens)


app = App(
    name="benchmark",
    help="Distil image-embedding teachers into small students by every published method, and compare them fairly.",
    # Markdown would take what stands in angle brackets for tags.
    help_format="plaintext",
    version_flags=[],
    default_parameter=Parameter(negative=(), converter=_value),
    suppress_keyboard_interrupt=False,  # it has a message of ours
)


def _described(verb: str, function: str) -> str:
    """The docstring of a command without its parameters, read from the source, so that a list of commands imports none of them."""
    source = resources.files("benchmark.commands").joinpath(f"{verb}.py").read_text(encoding="utf-8")
    (node,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(node) or "").partition("\nParameters\n")[0].strip()


for _verb, _function in COMMANDS.items():
    app.command(f"benchmark.commands.{_verb}:{_function}", name=_verb, help=_described(_verb, _function))


def run_command(words: Sequence[str]) -> int:
    """Run one command line; the exit code: 0, 1 for failure, 2 for usage, 130 where the user stopped it."""
    try:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        cause = error.__cause__  # pydantic's, of options that are the fields of a model
        wrong = wrong_option(cause) if isinstance(cause, ValidationError) else " ".join(str(error).split())
        err.print(f"benchmark: {wrong} (see benchmark --help)", markup=False, soft_wrap=True)
        return UsageError.exit_code
    except BenchmarkError as error:
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        said = (str(error) or "the system gives no more").splitlines()[0]
        err.print(
            f"benchmark: out of memory; a smaller network, batch or image needs less ({said})",
            markup=False,
            soft_wrap=True,
        )
        return 1
    except KeyboardInterrupt:
        err.print("benchmark: stopped; run the same command again to go on")
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:  # a full disk, no permission, a path that is no folder: the system's words name the path
        err.print(f"benchmark: {error}", markup=False, soft_wrap=True)
        return 1


def _out_of_memory(error: Exception) -> bool:
    """Whether it says that: torch has an error of its own for the GPU, which is a RuntimeError, and none for the CPU."""
    return isinstance(error, MemoryError) or any(
        word in str(error) for word in ("out of memory", "can't allocate memory", "not enough memory")
    )
