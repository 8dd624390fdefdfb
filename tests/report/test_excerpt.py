r"""The table for a paper: what is asked for, in its order, with the numbers of the comparison; pdflatex reads it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, assert_one_line
from made_records import KINDS, golden_records, save, student, teacher
from test_latex import compiled, printed
from test_latex import pytestmark as needs_latex

from benchmark.report.comparison import Comparison
from benchmark.report.excerpt import excerpt

Cli = Callable[..., Result]
RESULTS = Path(__file__).parents[2] / "results"
CARS = RESULTS / "cars" / "heads-v1"


def written(cli: Cli, tmp_path: Path, *words: object, results: Path = CARS) -> str:
    """The table of committed records, beside which nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    result = cli("report", "--results", results, "--latex", tmp_path / "table.tex", *words)
    assert result.code == 0 and result.err.count("wrote") + result.out.count("wrote") == 1, result
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    return (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_numbers_are_those_of_the_comparison(cli: Cli, tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text('rkd-da = "RKD-DA \\\\emph{(ours)}"\n')
    methods = "multi-similarity,cc,rkd-da"
    text = written(cli, tmp_path, "--methods", methods, "--dims", "16,128", "--metrics", "mapr,r1", "--names", names)
    with (CARS / "comparison.csv").open(encoding="utf-8") as file:
        cells = {(row["method"], row["dim"]): row for row in csv.DictReader(file)}
    lines = [line for line in text.splitlines() if line.endswith("\\\\") and "pm" in line]
    assert [line.split(" & ")[0] for line in lines] == ["cc", "RKD-DA \\emph{(ours)}"]
    for method, line in zip(("cc", "rkd-da"), lines, strict=True):
        numbers = [float(number) for number in re.findall(r"(?<![.\d$m])\d+\.\d\d(?=[{}])", line)]
        expected = [
            cells[method, dim][column] for column in ("map@r mean [%]", "recall@1 mean [%]") for dim in ("16", "128")
        ]
        assert numbers == [float(number) for number in expected]
        spreads = re.findall(r"pm\$(\d+\.\d\d)", line)
        assert spreads[2:] == [f"{float(cells[method, dim]['recall@1 sd [points]']):.2f}" for dim in ("16", "128")]
        for dim, number in zip(("16", "128"), numbers[2:], strict=True):
            assert (f"\\textbf{{{number:.2f}}}" in line) == (cells[method, dim]["recall@1 leads"] == "yes")
    # Heads are not told apart by their numbers.
    assert lines[0].split(" & ")[1] == "linear" and lines[1].split(" & ")[1] == "hidden"
    assert "with a hidden layer of 512" in text
    assert "Teacher, efficientnet\\_lite2, 512 dimensions: MAP@R" in text and "over 10 seeds." in text


def test_rows_of_one_method_are_told_apart() -> None:
    """By the name of the row, or by what stands behind the name that the method was given; a sum by any order of its parts."""
    hot = [student("hinton", 0.6, params={"temperature": value}) for value in (1.0, 2.0)]
    compared = Comparison([teacher(), *hot, student("fitnet+rkd-d", 0.5)], {**KINDS, "hinton": "individual"})
    text = excerpt(
        compared, "made", ["hinton", "rkd-d+fitnet"], names={"hinton": "KD", "hinton (temperature=2.0)": "KD, hot"}
    )
    assert re.findall(r"^(KD.*?|fitnet.*?) &", text, re.MULTILINE) == [
        "KD (temperature=1.0)",
        "KD, hot",
        "fitnet+rkd-d",
    ]
    (line,) = (
        line for line in excerpt(compared, "made", ["hinton (temperature=1.0)"]).splitlines() if "hinton" in line
    )
    assert line.startswith("hinton (temperature=1.0) & 60.00")


@needs_latex
def test_latex_reads_it(cli: Cli, tmp_path: Path) -> None:
    text = written(cli, tmp_path, "--methods", "triplet,rkd-d", "--dims", "16,64")
    shown = printed(compiled(tmp_path, text))
    assert "triplet" in shown and "MAP@R" in shown and "26.55" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "rkd-x"), "unknown method (of those that were run) 'rkd-x'; did you mean"),
        (("--metrics", "r3"), "unknown column (of what was measured) 'r3'"),
        (("--dims", "7"), "unknown dimension (of those that were run) '7'; known: 16, 32"),
        (("--names", "names.toml"), "wants a text of LaTeX"),
    ],
)
def test_what_is_not_there(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.toml").write_text("triplet = 3\n")
    assert_one_line(cli("report", "--results", RESULTS / "glyphs" / "quick", "--latex", "t.tex", *words), 2, said)
    assert not Path("t.tex").exists()


def test_figures_as_pdf_stand_beside_the_table(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "glyphs" / "quick"
    save(folder, golden_records())
    ran = cli("report", "--results", folder, "--pdf", tmp_path / "paper")
    assert ran.code == 0, ran
    drawn = {path.stem for path in (tmp_path / "paper").glob("*.pdf")}
    assert not (folder / "figures").exists() and cli("report", "--results", folder).code == 0
    assert drawn == {path.stem for path in folder.rglob("figures/*.svg")} >= {"dimension", "cost"}
    first = {path.name: path.read_bytes() for path in (tmp_path / "paper").iterdir()}
    assert all(content.startswith(b"%PDF") and b"FontFile2" in content for content in first.values())
    # The same figures are the same bytes.
    assert cli("report", "--results", folder, "--pdf", tmp_path / "paper").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "paper").iterdir()} == first
    assert_one_line(cli("report", "--results", RESULTS, "--pdf", tmp_path), 2, "figures as PDF is of one folder")


def test_it_is_of_one_folder_and_its_options_go_with_it(cli: Cli, tmp_path: Path) -> None:
    assert_one_line(
        cli("report", "--results", RESULTS, "--latex", tmp_path / "t.tex"), 2, "a table for a paper is of one folder"
    )
    assert_one_line(cli("report", "--results", RESULTS, "--methods", "cc"), 2, "are for --latex FILE")
