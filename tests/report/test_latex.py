r"""comparison.tex as pdflatex reads it: no error, and every character of names and settings is printed.

Needs `apt-get install texlive-latex-base texlive-latex-recommended lmodern poppler-utils`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_records import KINDS, golden_costs, golden_records, record, student

from benchmark.costs import write_costs
from benchmark.report.render import escaped
from benchmark.report.write import Folder

SPECIAL = r"&%$#_{}~^\±−–≈†‡§¶×µ<>|"
ALPHABET = SPECIAL + "abfilxzAZ0159.,=+*/:;()[]!?-"
MANY = 300

PACKAGES = "texlive-latex-base texlive-latex-recommended lmodern poppler-utils"


def installed() -> bool:
    """Whether there is a TeX, with fonts whose glyphs have names, and a program that reads the print back."""
    if not all(map(shutil.which, ("pdflatex", "kpsewhich", "pdftotext"))):
        return False
    return bool(subprocess.run(["kpsewhich", "lmodern.sty"], capture_output=True).stdout)


pytestmark = pytest.mark.skipif(not installed(), reason=f"no LaTeX: apt-get install {PACKAGES}")


def compiled(folder: Path, body: str, preamble: str = r"\usepackage{booktabs}") -> Path:
    """The PDF of a document; an error of LaTeX's is one of the test."""
    source = folder / "document.tex"
    source.write_text(
        f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\n", encoding="utf-8"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", source.name]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    return source.with_suffix(".pdf")


def printed(pdf: Path) -> str:
    """All that a reader sees, without spaces: those between a formula and a word are none of the text's."""
    done = subprocess.run(["pdftotext", "-raw", str(pdf), "-"], check=True, capture_output=True, text=True)
    return plain(done.stdout)


def plain(text: str) -> str:
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def texts() -> list[str]:
    """Every special character alone, all together, and what hypothesis makes of them; the same at every run."""
    found = [*SPECIAL, SPECIAL, SPECIAL[::-1], "lr=0.001", "vote_50%, weight=1e-3"]

    @settings(max_examples=MANY, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.text(ALPHABET, min_size=1, max_size=24))
    def draw(text: str) -> None:
        found.append(text)

    draw()
    # TeX joins two dashes in a row to a longer one; names have no such.
    return [re.sub("–+-*|-+–+", "–", text) for text in found]


def numbered(lines: Iterable[str]) -> str:
    """A paragraph each, with its number between characters that texts do not have."""
    return "\n".join(rf"\noindent @{number}@{line}\par" for number, line in enumerate(lines))


@pytest.mark.parametrize("odd", ["", f"{SPECIAL}, lr=0.001"], ids=["plain", "odd"])
def test_comparison_tex_compiles(tmp_path, odd):
    """All its tables in one document that loads nothing but booktabs; also where names and settings have every special character."""
    path = tmp_path / "glyphs" / "quick"
    records = list(golden_records())
    if odd:
        records += [student("rkd-d", 0.6, params={"note": note}) for note in (odd, odd[::-1])]
        # A method's name is part of a file's, and has no slashes.
        records += [record(re.sub(r"[/\\]", "", odd), 0.6, seed=seed) for seed in range(2)]
    write_costs(path, golden_costs())
    Folder(path, records, [], KINDS).write()
    tex = (path / "comparison.tex").read_text(encoding="utf-8")
    tables = tex.count(r"\begin{table}")
    assert tables >= 5 and escaped(odd) in tex
    assert len(set(re.findall(r"\\label\{.*?\}", tex))) == tables
    pdf = compiled(tmp_path, tex)
    assert printed(pdf).count("attention") >= 4


@pytest.mark.parametrize("bold", [False, True], ids=["plain", "bold"])
def test_every_text_compiles(tmp_path, bold):
    """In the encoding of a document that says nothing of encodings, as an entry of a table is: plain or bold."""
    form = r"\textbf{%s}" if bold else "%s"
    compiled(tmp_path, numbered(form % escaped(text) for text in texts()))


def test_letters_of_other_scripts_are_numbers(tmp_path):
    assert escaped("λ日é a--b") == "[U+03BB][U+65E5]é a-{}-b"
    compiled(tmp_path, escaped("λ日éüñß æøå Ðþ «½» a--b---c"))


def test_every_character_is_printed(tmp_path):
    """In fonts whose glyphs have names, so that they can be read back."""
    expected = texts()
    fonts = r"\usepackage[T1]{fontenc}\usepackage{lmodern}"
    preamble = fonts + r"\input{glyphtounicode}\pdfgentounicode=1\pagestyle{empty}"
    found = re.split(r"@(\d+)@", printed(compiled(tmp_path, numbered(map(escaped, expected)), preamble)))
    assert found[1::2] == [str(number) for number in range(len(expected))]
    wrong = [(text, back) for text, back in zip(expected, found[2::2], strict=True) if plain(text) != back]
    assert not wrong
