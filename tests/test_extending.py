"""What docs/extending.md says is done in a copy of the code, and the files and names that it sends a reader to are there."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SECTIONS = dict(
    re.findall(r"^## (.+?)(?:: \d files?)?\n(.*?)(?=^## |\Z)", (ROOT / "docs/extending.md").read_text(), re.S | re.M)
)


def block(section: str) -> str:
    """The lines that a section has one write."""
    (text,) = re.findall(r"^```\w+\n(.*?)^```", SECTIONS[section], re.S | re.M)
    return text


def named(section: str, folder: str) -> Path:
    """The new file that a section has one write, in the copy."""
    (name,) = re.findall(rf"[Ww]rite `({folder}/\w+\.\w+)`", SECTIONS[section])
    return Path(name)


def insert(path: Path, before: str, lines: str) -> None:
    """Write lines into a file, unless whoever follows the page has done so."""
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text if lines in text else text.replace(before, lines + before))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code with all that the page says."""
    folder = tmp_path / "checkout"
    for name in ("benchmark", "datasets"):
        ignored = shutil.ignore_patterns("__pycache__", ".cache", "*_*" if name == "datasets" else "")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for section, place in (
        ("A method", "benchmark/methods"),
        ("A data set of a known layout", "datasets"),
        ("A preset", "benchmark/protocol/presets"),
    ):
        path = named(section, place)
        (folder / path).write_text(block(section))
    (before,) = re.findall(r"before `(.+?)`", SECTIONS["A table column"])
    insert(folder / "benchmark/report/columns.py", f"        {before}", block("A table column"))
    insert(folder / "benchmark/retrieval/metrics.py", "# By name what a record has", f"{block('A metric')}\n\n")
    (row,) = re.findall(r"`METRICS`: `(.+?)`", SECTIONS["A metric"])
    insert(folder / "benchmark/retrieval/metrics.py", "}\n\n\ndef _within", f"    {row}\n")
    return folder


def images(folder: Path) -> None:
    """Eight classes of four pictures each, as the card says."""
    rng = np.random.default_rng(0)
    for number in range(8):
        (folder / f"class {number}").mkdir(parents=True)
        for image in range(4):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(
                folder / f"class {number}" / f"{image}.png"
            )


def test_what_the_page_adds_runs_together(checkout: Path, tmp_path: Path) -> None:
    images(tmp_path / "data" / "birds")
    (command,) = re.findall(r"^    python (-m benchmark run .*)$", SECTIONS["A preset"], re.M)
    places = ["--data", tmp_path / "data", "--results", tmp_path / "results", "--device", "cpu"]
    done = subprocess.run([sys.executable, *command.split(), *places], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results/birds/garden"
    assert (folder / "comparison.md").read_text().startswith("# birds, preset garden\n")
    assert re.search(r"\| method .*\| batch *\|", (folder / "comparison.md").read_text())
    rows = {row["method"]: row for row in csv.DictReader((folder / "comparison.csv").open())}
    assert rows["spread"]["batch"] == "16" and rows["spread"]["role"] == "relational"
    assert 0 <= float(rows["spread"]["precision@2 mean [%]"]) <= 100
    assert "| PRECISION@2" in (folder / "comparison.md").read_text()


def test_the_pages_own_module_is_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.networks import own
    from benchmark.networks.trunks import trunk

    monkeypatch.setenv(own.VARIABLE, "")
    (tmp_path / "net.py").write_text(block("A module of your own, as teacher or student: no file of the suite"))
    made = trunk(own.open_own(own.absolute(f"{tmp_path}/net.py:make")).name, True, 32)
    assert made.pooled == 24 and made.mean == (0.5, 0.5, 0.5)


def test_the_pages_own_method_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
    monkeypatch.setenv("BENCHMARK_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_loss.py").write_text(block("A method outside of the suite: 1 file of yours"))
    (command,) = re.findall(r"^    python -m benchmark (check .*)$", "".join(SECTIONS.values()), re.M)
    assert cli(*command.split()).out.startswith("mapped keeps the contract")


@pytest.mark.parametrize("section", SECTIONS)
def test_files_and_names_are_there(section: str) -> None:
    """Every path that is named exists, unless the section has one write it, and the names of code are in one of the section's files."""
    own = re.findall(r"[Ww]rite `(\S+/\S+\.\w+)`", SECTIONS[section])
    paths = re.findall(r"`((?:benchmark|datasets|tests)/[\w/.]*)`", SECTIONS[section])
    assert paths and all(path in own or (ROOT / path).exists() for path in paths), paths
    files = [
        file
        for path in {*paths} - {*own}
        for file in ((ROOT / path).rglob("*.py") if path.endswith("/") else [ROOT / path])
    ]
    text = "".join(file.read_text() for file in files)
    prose = re.sub(r"^```.*?^```", "", SECTIONS[section], flags=re.S | re.M)
    for name in re.findall(r"`(?:class )?([A-Za-z_]+)`", prose):
        assert re.search(rf"\b{name}\b", text), name
