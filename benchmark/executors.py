"""An executor takes groups and yields outcomes; where and in which order they run is its own affair."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

from .errors import BenchmarkError
from .run import Failure, Outcome
from .spec import Spec
from .train import Interrupted

Run = Callable[[Sequence[Spec]], Iterable[Outcome]]
Executor = Callable[[Run, Sequence[Sequence[Spec]]], Iterator[Outcome]]


def local(run: Run, groups: Sequence[Sequence[Spec]]) -> Iterator[Outcome]:
    """One group after the other, in this process. A group that fails as a whole does not stop the next one."""
    for group in groups:
        finished = set()
        try:
            for outcome in run(group):
                finished.add(outcome.spec.id)
                yield outcome
        except Interrupted:
            raise
        except BenchmarkError as error:
            yield from (Failure(spec, str(error)) for spec in group if spec.id not in finished)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            details = traceback.format_exc()
            yield from (Failure(spec, message, details) for spec in group if spec.id not in finished)
