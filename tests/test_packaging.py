"""The wheel holds the package, its presets and cards, and nothing of the data."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    source = folder / "source"
    for name in filter(None, tracked):
        if name.startswith(("benchmark/", "datasets/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "datasets" / "picture.jpg").write_bytes(b"")  # data below datasets/ must not be shipped
    words = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run([sys.executable, *words], check=True)
    return next(folder.glob("*.whl"))


def test_what_the_wheel_holds(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"benchmark/_cards/cub.toml", "benchmark/protocol/presets/paper.toml", "benchmark/methods/rkd.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"benchmark"}
    assert not any(name.endswith(".jpg") for name in names)
    read = [path for path in (ROOT / "benchmark").rglob("*") if path.suffix in (".jinja", ".toml", ".css", ".js")]
    assert read and {path.relative_to(ROOT).as_posix() for path in read} <= names
    tuned = {path.name for path in (ROOT / "benchmark" / "protocol" / "presets" / "tuned").glob("*.toml")}
    assert tuned and {f"benchmark/protocol/presets/tuned/{name}" for name in tuned} <= names


def test_an_installed_wheel_knows_its_cards(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import benchmark, sys; from benchmark.cli import run_command; "
        "print(benchmark.__file__); sys.exit(run_command(['list', 'datasets']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout and "glyphs" in done.stdout
