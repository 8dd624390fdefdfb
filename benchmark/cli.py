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
from .errors import BenchmarkError, UsageError, is_out_of_memory, wrong_field
from .methods.plugins import add_plugin
from .provenance import release

# Each is a module of `commands`, imported when it is called, and the function of that name in it.
VERBS = (
    "run", "tune", "merge", "report", "choose", "compare", "verify", "measure", "costs", "fetch", "evaluate", "apply", "export", "embed",
    "search", "extract", "bench", "list", "check", "check-submission",
)  # fmt: skip


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
    help="Distil image-embedding teachers into small students by published methods, and compare them fairly. "
    "With any command, --plugin FILE.py reads methods of your own from a file.",
    # Markdown would take what stands in angle brackets for tags.
    help_format="plaintext",
    version=release,
    version_flags=["--version"],
    default_parameter=Parameter(negative=(), converter=_value),
    suppress_keyboard_interrupt=False,  # it has a message of ours
)


def _described(name: str) -> str:
    """The docstring of a command without its parameters, read from the source, so that a list of commands imports none of them."""
    source = resources.files("benchmark.commands").joinpath(f"{name}.py").read_text(encoding="utf-8")
    (node,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(node) or "").partition("\nParameters\n")[0].strip()


for _verb in VERBS:
    _name = _verb.replace("-", "_")
    app.command(f"benchmark.commands.{_name}:{_name}", name=_verb, help=_described(_name))


def without_plugins(words: Sequence[str]) -> list[str]:
    """The words of a command line but for `--plugin FILE.py`, which any command may have and which takes effect now."""
    rest, waiting = [], iter(words)
    for word in waiting:
        name, sign, file = word.partition("=")
        if name != "--plugin":
            rest.append(word)
        elif not (file := file if sign else next(waiting, "")):
            raise UsageError("--plugin wants a file of Python's with methods, such as my_loss.py")
        else:
            add_plugin(file)
    return rest


def run_command(words: Sequence[str]) -> int:
    """Run one command line; the exit code: 0, 1 for failure, 2 for usage, 130 where the user stopped it."""
    try:
        return app(without_plugins(words), exit_on_error=False, print_error=False, result_action="return_value") or 0
    except BrokenPipeError:
        return 1
    except (Exception, KeyboardInterrupt) as error:
        text, code = explained(error)
    err.print(f"benchmark: {text}", markup=False, soft_wrap=True)
    return code


def explained(error: BaseException) -> tuple[str, int]:
    """One line on what a user can cause, and the exit code. Raises what is a fault of the code."""
    match error:
        case CycloptsError():
            cause = error.__cause__  # pydantic's, of options that are the fields of a model
            wrong = (
                wrong_field(cause, option=True) if isinstance(cause, ValidationError) else " ".join(str(error).split())
            )
            return f"{wrong} (see benchmark --help)", UsageError.exit_code
        case BenchmarkError():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            return "stopped; run the same command again to go on", 130
        case OSError():  # a full disk, no permission, a path that is no folder: the system's words name the path
            return str(error), 1
        case Exception() if is_out_of_memory(error):
            said = (str(error) or "the system gives no more").splitlines()[0]
            return f"out of memory; a smaller network, batch or image needs less ({said})", 1
    raise error
