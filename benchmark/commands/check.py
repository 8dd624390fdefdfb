"""`benchmark check`."""

from __future__ import annotations

from .. import methods
from ..errors import UsageError
from ..methods.plugins import words_of
from .console import say


def check(method: str, /) -> int:
    """Check a method against the contract: a finite scalar, gradients to all that trains, no effect of row order, declared randomness.

    Parameters
    ----------
    method
        its name; for a method in your own file, add --plugin FILE.py
    """
    # Imports torch, which help does without.
    from ..methods.contract import breaches

    if not methods.entry(method).trains:
        raise UsageError(f"{method} is not trained, and has no loss that could be checked")
    methods.load(method)
    try:
        lines = breaches(method)
    except Exception as error:  # whatever the loss does
        lines = [f"it fails on a batch of made-up features: {words_of(error)}"]
    kept = f"{method} keeps the contract; its edition is {methods.edition(method)}"
    say(*(f"{method}: {line}" for line in lines) if lines else (kept,))
    return int(bool(lines))
