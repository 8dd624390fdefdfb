"""`benchmark choose`."""

from __future__ import annotations

from ..costs import read_costs
from ..errors import UsageError
from ..report.decision import KEEP, Budget, advice, decide, decision_table
from ..report.render import rich
from .console import RESULTS, folders_of, out, say
from .options import Results


def choose(
    *,
    results: Results = RESULTS,
    keep: float = KEEP,
    budget_bytes: float | None = None,
    budget_ms: float | None = None,
) -> int:
    """Recommend a student to ship: the fastest, then the smallest, that surely keeps enough of the teacher's Recall@1.

    Several seeds say how sure that is; what keeps enough by one run is taken where nothing else does. The exit code is 1 where
    nothing keeps enough, or nothing fits the budget.

    Parameters
    ----------
    keep
        the share of the teacher's Recall@1 that the lower end of the interval must reach
    budget_bytes
        the maximum number of bytes per item in the index
    budget_ms
        the maximum number of milliseconds per image
    """
    if keep > 1:
        raise UsageError(f"--keep wants a share of the teacher's Recall@1, such as 0.95, not {keep:g}")
    folders = [folder for folder in folders_of(results) if folder.runs]
    if not folders:
        raise UsageError(f"no results in {results}: runs/ holds no record")
    fits = True
    for folder in folders:
        decision = decide(folder.compared, read_costs(folder.path), Budget(keep, budget_bytes, budget_ms))
        if decision is None:
            say(f"{folder.path}: there is no teacher to hold students against, or nothing but it")
            continue
        table = decision_table(decision)
        assert table is not None
        out.print(rich(table, f"{folder.document.dataset}, {folder.document.preset}"))
        say(advice(decision), style="bold")
        fits = fits and decision.enough
    return 0 if fits else 1
