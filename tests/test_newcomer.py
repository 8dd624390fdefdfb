"""The documentation's own example: a method in one file is listed, tested and run; and what happens once it is edited."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = "run --dataset tiny --preset smoke --device cpu --seeds 0 --dims 8 --methods cosine-pairs,triplet"


def example() -> str:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code with the example as a file that is not committed."""
    folder = tmp_path / "checkout"
    for name in ("benchmark", "datasets", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", ".cache", "*_*" if name == "datasets" else "")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=n@n"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "as it was"]):
        subprocess.run([*git, *words], check=True)
    (folder / "benchmark" / "methods" / "cosine_pairs.py").write_text(example())
    return folder


def python(checkout: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_file_is_listed_tested_run_and_run_again_when_edited(
    checkout: Path, data_dir: Path, tmp_path: Path
) -> None:
    assert len(example().splitlines()) < 60
    assert re.search(r"cosine-pairs .*relational", python(checkout, "benchmark", "list", "methods"))
    tested = python(
        checkout, "pytest", "-q", "-p", "no:cacheprovider", "tests/methods/test_methods.py", "-k", "cosine-pairs"
    )
    assert int(re.findall(r"(\d+) passed", tested)[0]) > 5

    run = ("benchmark", *RUN.split(), "--data", str(data_dir), "--results", str(tmp_path / "results"))
    first = python(checkout, *run)
    assert "cosine-pairs" in (tmp_path / "results/tiny/smoke/comparison.md").read_text()
    assert "was edited" not in first + python(checkout, *run)

    path = checkout / "benchmark" / "methods" / "cosine_pairs.py"
    path.write_text(path.read_text().replace("mse_loss", "l1_loss"))
    again = python(checkout, *run)
    (hint,) = (line for line in again.splitlines() if "was edited" in line)
    assert hint.startswith("cosine-pairs was edited since 1 of its runs were done")
    named = Path(hint.split()[-1])
    (record,) = named.parent.glob(named.name)
    before = record.read_text()
    record.unlink()
    python(checkout, *run)
    assert record.read_text() != before and "was edited" not in python(checkout, *run)
