"""What is committed says what its runs give, by code that shares nothing with the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recomputed import cells_of, faults, overview_faults

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
FOLDERS = sorted(path.parent.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*/runs.csv"))


def text_of(folder: str) -> str:
    return (RESULTS / folder / "comparison.md").read_text(encoding="utf-8").split("## d = ")[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_answer_and_tables(folder: str) -> None:
    assert faults(RESULTS / folder, text_of(folder)) == []


def test_the_readme() -> None:
    parts = re.findall(
        r"<!-- generated: (\S+) -->\n(.*?)<!-- end -->", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
    )
    assert parts
    # The whole table is the folder's.
    assert {line["difference"] for _, text in parts for line in cells_of(text)} == {"relational − individual"}
    for folder, text in parts:  # which says numbers of lines that are in the folder's own table alone
        assert faults(RESULTS / folder, text + text_of(folder)) == []


def test_the_overview() -> None:
    assert overview_faults(RESULTS, (RESULTS / "overview.md").read_text(encoding="utf-8")) == []


def test_a_number_that_was_changed_is_seen() -> None:
    text = text_of("cars/heads-v1")
    number = re.search(r"[+−]\d\.\d\d ± \d\.\d\d", text)
    assert number is not None
    other = re.sub(r"Without \S+, the", "Without hinton, the", text)
    for changed in (text.replace(number[0], "+9.99 ± 0.01", 1), text.replace("24.05 ± 0.25", "25.05 ± 0.25"), other):
        assert faults(RESULTS / "cars/heads-v1", changed)
