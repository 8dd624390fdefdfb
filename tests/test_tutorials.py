"""Tutorials and the notebook do what they say: each in a folder of its own, from the first line to the last."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs").glob("tutorial-*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where `benchmark` and `python` are this code and this interpreter."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, words in {"benchmark": "-m benchmark", "python": ""}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -P {words} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # presets and bits are those of a processor
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def executed(language: str, text: str, folder: Path) -> str:
    words = ["bash", "-euo", "pipefail", "-c", text] if language == "shell" else ["python", "-c", text]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, surroundings: Path) -> None:
    """Blocks with a title are files, those of shell and Python are executed, and the lines of text are in what came out last."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert len(blocks) >= 5 and len(blocks) == page.read_text(encoding="utf-8").count("```") / 2
    out = ""
    for language, title, text in blocks:
        if title:
            (surroundings / title).write_text(text)
        elif language in ("shell", "python"):
            out = executed(language, text, surroundings)
        else:
            assert language == "text"
            assert not [line for line in text.splitlines() if line not in out], out
    if (surroundings / "paper.tex").exists() and shutil.which("pdflatex"):
        executed("shell", "pdflatex -halt-on-error -interaction=nonstopmode paper.tex", surroundings)


def test_the_notebook_runs(surroundings: Path) -> None:
    path = ROOT / "docs" / "tour.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    done = nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(surroundings)}}).execute()
    said = [
        "".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        for cell in done.cells
        if cell.cell_type == "code"
    ]
    assert "rkd-d" in said[0] and said[2] == "(384, 8)" and "'recall@1'" in said[3] and "comparison.md" in said[4]
