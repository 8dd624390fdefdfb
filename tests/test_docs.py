"""The documentation: short where it is met first, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.cli import VERBS

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "datasets" / "README.md",
    ROOT / "results" / "README.md",
]


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing, missing


def test_every_command_is_told_of() -> None:
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [verb for verb in VERBS if not re.search(rf"benchmark {verb}\b", told)]
    assert not missing, missing
    unknown = set(re.findall(r"^    (?:python -m )?benchmark ([a-z-]+)", told, re.MULTILINE)) - {*VERBS}
    assert not unknown, unknown
