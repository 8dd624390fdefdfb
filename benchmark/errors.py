"""What a user can cause, told in one line: what is wrong, where, and what to do. Nothing else is caught at the top."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BenchmarkError(Exception):
    """A failure with a message for the user; the command ends with `exit_code`."""

    exit_code = 1


class UsageError(BenchmarkError):
    """The command's words are wrong: an unknown name, a value out of range, two options that exclude each other."""

    exit_code = 2


class DataError(BenchmarkError):
    """Images, annotations or archives are missing, damaged or not what the card says."""


class WeightsError(BenchmarkError):
    """Pretrained weights cannot be had; training from scratch must be asked for, it never happens silently."""


class TrainingError(BenchmarkError):
    """Training cannot go on, for instance because a loss is no longer finite."""


def wrong_field(error: ValidationError) -> str:
    """The first thing that a model says of its input, for people: `spec.dim: Input should be greater than 0`."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: with the nearest one, or the whole choice when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return UsageError(f"unknown {what} {given!r}; {hint}")
