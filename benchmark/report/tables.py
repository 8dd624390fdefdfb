"""The tables of a comparison: Recall@1 over all dimensions, everything of one dimension, likeness to the teacher, cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..store import Record
from .cells import AGREEMENT, DASH, OF_ANY_DIM, ROLES, Cell, Row, fixed, plain
from .comparison import Comparison
from .families import FAMILIES, Families, Pool
from .render import Column, Line, Table, Value, dash, difference, mean, text, with_sd
from .stats import Summary, paired

COLUMNS = (
    Column("group", False),
    Column("method", False),
    Column("network", False),
    Column("l2", False),
    Column("steps"),
)


def recall_table(compared: Comparison, families: Families) -> Table:
    """A line a method, a column a dimension: Recall@1 as mean ± sd; then each family as one, and the difference of the two."""
    by_dim = {
        dim: _column(
            [compared.at(row, dim) for row in compared.rows],
            compared,
            lambda cell: cell.summary("recall@1"),
            with_sd,
            [compared.why_missing(row, dim) for row in compared.rows],
        )
        for dim in compared.dims
    }
    lines = []
    for number, row in enumerate(compared.rows):
        values = [by_dim[dim][number] for dim in compared.dims]
        lines.append(Line((*_row_names(row, row.network), *values, _own(row, compared)), role=row.role, row=row))
    why = "needs feature maps, which features of frozen trunks are not"
    dashes = [dash(why)] * (len(COLUMNS) - 1 + len(compared.dims))
    lines += [
        Line((text(ROLES[role]), text(method), *dashes), role=role) for role, method in compared.left_out
    ]  # after the rest of their group
    lines.sort(key=lambda line: list(ROLES).index(line.role))
    for pool in families.pools:
        means = (_flagged(with_sd(pool.at(dim)), dim, compared, pool) for dim in compared.dims)
        lines.append(Line((*_pool_names(pool), *means, dash()), role="families"))
    for individual, relational in families.pairs:
        found = {
            dim: difference(paired(relational.recall.get(dim, {}), individual.recall.get(dim, {})))
            for dim in compared.dims
        }
        off = (_flagged(value, dim, compared, individual, relational) for dim, value in found.items())
        names = ("RKD − IKD", "of the two means, ± 95 %", individual.backbone, "", str(individual.steps))
        lines.append(Line((*map(text, names), *off, dash()), role="families"))
    of = f" of {AGREEMENT}" if compared.agreement else ""
    return Table(
        "recall",
        "Recall@1",
        f"Percent{of}, mean ± standard deviation over seeds, by the main distance: cosine where embeddings are "
        f"l2-normalised, else raw L2. Bold: the best student of a column; ≈: its paired 95 % interval does not separate it from "
        f"that. {_references(compared)} are no candidates.",
        (*COLUMNS, *(Column(f"d = {dim}") for dim in compared.dims), Column("own d")),
        tuple(lines),
    )


def detail_table(compared: Comparison, families: Families, dim: int) -> Table:
    """All metrics at one dimension, with teachers and frozen features of whatever dimension on top."""
    cells = [cell for cell in compared.cells if cell.row.role in OF_ANY_DIM or (cell.dim == dim and not cell.own_size)]
    pools = [pool for pool in families.pools if dim in pool.recall]
    caption = f"Percent; {compared.baseline} is the baseline, and differences to it are in points, paired by seed."
    return _details(f"d-{dim}", f"d = {dim}", caption, cells, compared, pools, dim)


def generations_table(compared: Comparison) -> Table | None:
    """Networks of the teacher's size that teach each other in turn, and their ensembles; None where there are none."""
    generations = [cell for cell in compared.cells if cell.own_size and cell.row.role not in OF_ANY_DIM]
    if not generations:
        return None
    teachers = [cell for cell in compared.cells if cell.row.role == "teacher"]
    return _details(
        "generations",
        "Generations",
        "Percent. Networks of the teacher's size, the first taught by the teacher, each further one by the one before it; and the "
        "ensemble of all of them, whose embeddings are joined and whose cost is all of theirs.",
        [*teachers, *generations],
        compared,
    )


def _details(
    key: str,
    title: str,
    caption: str,
    cells: Sequence[Cell],
    compared: Comparison,
    pools: Sequence[Pool] = (),
    dim: int | None = None,
) -> Table:
    differences = [compared.difference(cell) for cell in cells]
    p = [None if found is None else found.p for found in differences]
    columns: dict[str, list[Value]] = {
        "seeds": [Value(str(len(cell.recall))) for cell in cells],
        "R@1": _column(cells, compared, lambda cell: cell.summary("recall@1"), mean),
        "R@1 ± 95 %": [half(cell.summary("recall@1")) for cell in cells],
        f"R@1 − {compared.baseline}, ± 95 %": [
            difference(None if found is None else found.summary, _why(cell, compared))
            for found, cell in zip(differences, cells, strict=True)
        ],
    }
    if any(value is not None for value in p):
        columns["p"] = [p_text(value) for value in p]
    columns |= {
        name.replace("recall", "R"): _column(cells, compared, _metric(name), mean, marks=False)
        for name in compared.recalls[1:]
    }
    columns["MAP@R"] = _column(cells, compared, _metric("map@r"), mean, marks=False)
    if compared.asymmetric:
        columns["asym. R@1"] = [mean(cell.asymmetric, why="the method aligns no coordinates") for cell in cells]
    columns["train, s"] = [
        dash("nothing is trained") if cell.seconds is None else Value(fixed(cell.seconds, 1), number=cell.seconds)
        for cell in cells
    ]
    lines = [
        Line(
            (*_row_names(cell.row, _network(cell)), *(column[i] for column in columns.values())),
            role=cell.row.role,
            dim=cell.dim,
            row=cell.row,
        )
        for i, cell in enumerate(cells)
    ]
    if dim is not None:
        lines += [_pool_line(pool, dim, list(columns), compared) for pool in pools]
    return Table(key, title, caption, (*COLUMNS, *map(Column, columns)), tuple(lines))


def likeness_table(compared: Comparison) -> Table | None:
    """How an embedding lies in its space, and how alike its neighbourhoods are to the teacher's; None where nothing was measured."""
    if not any(record.geometry for record in compared.records):
        return None

    def of(name: str) -> Callable[[Record], float | None]:
        return lambda record: None if record.geometry is None else getattr(record.geometry, name)

    none, no_teacher = (
        "not measured when it was run: benchmark measure",
        "no teacher taught it, or not measured when it was run",
    )
    lines = [
        Line(
            (
                *_row_names(cell.row, _network(cell)),
                mean(cell.over_seeds(lambda record: _times(100, of("overlap")(record))), why=no_teacher),
                mean(cell.over_seeds(of("rank_correlation")), 3, why=no_teacher),
                mean(cell.over_seeds(of("effective_dimension")), 1, why=none),
                mean(cell.over_seeds(of("spectral_decay")), 3, why=none),
            ),
            role=cell.row.role,
            dim=cell.dim,
            row=cell.row,
        )
        for cell in compared.cells
    ]
    return Table(
        "likeness",
        "How alike",
        "Overlap: percent of an image's 10 nearest that are the teacher's. Rank correlation: Spearman's, of distances to the "
        "teacher's. Effective dimension: exp of the entropy of the singular values of what is searched (Roy and Vetterli 2007). "
        "Spectral decay: their KL divergence from uniform ones, in nats; lower was found to go with generalisation (Roth et al. 2020).",
        (
            *COLUMNS,
            Column("overlap, %"),
            Column("rank correlation"),
            Column("effective dimension"),
            Column("spectral decay"),
        ),
        tuple(lines),
    )


def half(summary: Summary | None) -> Value:
    """Of the interval."""
    return (
        dash("one seed has no interval") if summary is None or summary.half is None else Value(fixed(summary.half, 2))
    )


def p_text(value: float | None) -> Value:
    if value is None:
        return dash("no test: fewer than six pairs, equal differences, or nothing to compare with")
    return Value("< 0.0001" if value < 1e-4 else fixed(value, 4), number=value)


def _why(cell: Cell, compared: Comparison) -> str:
    """Why a cell has no difference to the baseline."""
    if cell.row.method == compared.baseline and cell.row.trained:
        return "it is the baseline"
    if not cell.row.trained:
        return "it is no student that was trained on the same batches"
    return f"no {compared.baseline} student of the same batches, trunk and dimension"


def _own(row: Row, compared: Comparison) -> Value:
    """Recall@1 of what has a dimension of its own, with that dimension."""
    cells = [cell for cell in compared.cells if cell.row == row and cell.own_size]
    if not cells:
        return dash("it has the dimension of its column")
    found = [(with_sd(cell.summary("recall@1")), cell.dim) for cell in cells]
    flags = "".join(sorted({flag for cell in cells for flag in compared.flags(cell)}))
    return Value(", ".join(f"{value.text} ({dim})" for value, dim in found), number=found[0][0].number, flags=flags)


def _network(cell: Cell) -> str:
    hidden = f", hidden {cell.row.hidden}" if cell.row.hidden else ""
    return f"{cell.row.backbone}-{cell.dim}{hidden}"


def _row_names(row: Row, network: str) -> tuple[Value, ...]:
    names = (ROLES[row.role], row.label, network, plain(row.l2), row.steps)
    return tuple(map(text, names))


def _pool_names(pool: Pool) -> tuple[Value, ...]:
    return tuple(map(text, (FAMILIES[pool.role], pool.label, pool.backbone, "", pool.steps)))


def _pool_line(pool: Pool, dim: int, columns: Sequence[str], compared: Comparison) -> Line:
    """A family in the table of one dimension: Recall@1 and its difference to the baseline."""
    found = pool.at(dim)
    baseline = compared.baseline_of(next(cell for cell in pool.cells if cell.dim == dim))
    off = None if baseline is None else paired(pool.recall[dim], baseline.recall)
    values = {
        "seeds": Value(str(len(pool.recall[dim]))),
        "R@1": _flagged(mean(found), dim, compared, pool),
        "R@1 ± 95 %": half(found),
        f"R@1 − {compared.baseline}, ± 95 %": difference(off),
    }
    names = list(_pool_names(pool))
    names[2] = text(f"{pool.backbone}-{dim}")
    return Line((*names, *(values.get(name, dash("of Recall@1 alone")) for name in columns)), role="families", dim=dim)


def _flagged(value: Value, dim: int, compared: Comparison, *pools: Pool) -> Value:
    """With the marks of all that it is the mean of."""
    if value.text == DASH:
        return value
    marks = (compared.flags(cell) for pool in pools for cell in pool.cells if cell.dim == dim)
    return value._replace(flags="".join(sorted(set("".join(marks)))))


def _metric(name: str) -> Callable[[Cell], Summary | None]:
    return lambda cell: cell.summary(name)


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _column(
    cells: Sequence[Cell | None],
    compared: Comparison,
    summary: Callable[[Cell], Summary | None],
    show: Callable[[Summary | None], Value],
    whys: Sequence[str] | None = None,
    *,
    marks: bool = True,
) -> list[Value]:
    """One number of each cell; the best of the trained ones of several seeds in bold: all that show the same best number.

    Args:
        whys: the reasons of dashes.
        marks: whether the column is Recall@1, and has the marks of that.
    """
    found = [None if cell is None else summary(cell) for cell in cells]
    shown = [
        fixed(one.mean, 2) if cell in compared.ranked and one is not None else None
        for cell, one in zip(cells, found, strict=True)
    ]
    best = max((float(value) for value in shown if value is not None), default=None)
    values = []
    for number, (cell, one) in enumerate(zip(cells, found, strict=True)):
        value = show(one)
        if one is None:
            value = value._replace(why=whys[number] if whys is not None else "not measured")
        score = shown[number]
        is_best = score is not None and float(score) == best
        near = marks and cell is not None and not is_best and compared.near_best(cell)
        flags = compared.flags(cell) if marks and cell is not None and one is not None else ""
        values.append(value._replace(best=is_best, near=near, flags=flags))
    return values


def _references(compared: Comparison) -> str:
    names = {"features": "frozen features", "posthoc": "post-hoc controls"}
    found = [name for role, name in names.items() if any(row.role == role for row in compared.rows)]
    single = ["students of one seed"] * (len(compared.ranked) < len(compared.candidates))
    first = ["The teacher", "the untrained student", *found, *single]
    return ", ".join(first[:-1]) + f" and {first[-1]}"
