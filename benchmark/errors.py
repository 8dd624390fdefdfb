"""Errors that a user can cause, told in one line: what is wrong, where, and what to do. Nothing else is caught at the top."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

NEAREST, MOST = 5, 8  # names that a message proposes, and that it lists where none is near
LONGEST = 100  # letters of a name that are looked at
# Where all names of a kind are shown.
LISTS = {
    "data set": "benchmark list datasets",
    "method": "benchmark list methods",
    "backbone": "benchmark list backbones",
    "preset": "benchmark list presets",
    "timm model": "timm.list_models() in Python",
}


class BenchmarkError(Exception):
    """A failure with a message for the user; the command ends with `exit_code`."""

    exit_code = 1


class UsageError(BenchmarkError):
    """The command's words are wrong: an unknown name, a value out of range, two options that exclude each other."""

    exit_code = 2


class DataError(BenchmarkError):
    """Images, annotations or archives are missing, damaged or not what the card says."""


class DamagedImages(DataError):
    """Files that are no images: all at once, so that they need not be met call after call.

    Args:
        damaged: a line a file, with what is wrong with it.
        of: images there are.
    """

    def __init__(self, damaged: Sequence[str], of: int) -> None:
        super().__init__(f"{len(damaged)} of {of} images cannot be read: {some(damaged, '; ')}")
        self.damaged = damaged
        self.of = of


class WeightsError(BenchmarkError):
    """Pretrained weights cannot be had; training from scratch must be asked for, it never happens silently."""


class TrainingError(BenchmarkError):
    """Training cannot go on, for instance because a loss is no longer finite."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a machine or a GPU has no more memory to give, which torch tells of the CPU by a RuntimeError's words alone."""
    lacking = re.search("out of memory|can't allocate memory|not enough memory", str(error))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and lacking is not None)


def some(names: Iterable[str], separator: str = ", ", most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    names = list(names)
    return separator.join(names[:most]) + f" and {len(names) - most} more" * (len(names) > most)


def wrong_field(error: ValidationError, *, option: bool = False) -> str:
    """The first thing that a model says of its input, for people: `spec.dim: Input should be greater than 0`.

    Args:
        option: the input came as options that are called as the model's fields: `--views: Input should be greater than 0`.
    """
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if option and place:
        place = f"--{first['loc'][-1]}".replace("_", "-")
    return (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: with the nearest few, or some of the choice when none is near."""
    known = sorted(known)
    # Matching takes time by the length of both, and a path or a pasted text may be long.
    word, spelt = given[:LONGEST].casefold(), {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word, spelt, NEAREST) or difflib.get_close_matches(word, spelt, 1, cutoff=0.5)
    near = [spelt[name] for name in near]
    *before, last = map(repr, near or [""])
    hint = f"did you mean {', '.join(before)}{' or ' * bool(before)}{last}?"
    if not near:
        more = len(known) - MOST
        where = f" ({LISTS[what]})" if what in LISTS else ""
        hint = f"known: {', '.join(known[:MOST]) or 'none'}" + (f" and {more} more{where}" if more > 0 else "")
    return UsageError(f"unknown {what} {given!r}; {hint}")
