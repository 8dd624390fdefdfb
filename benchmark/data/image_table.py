"""Images named by a table: a CSV, TSV or Parquet file with a row an image."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, some, unknown
from .cards import ImageTable
from .splits import Row, Splits, grouped, natural, split_fifths, split_halves, three, without_labels

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test",
          "query": "query", "gallery": "gallery"}  # fmt: skip
WHOLE = ({"train", "test"}, {"train", "query", "gallery"})  # splits that make a data set, beside validation


def read_image_table(described: ImageTable, folder: Path, *, unlabelled: bool = False) -> Splits:
    """The splits that a table says; without a column of splits the first half of the classes trains, in natural order.

    Paths are relative to the table's folder. Other columns are ignored.

    Args:
        unlabelled: the column of labels is, too; then four fifths of the images train.

    Raises:
        DataError: a column, a label or a file is missing, a split is none, an image is named twice, or labels are fractions.
    """
    file = folder / described.file
    table = read_cells(file)
    for column in (described.path, *[described.label] * (not unlabelled)):
        if column not in table:
            raise DataError(f"{file}: {unknown('column', column, table.columns)}; --columns path=NAME,label=NAME")
    paths = [Path(os.path.normpath(folder / path)) for path in table[described.path]]
    labels = ["-"] * len(paths) if unlabelled else [label.strip() for label in table[described.label]]
    _check(file, paths, labels)
    if described.split not in table or not table[described.split].str.strip().any():
        if unlabelled:
            return split_fifths(without_labels(paths))
        names = sorted(set(labels), key=natural)
        return split_halves(grouped(zip(labels, paths, strict=True), names))
    rows = _by_split(file, list(table[described.split]), labels, paths)
    if unlabelled:
        if "query" in rows:
            raise DataError(f"{file} has the splits query and gallery; without labels train and test are wanted")
        return {name: without_labels([path for _, path in images]) for name, images in rows.items()}
    result = three(rows) if "query" in rows else {name: grouped(rows[name]) for name in ("train", "test")}
    return result | {name: grouped(rows[name]) for name in rows.keys() & {"validation"}}


def image_paths(file: Path, column: str) -> list[Path]:
    """The images that a table names, in its order; a label is not wanted. Raises a DataError as `read_image_table`."""
    table = read_cells(file)
    if column not in table:
        raise DataError(f"{file}: {unknown('column', column, table.columns)}; --columns path=NAME names it")
    paths = [Path(os.path.normpath(file.parent / path)) for path in table[column]]
    _check(file, paths, ["-"] * len(paths))
    return paths


def read_cells(file: Path) -> pd.DataFrame:
    """All cells as text, empty where there is none."""
    import pandas as pd

    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file).astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))
        return pd.read_csv(file, sep=_separator(file), dtype=str, keep_default_na=False, skipinitialspace=True)
    except ImportError:
        raise DataError(f"{file} is Parquet: pip install pyarrow, or save it as CSV") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
    except UnicodeError as error:
        raise DataError(f"{file} is not in UTF-8 ({error}): save it as CSV UTF-8") from None
    except ValueError as error:  # of what is no table, pandas' errors are kinds of it
        raise DataError(f"{file} cannot be read as a table: {' '.join(str(error).split())}") from None


def _separator(file: Path) -> str:
    """A tab, a comma, or a semicolon where a CSV's first line has some and no comma, as spreadsheets in many countries write it."""
    if file.suffix == ".tsv":
        return "\t"
    with file.open(encoding="utf-8", errors="replace") as lines:
        first = lines.readline()
    return ";" if ";" in first and "," not in first else ","


def _check(file: Path, paths: Sequence[Path], labels: Sequence[str]) -> None:
    """Every row names an image that is there, once, and a class."""
    if not paths:
        raise DataError(f"{file} has no rows")
    twice = {path for path, times in Counter(paths).items() if times > 1}
    # Numbers that are measured, such as prices, are no classes.
    fractions = all(re.fullmatch(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", label) for label in labels)
    faults = {
        "without a label": [not label for label in labels],
        "whose label is a fraction": [fractions and "." in label for label in labels],
        "whose image is not there": [not path.is_file() for path in paths],
        "whose image another row names as well": [path in twice for path in paths],
    }
    for fault, bad in faults.items():
        if rows := [number for number, is_bad in enumerate(bad, 2) if is_bad]:  # line 1 has the columns' names
            shown = some(f"line {row} ({paths[row - 2].name}: {labels[row - 2]!r})" for row in rows)
            raise DataError(f"{file}: {len(rows)} of {len(paths)} rows {fault}: {shown}")


def _by_split(file: Path, splits: Sequence[str], labels: Sequence[str], paths: Sequence[Path]) -> dict[str, list[Row]]:
    """The rows of each split, by the natural order of their labels. Raises a DataError where they make no data set."""
    rows: dict[str, list[Row]] = {}
    for line, (split, label, path) in enumerate(zip(splits, labels, paths, strict=True), 2):
        if split.strip().lower() not in SPLITS:
            raise DataError(f"{file}, line {line}: {unknown('split', split, SPLITS)}")
        rows.setdefault(SPLITS[split.strip().lower()], []).append((label, path))
    if rows.keys() - {"validation"} not in WHOLE:
        raise DataError(
            f"{file} has the splits {', '.join(sorted(rows))}, not train and test, or train, query, gallery"
        )
    for images in rows.values():
        images.sort(key=lambda row: natural(row[0]))
    return rows
