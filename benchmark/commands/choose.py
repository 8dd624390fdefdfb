"""`benchmark choose`."""

from __future__ import annotations

from ..costs import read_costs
from ..errors import UsageError
from ..report.decision import KEEP, Budget, advice, decide, decision_table
from ..report.render import rich
from .console import RESULTS, folders_of, out
from .options import Results


def choose(
    *,
    results: Results = RESULTS,
    keep: float = KEEP,
    budget_bytes: float | None = None,
    budget_ms: float | None = None,
) -> int:
    """Say which student to ship: of what surely keeps enough of the teacher's Recall@1, the fastest, then the smallest.

    Several seeds say how sure that is; what keeps enough by one run is taken where nothing else does. The exit code is 1 where
    nothing keeps enough, or nothing fits the budget.

    Parameters
    ----------
    keep
        share of the teacher's Recall@1, by the lower end of the interval
    budget_bytes
        the most bytes an item may take in the index
    budget_ms
        the most milliseconds an image may take
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
            out.print(
                f"{folder.path}: there is no teacher to hold students against, or nothing but it",
                markup=False,
                soft_wrap=True,
            )
            continue
        table = decision_table(decision)
        assert table is not None
        out.print(rich(table, f"{folder.document.dataset}, {folder.document.preset}"))
        out.print(advice(decision), style="bold", markup=False, soft_wrap=True)
        fits = fits and decision.enough
    return 0 if fits else 1
