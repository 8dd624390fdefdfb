"""Every number of the answers, the README and the overview again, from a committed `runs.csv`, and what its records say by
test class, by other code than made them.

PYTHONPATH=tests/report python -m recomputed results/cars/heads
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

NUMBER = re.compile(r"([+−]\d+\.\d\d) ± (\d+\.\d\d)")
METRICS = {"Recall@1": "recall@1 [%]", "MAP@R": "map@r [%]"}


def read(folder: Path) -> pd.DataFrame:
    """The students that answer: those of the usual number of steps that both families have at the same heads."""
    runs = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    records = [json.loads(path.read_bytes()) for path in (folder / "runs").glob("*.json")]
    runs["by class"] = runs.id.map({record["id"]: record.get("by_class") for record in records})
    teachers = set(map(tuple, runs[runs.role == "teacher"][["backbone", "dim"]].to_numpy()))
    runs = runs[runs.role.isin(["individual", "relational"])]
    runs = runs[[pair not in teachers for pair in map(tuple, runs[["backbone", "dim"]].to_numpy())]]
    rows = runs.drop_duplicates(["role", "method", "hidden", "dim", "l2", "steps"])
    most = rows.steps.value_counts()
    runs = runs[runs.steps == max(most.index, key=lambda steps: (most[steps], steps))]
    heads = set.intersection(*(set(runs[runs.role == role].hidden) for role in ("individual", "relational")))
    runs = runs[runs.hidden.isin(heads)].copy()
    seeds = runs.groupby("seed").teacher.nunique()
    nested = seeds.max() == 1 and runs.teacher.nunique() > 1
    runs["unit"] = runs.teacher if nested else runs.seed
    return runs


def sides(runs: pd.DataFrame, question: str) -> list[pd.DataFrame]:
    """Both sides of a difference."""
    question, _, left_out = question.partition(", without ")
    runs = runs[runs.method != left_out]
    name, of_methods, labels = question.partition(", of methods ")
    if name == "with labels − without":
        return [runs[runs.labels == "yes"], runs[runs.labels == "no"]]
    runs = runs[runs.labels == ("no" if "without" in labels else "yes")] if of_methods else runs
    return [runs[runs.role == "relational"], runs[runs.role == "individual"]]


def table(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A line a method, a column a unit: of a unit's seeds the mean, then of dimensions and heads."""
    cells = runs.groupby(["method", "hidden", "dim", "unit"])[METRICS[metric]].mean()
    return cells.groupby(["method", "unit"]).mean().unstack("unit")


def these(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> tuple[float, float]:
    gaps = table(first, metric).mean() - table(second, metric).mean()
    return gaps.mean(), stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps)


def unbiased(values: np.ndarray, weights: np.ndarray) -> float:
    """The variance of a weighted mean: squares, each divided by what it expects of equal ones."""
    mean, squares = np.sum(weights * values), np.sum(weights**2)
    return sum(w**2 * (v - mean) ** 2 / (1 - 2 * w + squares) for w, v in zip(weights, values, strict=True))


def freedom(weights: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom, from the form's eigenvalues."""
    rows = [np.eye(len(weights))[i] - weights for i in range(len(weights))]
    squares = np.sum(weights**2)
    form = sum(w**2 / (1 - 2 * w + squares) * np.outer(row, row) for w, row in zip(weights, rows, strict=True))
    eigenvalues = np.linalg.eigvalsh(form)
    return eigenvalues.sum() ** 2 / (eigenvalues**2).sum()


def kinds(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> tuple[float, float]:
    parts = []
    for side in (first, second):
        paper = side.drop_duplicates("method").set_index("method").paper
        by_paper = table(side, metric).mean(axis=1).groupby(paper).mean()
        weights = (paper.value_counts() / len(paper)).reindex(by_paper.index).to_numpy()
        parts.append((unbiased(by_paper.to_numpy(), weights), freedom(weights)))
    if first["by class"].notna().all() and second["by class"].notna().all():
        queries = np.array(first["by class"].iloc[0]["queries"], float)
        gaps = of_classes(first, metric, queries) - of_classes(second, metric, queries)
        parts.append((unbiased(gaps, queries / queries.sum()), freedom(queries / queries.sum())))
    total = sum(variance for variance, _ in parts)
    t = stats.t.ppf(0.975, total**2 / sum(variance**2 / df for variance, df in parts))
    mean, half = these(first, second, metric)
    return mean, (t**2 * total + half**2) ** 0.5


def of_classes(side: pd.DataFrame, metric: str, queries: np.ndarray) -> np.ndarray:
    """The mean over methods of each test class, in percent."""
    name = "precision" if metric == "MAP@R" else "hits"
    split = pd.DataFrame([own[name] for own in side["by class"]], side.index, dtype=float)
    keys = [side[name] for name in ("method", "hidden", "dim", "unit")]
    shares = 100 * (split if metric == "MAP@R" else split / queries)
    return shares.groupby(keys).mean().groupby("method").mean().mean().to_numpy()


def best(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> tuple[float, float, str, str]:
    """The interval by other random numbers."""
    draw, sides, tops = np.random.default_rng(1), [table(first, metric), table(second, metric)], []
    units = sides[0].shape[1]
    off = np.zeros(20_000)
    normal = draw.normal(size=(units, len(off))) / np.sqrt(draw.chisquare(units - 1, len(off)) * units)
    for sign, side in zip((1, -1), sides, strict=True):
        name = side.mean(axis=1).idxmax()
        behind = side.loc[name] - side
        close = behind.mean(axis=1) <= stats.t.ppf(0.975, units - 1) * behind.sem(axis=1)
        level = np.where(close, side.loc[name].mean(), side.mean(axis=1))
        noise = side.sub(side.mean(axis=1), axis=0).to_numpy() @ normal
        off += sign * ((level[:, None] + noise).max(axis=0) - level.max())
        tops.append((side.loc[name].mean(), name))
    return tops[0][0] - tops[1][0], np.quantile(np.abs(off), 0.95), tops[0][1], tops[1][1]


def swing(runs: pd.DataFrame) -> str:
    """The method without which the difference of the families changes most."""

    def gap(left: pd.DataFrame) -> float:
        return these(*sides(left, "relational − individual"), "Recall@1")[0]

    several = runs[runs.groupby("role").method.transform("nunique") > 1].method.unique()
    return max(several, key=lambda name: abs(gap(runs[runs.method != name]) - gap(runs)))


def estimate(runs: pd.DataFrame, question: str, estimand: str, metric: str) -> tuple[float, float]:
    first, second = sides(runs, question)
    function = {"families": kinds, "these": these, "the best": best}[estimand]
    return function(first, second, metric)[:2]


def same(text: str, numbers: tuple[float, float], rough: bool = False) -> bool:
    """Whether `+0.86 ± 0.06` is what was computed, of runs that the CSV files round to 0.01; of random numbers roughly."""
    match = NUMBER.fullmatch(text.strip())
    assert match, text
    mean, half = float(match[1].replace("−", "-")), float(match[2])
    return abs(mean - numbers[0]) < 0.011 and abs(half - numbers[1]) < 0.011 + (0.1 if rough else 0.01) * half


def cells_of(text: str) -> list[dict[str, str]]:
    """The lines of Markdown's tables by column, without bold."""
    lines, names = [], None
    for line in text.splitlines():
        cells = [cell.strip(" *†‡§¶") for cell in line.strip("| ").split("|")] if line[:1] == "|" else None
        if cells is None or set(line) <= set("|-: "):
            names = None if cells is None else names
        elif names is None:
            names = cells
        else:
            lines.append(dict(zip(names, cells, strict=True)))
    return lines


def faults(folder: Path, text: str) -> list[str]:
    """What of a folder's text is not what its runs give: the verdict's table, all differences of its sentences, and Recall@1."""
    runs, wrong, known = read(folder), [], []
    every = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    every["unit"] = every.seed.map(dict(zip(runs.seed, runs.unit, strict=True))).fillna(every.seed)
    heads = runs.hidden.map(lambda hidden: f"hidden layer of {hidden}" if hidden else "linear head")
    for line in cells_of(text):
        dims = {name: int(name[4:]) for name in line if name.startswith("d = ")}
        if "difference" in line:
            wrong += differences(
                line, runs if line.get("head", "mean of both")[:4] == "mean" else runs[heads == line["head"]], dims
            )
            known += [number for number in line.values() if NUMBER.fullmatch(number)]
        elif (
            "group" in line and "at its own d" in line and "(" not in line["method"] and "mean of" not in line["method"]
        ):
            backbone, _, width = line["network"].partition(", hidden ")
            hidden = int(width or 0)
            own = every[
                (every.method == line["method"]) & (every.hidden == hidden) & (every.steps.astype(str) == line["steps"])
            ]
            own = own[(own.l2 == line["l2"]) & (own.backbone == backbone)]
            for name, dim in dims.items():
                values = own[own.dim == dim].groupby("unit")["recall@1 [%]"].mean()
                shown = [float(number) for number in line[name].split(" ± ")] if line[name] != "–" else []
                numbers = [values.mean(), values.std()][: min(2, len(values))]
                wrong += (
                    [] if np.allclose(shown, numbers[: len(shown)], rtol=0, atol=0.013)
                    else [f"{line['method']}, {name}: {line[name]}, but {numbers}"]
                )  # fmt: skip
    said = " ".join(line for line in text.splitlines() if line[:1] not in ("|", "-", "#"))
    if (named := re.search(r"Without (\S+), the method that moves it most", said)) and named[1] != (
        most := swing(runs)
    ):
        wrong.append(f"{most} moves the difference most, not {named[1]}")
    return wrong + [
        f"{number[0]} is said, but in no table" for number in NUMBER.finditer(said) if number[0] not in known
    ]


def differences(line: dict[str, str], runs: pd.DataFrame, dims: dict[str, int]) -> list[str]:
    """The faults of a line of the verdict."""
    wrong, question = [], line["difference"]
    estimand = re.match(r"families|these|the best", line["of"])[0]
    for name in [*dims, *({"mean over d"} & line.keys())]:
        part = runs[runs.dim == dims[name]] if name in dims else runs
        if line[name] == "–":
            few = estimand == "families" and min(side.paper.nunique() for side in sides(part, question)) < 3
            wrong += [] if few else [f"{question}, {line['of']} has no number at {name}"]
        elif not same(line[name], numbers := estimate(part, question, estimand, line["by"]), estimand == "the best"):
            wrong.append(f"{question}, {line['of']}, {line['by']}, {name}: {line[name]}, but {numbers}")
    counts = [side["paper" if estimand == "families" else "method"].nunique() for side in sides(runs, question)]
    right = estimand == "the best" or f"{counts[0]} and {counts[1]} " in line["of"]
    return wrong if right else [*wrong, f"{line['of']}: {counts}"]


def overview_faults(results: Path, text: str) -> list[str]:
    """What of `overview.md` is not what the runs give."""
    wrong = []
    for line in (line for line in cells_of(text) if "which are" in line):
        runs = read(results / line["data set"] / line["preset"])
        part = runs[runs.dim == int(line["d"])]
        for name in ("families", "these methods", "best of each", "families, MAP@R", "these methods, MAP@R"):
            estimand = {"f": "families", "t": "these", "b": "the best"}[name[0]]
            metric = "MAP@R" if "MAP@R" in name else "Recall@1"
            if line[name] != "–" and not same(
                line[name], numbers := estimate(part, "relational − individual", estimand, metric), name[0] == "b"
            ):
                wrong.append(
                    f"{line['data set']}, {line['preset']}, d = {line['d']}, {name}: {line[name]}, but {numbers}"
                )
    for folder, said in re.findall(r"^- \[.*?\]\((\S+)/comparison.md\): (.*)$", text, re.MULTILINE):
        own = (results / folder / "comparison.md").read_text(encoding="utf-8")
        wrong += [] if f"**{said}**" in own else [f"{folder} does not say: {said}"]
    return wrong


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    mistakes = faults(folder, (folder / "comparison.md").read_text(encoding="utf-8").split("## d = ")[0])
    sys.exit("\n".join(mistakes) or None)
