"""Images that a table names: what is read of it, and one clear line for each thing that may be wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from benchmark.data.cards import OwnImages, load_card
from benchmark.data.image_table import image_paths
from benchmark.data.layouts import load_images
from benchmark.data.splits import DataSet, holdout
from benchmark.errors import BenchmarkError

Rows = Sequence[Sequence[str]]


def shop(folder: Path, rows: Rows, header: str = "path,label,split,price", name: str = "catalog.csv") -> Path:
    """A table, and a grey image for each path that is not called missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (path, *_) in enumerate(rows):
        if "missing" not in path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6), (number % 256, 40, 90)).save(folder / path)
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return folder / name


def of_classes(names: str, split: str = "", images: int = 2) -> list[list[str]]:
    return [[f"img/{split}{name} {n}.png", name, split, "9,99"] for name in names for n in range(images)]


def read(file: Path, columns: str | None = None, *, closed: bool = False) -> DataSet:
    own = OwnImages(columns, closed=closed)
    return load_images(load_card(str(file), file.parent / "cache", own), file.parent / "cache")


def test_without_splits_half_of_the_classes_trains_in_natural_order(tmp_path: Path) -> None:
    rows = [[f"{name}-{n}.png", f"shoe {name}"] for n in range(2) for name in (10, 9, 2, 1)]
    data = read(shop(tmp_path, rows, "path,label"))
    assert data.train.names == ("shoe 1", "shoe 2") and data.query.names == ("shoe 9", "shoe 10")
    assert [path.name for path in data.query.images] == ["9-0.png", "9-1.png", "10-0.png", "10-1.png"]
    assert data.card.name == "catalog" and not data.closed and data.gallery is None


def test_splits_as_most_tables_have_them(tmp_path: Path) -> None:
    rows = [
        *of_classes("ab", "Train"),
        *of_classes("cd", "val"),
        *of_classes("ef", "query"),
        *of_classes("ef", "gallery"),
    ]
    data = read(shop(tmp_path, rows))
    assert data.train.names == ("a", "b") and data.query.names == ("e", "f") == data.gallery.names
    validation = holdout(data, "1/3")
    assert validation.query.names == ("c", "d") and validation.train is data.train and validation.gallery is None


def test_columns_have_the_names_that_they_have(tmp_path: Path) -> None:
    file = shop(tmp_path, of_classes("abcd"), "file,product,fold,price")
    assert read(file, "path=file,label=product").train.names == ("a", "b")
    assert len(image_paths(file, "file")) == 8


def test_tab_separated_and_parquet(tmp_path: Path) -> None:
    file = shop(tmp_path, of_classes("abcd"))
    tabs = file.with_suffix(".tsv")
    with file.open(newline="") as source, tabs.open("w", newline="") as target:
        csv.writer(target, delimiter="\t").writerows([row[:2] for row in csv.reader(source)])
    assert read(tabs).train.names == ("a", "b")
    parquet = file.with_suffix(".parquet")
    pd.read_csv(tabs, sep="\t").to_parquet(parquet)
    assert read(parquet).train.names == ("a", "b")
    parquet.write_bytes(b"PAR1")
    with pytest.raises(BenchmarkError, match="cannot be read as a table"):
        read(parquet)


def test_a_spreadsheets_semicolons_are_read_and_another_encoding_is_told(tmp_path: Path) -> None:
    """Where the first line has semicolons and no comma; a name with a semicolon makes no other table."""
    file = shop(tmp_path, of_classes("abcd"), "path,label,split,price")
    rows = [
        ["path", "label", "price, EUR"],
        *([f"img/{name} {n}.png", name, "9,99"] for name in "abcd" for n in range(2)),
    ]
    for header, separator in ((["path", "label", "price"], ";"), (["path", "label", "a;b"], ","), (rows[0], ",")):
        with file.open("w", newline="", encoding="utf-8-sig") as target:
            csv.writer(target, delimiter=separator).writerows([header, *rows[1:]])
        assert read(file).train.names == ("a", "b")
    for encoding in ("cp1252", "utf-16"):
        file.write_text("path;label\nGröße.png;a\n", encoding=encoding)
        with pytest.raises(BenchmarkError, match=r"catalog\.csv is not in UTF-8 .*: save it as CSV UTF-8"):
            read(file)


def test_parquet_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalog.parquet").write_bytes(b"PAR1")

    def missing(*words: object) -> None:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(BenchmarkError, match="pip install pyarrow"):
        read(tmp_path / "catalog.parquet")


def test_images_elsewhere_and_a_moved_table(tmp_path: Path) -> None:
    """What is below the table is known by its place there, wherever the whole lies; what is not by the way to it."""
    first = read(shop(tmp_path / "here", of_classes("abcd")))
    assert read(shop(tmp_path / "there", of_classes("abcd"))).fingerprint == first.fingerprint
    rows = [[f"../here/{path}", label] for path, label, *_ in of_classes("abcd")]
    assert read(shop(tmp_path / "beside", rows, "path,label")).train.names == ("a", "b")


def test_a_closed_set_is_asked_for(tmp_path: Path) -> None:
    file = shop(tmp_path, [*of_classes("ab", "train"), *of_classes("ab", "test")])
    with pytest.raises(BenchmarkError, match=r"class 'a' is trained on and tested, 2 in all; .*--closed"):
        read(file)
    single = shop(tmp_path / "single", [*of_classes("ab", "train"), *of_classes("bc", "test")])
    with pytest.raises(
        BenchmarkError, match=r"class 'b' is trained on and tested, 1 in all; the classes must be disjoint"
    ):
        read(single)
    assert read(file, closed=True).closed


A, B = of_classes("a", "train"), of_classes("b", "test")


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], "path,label,split,price", "has no rows"),
        ([*A, *B], "image,label,split,price", "unknown column 'path'.*--columns"),
        ([*A, *B], "path,labels,split,price", "unknown column 'label'; did you mean 'labels'"),
        ([*A, *B, ["x.png", " ", "test", ""]], "path,label,split,price", "1 of 5 rows without a label: line 6 "),
        ([*A, *B, ["missing.png", "c", "test", ""]], "path,label,split,price", "1 of 5 rows whose image is not there: line 6"),
        ([*A, *B, A[0]], "path,label,split,price", "2 of 5 rows whose image another row names as well: line 2 .*, line 6 "),
        ([*A, ["x.png", "c", "tset", ""]], "path,label,split,price", "line 4: unknown split 'tset'; did you mean 'test'"),
        ([*A], "path,label,split,price", "has the splits train, not train and test"),
        ([["1.png", "1.0"], ["2.png", "2.5"]], "path,label", "2 of 2 rows whose label is a fraction"),
        ([*A, *of_classes("b", "val"), *of_classes("b", "test")], "path,label,split,price", "'b' is of validation and tested"),
        ([*A, ["x.png", "c", "train", ""], *B], "path,label,split,price", "class 'c' has one image"),
    ],
)  # fmt: skip
def test_what_may_be_wrong(tmp_path: Path, rows: Rows, header: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        read(shop(tmp_path, rows, header))


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text('path,label\na.png,1,2,3\n"')
    with pytest.raises(BenchmarkError, match="cannot be read as a table"):
        read(tmp_path / "ragged.csv")
    with pytest.raises(BenchmarkError, match="there is no such folder"):
        load_card(str(tmp_path / "none.csv"))
    with pytest.raises(BenchmarkError, match="--columns wants path=NAME"):
        load_card(str(tmp_path / "ragged.csv"), None, OwnImages("image=x"))
    for own, option in ((OwnImages("path=x"), "--columns"), (OwnImages(closed=True), "--closed")):
        with pytest.raises(BenchmarkError, match=option):
            load_card("tiny", None, own)


def test_labels_have_no_blanks_around_them(tmp_path: Path) -> None:
    rows = [[f"{name}{n}.png", name + " " * n] for name in "abcd" for n in range(2)]
    assert read(shop(tmp_path, rows, "path,label")).train.names == ("a", "b")


def test_a_subset_leaves_validation_classes_of_their_own(tmp_path: Path) -> None:
    rows = [*of_classes("abc", "train", 3), *of_classes("de", "val"), *of_classes("fghi", "test", 3)]
    file = shop(tmp_path, rows)
    data = load_images(load_card(str(file)), file.parent / "cache", "2x2")
    assert (data.train.names, data.query.names) == (("a", "b"), ("f", "g"))
    assert data.validation is not None and data.validation.names == ("d", "e")
