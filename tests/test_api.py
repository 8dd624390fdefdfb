"""The suite in Python: as the command line, without its words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COSINE_PAIRS
from PIL import Image

import benchmark
from benchmark.errors import UsageError


def test_from_a_run_to_embeddings(data_dir: Path, tmp_path: Path) -> None:
    words = {
        "dataset": "tiny",
        "preset": "smoke",
        "methods": ["rkd-d", "triplet"],
        "seeds": [0],
        "data": data_dir,
        "results": tmp_path,
    }
    results = benchmark.run(**words, device="cpu")
    assert {"triplet", "rkd-d"} == {*results["method"]} and results["recall@1 [%]"].between(0, 100).all()
    folder = tmp_path / "tiny" / "smoke"
    assert benchmark.load_results(folder).equals(results) and folder / "runs.csv" in benchmark.write_report(folder)
    student = benchmark.load_student(results.loc[results["method"] == "rkd-d", "id"].iloc[0], tmp_path)
    for number in range(2):
        Image.new("RGB", (40, 30), (number * 200, 10, 10)).save(tmp_path / f"{number}.png")
    images = student.preprocess(tmp_path / "0.png", tmp_path / "1.png")
    assert images.shape == (2, 32, 32, 3) and images.dtype == torch.uint8
    assert student(images).shape == (2, 8) and not any(weight.requires_grad for weight in student.parameters())
    found = benchmark.evaluate(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])).evaluation
    assert 0 <= found.cosine["recall@1"] <= 1
    assert issubclass(benchmark.Method, torch.nn.Module) and benchmark.Batch.__name__ == "Batch"


def test_settings_are_tuned_by_lists(data_dir: Path, tmp_path: Path) -> None:
    words = {"dataset": "tiny", "preset": "smoke", "methods": ["rkd-d"], "data": data_dir, "results": tmp_path}
    benchmark.tune(**words, dims=[8], grid={"lr": [1e-3, 2e-3]}, steps=2, device="cpu", set="teacher.steps=2")
    text = (tmp_path / "tiny" / "smoke" / "tuned.toml").read_text()
    assert "lr = 0.00" in text and "lr=0.001,0.002" in text and "--dims 8" in text


def test_a_script_needs_no_guard_for_its_children(data_dir: Path, tmp_path: Path) -> None:
    """Child processes do not run the script that began them again; a file of methods is named by a word."""
    (tmp_path / "mine.py").write_text(COSINE_PAIRS.replace("cosine-pairs", "mine"))
    script = tmp_path / "script.py"
    script.write_text(
        "import benchmark\n"
        f"results = benchmark.run(dataset='tiny', preset='smoke', methods=['mine'], plugin='mine.py', data={str(data_dir)!r}, "
        "results='out', device='cpu', executor='processes', set={'views': 2})\n"
        "print(sorted(set(results['method'])))\n"
    )
    done = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "mine" in done.stdout.splitlines()[-1], done.stderr


def test_wrong_words() -> None:
    with pytest.raises(UsageError, match="Unknown option: --lr"):
        benchmark.run(dataset="tiny", lr=0.01)
    with pytest.raises(UsageError, match=r"Unknown option: --dataste.* --dataset"):
        benchmark.run(dataste="tiny")
    with pytest.raises(UsageError, match="Unknown option: --zzz"):
        benchmark.tune(dataset="tiny", zzz=3)
    with pytest.raises(UsageError, match="no results"):
        benchmark.load_results("nowhere")
    with pytest.raises(AttributeError):
        benchmark.nothing  # noqa: B018


def test_the_package_is_imported_without_torch() -> None:
    script = "import sys, benchmark; benchmark.BenchmarkError; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert {*benchmark.__all__} == {*benchmark._MODULES}
