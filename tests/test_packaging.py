"""Wheel and sdist hold the package, its presets and cards, and nothing of the data; installed they work beside whatever lies there."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from benchmark.report.style import DRAWN_WITH

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of what git tracks, the wheel of that source, and the wheel of the sdist in `again/`."""
    folder = tmp_path_factory.mktemp("built")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    source = folder / "source"
    for name in filter(None, tracked):
        if name.startswith(("benchmark/", "datasets/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "datasets" / "picture.jpg").write_bytes(b"")  # data below datasets/ must not be shipped
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    for place, what in ((folder, source), (folder / "again", sdist)):
        subprocess.run([sys.executable, *words, str(place), str(what)], check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_what_the_wheel_holds(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"benchmark/_cards/cub.toml", "benchmark/protocol/presets/paper.toml", "benchmark/methods/rkd.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"benchmark"}
    assert not any(name.endswith(".jpg") for name in names)
    read = [path for path in (ROOT / "benchmark").rglob("*") if path.suffix in (".jinja", ".toml", ".css", ".js")]
    assert read and {path.relative_to(ROOT).as_posix() for path in read} <= names
    tuned = {path.name for path in (ROOT / "benchmark" / "protocol" / "presets" / "tuned").glob("*.toml")}
    assert tuned and {f"benchmark/protocol/presets/tuned/{name}" for name in tuned} <= names
    assert "benchmark/py.typed" in names


def test_the_sdist_gives_the_same_wheel(built: Path, wheel: Path) -> None:
    again = next((built / "again").glob("*.whl"))
    first, second = (zipfile.ZipFile(path) for path in (wheel, again))
    assert {name: first.read(name) for name in first.namelist()} == {
        name: second.read(name) for name in second.namelist()
    }


@pytest.mark.parametrize("kind", ["*.whl", "again/*.whl"], ids=["wheel", "sdist"])
def test_installed_beside_files_of_its_names(built: Path, kind: str, tmp_path: Path) -> None:
    """In an environment that has nothing but the dependencies, in a folder that has `datasets/` and `benchmark.py`."""
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    words = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(next(built.glob(kind)))]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    # Files of .pth there are not followed, so that the checkout stays outside.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    here = tmp_path / "here"
    (here / "datasets").mkdir(parents=True)
    (here / "datasets" / "__init__.py").write_text("raise SystemExit('datasets/ was imported')")
    (here / "benchmark.py").write_text("raise SystemExit('benchmark.py was imported')")

    def called(*words: str) -> str:
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    script = str(tmp_path / "env" / "bin" / "benchmark")
    assert "glyphs" in called(script, "list", "datasets")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert called(script, "--version") == f"benchmark {version}\n"
    code = "import benchmark; print(benchmark.__file__, benchmark.evaluate.__module__)"
    assert called(str(python), "-P", "-c", code).split() == [
        str(site / "benchmark" / "__init__.py"), "benchmark.retrieval.metrics",
    ]  # fmt: skip


def test_one_number_of_the_version() -> None:
    """In the package, the citation and the list of changes; and of the matplotlib that draws what is committed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == project["version"]  # type: ignore[index]
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()
    assert f"matplotlib>={DRAWN_WITH},<3.12" in project["optional-dependencies"]["dev"]


def test_a_checkout_says_its_commit(cli: Callable[..., Result]) -> None:
    said = cli("--version")
    assert said.code == 0 and re.fullmatch(r"benchmark \S+ \([0-9a-f]{10}(\+dirty)?\)\n", said.out), said
