"""The documentation's site: it is built without a warning, and its reference says what the code does."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import benchmark
from benchmark import methods
from benchmark.cli import VERBS
from benchmark.protocol.presets import preset_names
from benchmark.record import Record

ROOT = Path(__file__).parent.parent
FORMULAS = tomllib.loads((ROOT / "docs" / "formulas.toml").read_text(encoding="utf-8"))
# Nothing is computed: what comes out is what goes in, or what is found in it.
PLAIN = {"truncate", "pq", "features", "untrained"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with no way to the network."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_pages_ask_no_server_for_anything(site: Path) -> None:
    """Links are for readers; what a page loads by itself lies beside it."""
    loaded = r"""<(?:script|img|iframe)[^>]*src="(https?://[^"]+)|<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="(https?://[^"]+)"""
    asked = [match for page in site.rglob("*.html") for match in re.findall(loaded, page.read_text(encoding="utf-8"))]
    assert not asked, asked[:3]


def test_every_page_is_reached(site: Path) -> None:
    """From the navigation, which each page has, or from a page."""
    pages = {page.parent for page in site.rglob("index.html")}
    reached = {site}
    for page in pages:
        for link in re.findall(r'href="([^":#]+)', (page / "index.html").read_text(encoding="utf-8")):
            reached.add(Path(os.path.normpath(page / link)))
    assert pages <= reached, pages - reached


def test_the_command_line_is_there_with_every_option(site: Path) -> None:
    told = text_of(site / "reference" / "command-line" / "index.html")
    assert all(f"benchmark {verb}" in told for verb in VERBS)
    for option in ("--teacher-features", "--budget-bytes", "--rerun", "--plugin"):
        assert option in told


def test_names_of_python_are_there(site: Path) -> None:
    page = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="benchmark.{benchmark._MODULES[name]}.{name}"' in page for name in benchmark.__all__)


def test_fields_of_records_and_presets_are_there(site: Path) -> None:
    told = text_of(site / "reference" / "records" / "index.html")
    assert all(
        name in told and (not field.description or field.description in told)
        for name, field in Record.model_fields.items()
    )
    assert json.loads((site / "reference" / "record.schema.json").read_text()) == Record.model_json_schema()
    told = (site / "reference" / "presets" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in told for name in preset_names())


@pytest.mark.parametrize("name", methods.catalogue())
def test_a_method_has_a_page_with_its_formula(site: Path, name: str) -> None:
    page = site / "reference" / "methods" / name / "index.html"
    told, entry = text_of(page), methods.entry(name)
    assert entry.reference in told and all(f"{name}.{key}" in told for key in entry.defaults)
    formulas = re.findall(r"<math.*?</math>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert any('display="block"' in formula for formula in formulas) is (name not in PLAIN)
    inline = [formula for formula in formulas if 'display="inline"' in formula]
    assert inline or name in PLAIN
    assert all(
        f"<span>{formula}</span>" in page.read_text(encoding="utf-8") for formula in inline
    )  # within their sentence
    # A command that the converter does not know is left as it was written.
    assert not [formula for formula in formulas if "\\" in formula] and "\\(" not in told and "\\[" not in told


def test_formulas_are_of_methods() -> None:
    assert set(FORMULAS) - {"symbols"} == {*methods.catalogue()} - PLAIN


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX: apt-get install texlive-latex-base")
def test_formulas_are_latex(tmp_path: Path) -> None:
    lines = [r"\documentclass{article}\usepackage{amsmath,amssymb}\begin{document}"]
    for name, known in FORMULAS.items():
        if name != "symbols":
            lines += [
                f"\\[ {known['formula'].strip()} \\]",
                *(f"${part}$" for part in re.findall(r"\\\((.+?)\\\)", known.get("where", ""), re.DOTALL)),
            ]
    (tmp_path / "all.tex").write_text("\n".join([*lines, r"\end{document}"]))
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
