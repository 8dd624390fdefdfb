"""What a user can get wrong in the words of a command: one line, the right exit code, nothing written; all of it in one process."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, assert_one_line
from filelock import FileLock

from benchmark.tuned import Tuned, TunedFiles, read_tuned

Cli = Callable[..., Result]

SMOKE = "--dataset tiny --preset smoke --seeds 0 --data {data} --results {tmp}/out"
TUNE = "tune --dataset tiny --preset smoke --data {data} --results {tmp}/out"
EXTRACT = "extract --dataset tiny --data {data} --out {tmp}/x.npy"
VECTORS = (
    "run --features {tmp}/student.npy --teacher-features {tmp}/teacher.npy --labels {tmp}/y.npy --results {tmp}/out"
)
LIKE = "run --like {results}/glyphs/quick/runs/absolute-1bc6b797a7.json --data {data} --results {tmp}/out"

RUN = [
    ("--generations 99999", 2, "--generations wants 1 to 50, not 99999"),
    ("--generations 1.5", 2, "--generations: '1.5' is no whole number of 0 or more"),
    ("--generations -2", 2, "--generations: '-2' is no whole number of 0 or more"),
    ("--generations 0x10", 2, "--generations: '0x10' is no whole number"),
    ("--generations " + "9" * 5000, 2, "is no whole number"),
    ("--checkpoint-every -1", 2, "--checkpoint-every: '-1' is no number of 0 or more"),
    ("--checkpoint-every nan", 2, "--checkpoint-every: 'nan' is no number of 0 or more"),
    ("--checkpoint-every inf", 2, "--checkpoint-every: 'inf' is no number"),
    ("--checkpoint-every 1e999", 2, "--checkpoint-every: '1e999' is no number"),
    ("--checkpoint-every soon", 2, "--checkpoint-every: 'soon' is no number"),
    ("--backbone conv4-99999", 2, "backbone conv4-99999 is too wide: conv4-4096 is the widest"),
    ("--backbone conv4-" + "9" * 5000, 2, "is too wide"),
    ("--backbone conv4-x --set views=2 --methods features", 2, "unknown backbone 'conv4-x'"),
    ("--set backbone=3 --set views=2 --methods features", 2, "unknown backbone '3'"),
    ("--teacher conv4-8@", 2, "--teacher NAME@DIM wants a whole number, or the word pretrained, not ''"),
    ("--teacher conv4-8@" + "9" * 5000, 2, "--teacher NAME@DIM wants a whole number"),
    ("--dims " + "9" * 5000, 2, "--dims wants whole numbers"),
    ("--teacher conv4-99999@16", 2, "backbone conv4-99999 is too wide"),
    ("--backbone timm:resnet18nonsense", 2, "unknown timm model 'resnet18nonsense'; did you mean 'resnet18'"),
    ("--teacher timm:resnet18nonsense@16", 2, "unknown timm model"),
    ("--set image=100", 2, "the crop (image=100) is larger than the decoded image (resize=32)"),
    ("--set batch=3", 2, "per_class=4 does not fit into batch=3"),
    ("--set lr=nan", 2, "nan is no value that can be trained with"),
    ("--set rkd-d.weight=-inf", 2, "-inf is no value that can be trained with"),
    ("--set rkd-d.weight=" + "9" * 400, 2, "is no value that can be trained with"),
    ("--set rkd-d.weight=" + "9" * 5000, 2, "is no value that can be trained with"),
    ("--set lr=-1", 2, "lr: Input should be greater than 0 (given: -1)"),
    ("--set batch=1000", 2, "192 of 16 classes: --set batch=64"),
    ("--set image=8", 2, "cannot be trained on images of 8 px"),
    ("--set views=2 --set teacher.views=0 --set image=8 --set teacher.image=8", 2, "cannot be trained on images of 8 px"),
    ("--set pretrained=true", 1, "no pretrained weights for conv4-8"),
    ("--device bla", 2, "unknown device 'bla'"),
    ("--device mps", 2, "--device mps is not usable"),
    ("--subset 99x6", 2, "the subset 99x6 is more than there is"),
    ("--subset 8x99", 2, "the subset 8x99 is more than there is"),
    ("--methods pca --dims 12 --subset 2x4", 2, "pca: 8 training images span fewer than 12 dimensions"),
]  # fmt: skip
OTHERS = [
    (f"{TUNE} --seed 1.5", 2, "--seed: '1.5' is no whole number"),
    (f"{TUNE} --grid lr=1e-3,nan", 2, "nan is no value that can be trained with"),
    (f"{TUNE} --trials 1.5", 2, "--trials: '1.5' is no whole number"),
    (f"{TUNE} --steps -5", 2, "--steps: '-5' is no whole number"),
    (f"{TUNE} --subset 2x6", 2, "Unknown option"),
    (f"{TUNE} --set batch=1000 --dry-run", 2, "of 12 classes: --set batch="),
    (f"{TUNE} --device bla --dry-run", 2, "unknown device 'bla'"),
    ("report --gallery 1.5", 2, "--gallery: '1.5' is no whole number"),
    (f"{EXTRACT} --backbone conv4-8 --views 0", 2, "--views wants 1 or more, not 0"),
    (f"{EXTRACT} --backbone conv4-8 --views -1", 2, "--views: '-1' is no whole number"),
    (f"{EXTRACT} --backbone conv4-8 --image 200", 2, "benchmark: the crop (image=200) is larger than"),
    (f"{EXTRACT} --backbone conv4-8 --image 0", 2, "--image: Input should be greater than or equal to 1"),
    (f"{EXTRACT} --backbone conv4-8 --device bla", 2, "unknown device"),
    (f"{EXTRACT} --backbone conv4-8 --labels-out {{tmp}}/y.txt", 2, 'y.txt" must have extension "npy"'),
    (f"{EXTRACT} --backbone conv4-99999", 2, "is too wide"),
    ("apply --run abc --features {tmp}/student.npy --out {tmp}/o.txt", 2, 'o.txt" must have extension "npy"'),
    (f"{VECTORS} --views 1.5", 2, "--views: Input should be a valid integer"),
    (f"{VECTORS}", 2, "12 of 2 classes: --set batch=8 can be filled"),
    (f"{LIKE} --dataset tiny --dry-run", 2, "of the data set 'glyphs', and 'tiny' is another"),
    (f"{LIKE} --features {{tmp}}/student.npy --preset vectors --dry-run", 2, "of the data set 'glyphs', and 'student'"),
    ("measure --dataset glyphs --preset quick --results {results}/glyphs", 2, "names the folder that holds glyphs/quick/runs"),
    ("measure --dataset glyphs --preset quick --results {results}/glyphs/quick", 2, "names the folder that holds glyphs/quick/runs"),
    ("measure --dataset glyphs --preset quick --results {results}/..", 2, "names the folder that holds glyphs/quick/runs"),
    ("measure --dataset tiny --preset smoke --data {data} --results {tmp}/out", 2, "runs/ holds no record"),
]  # fmt: skip


def refused(cli: Cli, data_dir: Path, folder: Path, words: str, code: int, said: str) -> None:
    places = {"tmp": folder, "data": data_dir, "results": folder / "all" / "results"}
    device = " --device cpu" if words.startswith(("run", "tune", "extract")) and "--device" not in words else ""
    assert_one_line(cli(*f"{words}{device}".format(**places).split()), code, said.format(**places))
    assert not (folder / "out").exists() and not (folder / "x.npy").exists() and not (folder / "o.txt").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Vectors of 5 classes of 6 rows, as who follows the README may have, and two committed results."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 6)
    for name, width in (("student", 14), ("teacher", 18)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(5, width))[labels] + 0.2 * rng.normal(size=(30, width)))
    np.save(tmp_path / "y.npy", labels)
    runs = tmp_path / "all" / "results" / "glyphs" / "quick" / "runs"
    runs.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[2] / "results/glyphs/quick/runs/absolute-1bc6b797a7.json", runs)
    return tmp_path


@pytest.mark.parametrize("dry", ["", " --dry-run"], ids=["run", "dry"])
@pytest.mark.parametrize(("words", "code", "said"), RUN, ids=[words[:40] for words, _, _ in RUN])
def test_what_run_refuses_a_dry_run_refuses(
    cli: Cli, data_dir: Path, folder: Path, words: str, code: int, said: str, dry: str
) -> None:
    refused(cli, data_dir, folder, f"run {SMOKE} {words}{dry}", code, said)


@pytest.mark.parametrize(("words", "code", "said"), OTHERS, ids=[words[:60] for words, _, _ in OTHERS])
def test_mistakes(cli: Cli, data_dir: Path, folder: Path, words: str, code: int, said: str) -> None:
    refused(cli, data_dir, folder, words, code, said)


@pytest.mark.parametrize("words", ["", "--backbone resnet18 --set pretrained=true", "--subset 8x6", "--set views=2"])
def test_a_dry_run_trains_and_downloads_nothing(
    cli: Cli, data_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connected"))
    monkeypatch.setattr("benchmark.training.loop.Student.train_step", lambda *_: pytest.fail("trained"))
    line = f"run {SMOKE} --device cpu --dry-run {words}".format(data=data_dir, tmp=folder)
    result = cli(*line.split())
    assert result.code == 0, result.err
    assert not (folder / "out").exists()


def test_a_dry_run_without_the_data_says_what_it_did_not_check(cli: Cli, folder: Path) -> None:
    words = ["run", "--dataset", "cars", "--preset", "smoke", "--device", "cpu", "--results", folder / "out"]
    result = cli(*words, "--dry-run", "--data", folder / "none" / "data")
    assert result.code == 0 and "the images are not here yet" in result.out
    assert not (folder / "none").exists()


@pytest.mark.parametrize("dataset", ["cars", "cub", "sop", "inshop"])
@pytest.mark.parametrize("mirror", [False, True])
def test_data_that_cannot_be_had_are_one_line(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, mirror: bool
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    (folder / "mirror").mkdir()
    words = ["--dataset", dataset, "--data", folder / "none" / "data", *(["--mirror", folder / "mirror"] * mirror)]
    for command in (["fetch"], ["run", "--preset", "smoke", "--device", "cpu", "--results", folder / "out"]):
        assert_one_line(cli(*command, *words), 1, str(folder / "mirror") if mirror else "")
        assert not (folder / "out").exists()


def test_what_does_not_fit_into_memory(cli: Cli, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"run {SMOKE} --device cpu --methods triplet".format(data=data_dir, tmp=folder).split()
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nx")):
        with monkeypatch.context() as patch:
            patch.setattr("benchmark.training.trial.trunk", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
            assert_one_line(cli(*words), 1, "out of memory")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["resnet18", "conv4-8"])
def test_extract_advises_nothing_that_it_has_no_option_for(
    cli: Cli, folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setenv("TORCH_HOME", str(folder))
    result = cli(*f"{EXTRACT} --device cpu --backbone {name}".format(data=data_dir, tmp=folder).split())
    assert result.code == 1 and f"no pretrained weights for {name}" in result.err and "--set" not in result.err
    assert not (folder / "x.npy").exists()


def test_the_own_vectors_of_the_readme_with_few_classes(cli: Cli, folder: Path) -> None:
    """What the message of a batch that cannot be filled advises is enough."""
    result = cli(*f"{VECTORS} --device cpu --set batch=8 --dry-run".format(tmp=folder).split())
    assert result.code == 0 and "0 done, 83 to run" in result.out


# --- tune ---


@pytest.fixture
def tune(cli: Cli, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr("benchmark.tuned.PUBLISHED", tmp_path / "published")
    words = f"{TUNE} --device cpu --steps 2 --set teacher.steps=2".format(data=data_dir, tmp=tmp_path).split()
    return lambda method, *more: cli(*words, "--methods", method, *more)


def test_what_is_published_is_what_later_runs_use(tune: Callable[..., Result], tmp_path: Path) -> None:
    """Settings among the results have the last word, so that older ones there are renewed; those of other methods stay."""
    files = TunedFiles.of("smoke", "tiny", tmp_path / "out" / "tiny")
    assert tune("rkd-d", "--grid", "lr=1e-3").code == 0 and files.read()["rkd-d"] == [Tuned({"lr": 1e-3})]
    assert tune("rkd-a", "--grid", "lr=1e-3").code == 0
    result = tune("rkd-d", "--grid", "lr=1e-2", "--publish")
    assert result.code == 0 and str(files.own) in result.out
    assert result.out.count("rkd-d: lr=0.01 replaces lr=0.001") == 1
    assert files.read() == {"rkd-d": [Tuned({"lr": 1e-2})], "rkd-a": [Tuned({"lr": 1e-3})]}
    assert read_tuned(files.own).keys() == {"rkd-d", "rkd-a"}
    files.own.unlink()
    assert tune("rkd-d", "--grid", "lr=1e-2", "--publish").code == 0 and not files.own.exists()


def test_tune_waits_while_another_command_chooses(tune: Callable[..., Result], tmp_path: Path) -> None:
    """Each would write without the other's choice."""
    folder = tmp_path / "out" / "tiny" / "smoke"
    folder.mkdir(parents=True)
    held, seen = threading.Event(), []

    def choose() -> None:
        with FileLock(folder / ".lock"):
            held.set()
            time.sleep(8)
            seen.append((folder / "tuned.toml").exists())

    other = threading.Thread(target=choose)
    other.start()
    assert held.wait(8)
    assert tune("rkd-d", "--grid", "lr=1e-3").code == 0
    other.join()
    assert seen == [False]
    assert read_tuned(folder / "tuned.toml") == {"rkd-d": [Tuned({"lr": 0.001})]}
