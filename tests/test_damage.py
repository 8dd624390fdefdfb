"""What the suite writes and reads again, damaged in all ways: it is noticed or built anew, and never used."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, assert_one_line, fields_of
from PIL import Image

from benchmark.bench import performance
from benchmark.cli import run_command
from benchmark.costs import read_costs
from benchmark.data import cards
from benchmark.data.cache import decoded, features
from benchmark.data.contents import MEMORY, digests
from benchmark.data.layouts import load_images
from benchmark.data.splits import Split
from benchmark.errors import BenchmarkError
from benchmark.protocol import choice
from benchmark.record import read_record
from benchmark.spec import Stream
from benchmark.store import Store
from benchmark.training.context import RunContext
from benchmark.training.evaluator import Evaluator
from benchmark.training.initial import make_student
from benchmark.training.measure import load_projector
from benchmark.tuned import read_tuned

TIMES = 18  # damages of each kind of file
CPU = torch.device("cpu")
Kind = tuple[Path, Callable[[], Any]]  # a file, and how it is read: the right value, or an error of ours


@pytest.fixture(scope="module")
def ran(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run, with a method that maps into the teacher's space."""
    results = tmp_path_factory.mktemp("ran")
    words = f"run --dataset tiny --preset smoke --device cpu --seeds 0 --data {data_dir} --results {results}"
    assert run_command([*words.split(), "--methods", "regression", "--steps", "4"]) == 0
    return results / "tiny" / "smoke"


def damages(content: bytes, seed: int) -> list[bytes]:
    """The content with a bit flipped, bytes zeroed, a part cut out, the end cut off, or a part put elsewhere; none of them as it was."""
    draw = random.Random(seed)
    result: list[bytes] = []
    while len(result) < TIMES:
        start = draw.randrange(len(content))
        stop = start + draw.randint(1, max(1, min(64, len(content) // 3)))
        flipped = bytearray(content)
        flipped[start] ^= 1 << draw.randrange(8)
        ways = (
            bytes(flipped),
            content[:start] + bytes(len(content[start:stop])) + content[stop:],
            content[:start] + content[stop:],
            content[:start],
            content[:start] + content[start:stop] + content[start:],
        )
        if (damaged := ways[len(result) % len(ways)]) != content:
            result.append(damaged)
    return result


def images(folder: Path) -> Split:
    """Noise, so that no damage is without effect."""
    draw = np.random.default_rng(0)
    paths = []
    for number in range(6):
        paths.append(folder / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(paths[-1])
    return Split(tuple(paths), np.arange(6), tuple("abcdef"))


def kinds(ran: Path, data_dir: Path, tmp_path: Path) -> dict[str, Kind]:
    store = Store(ran)
    record = next(record for record in store if record.projector)
    spec = record.spec
    dataset = load_images(cards.load_card("tiny", data_dir), data_dir)
    evaluator = Evaluator.open([spec], RunContext(dataset, data_dir, store, CPU))

    def student() -> Any:
        return make_student(spec, evaluator.teachers, evaluator.inputs, dataset, CPU)

    def projector() -> Any:
        given = student()
        return load_projector(given, record, store) and given.method.state_dict()

    checkpoint = tmp_path / "run.pt"
    student().save(checkpoint)

    def resumed() -> Any:
        given = student()
        given.resume(checkpoint, CPU)
        return given.encoder.state_dict(), given.step, given.optimizer.state_dict()["state"]

    split, cache = images(tmp_path), tmp_path / "cache"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    stream = Stream(dataset="x", resize=8, image=6)

    def extract(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(len(rows), -1)[:, :16].astype(np.float32)

    def read_features() -> np.ndarray:
        return np.array(features(lambda: pixels, len(pixels), 2, 16, stream, extract, "key", tmp_path / "features"))

    decoded(split, 8, cache)
    read_features()
    tuned = tmp_path / "tuned.toml"
    choice.write_choice(tuned, [choice.Choice("triplet", {"lr": 0.003, "margin": 0.25}, 0.5, 0.4, 3)], "the command")
    where = performance.Environment(device="cpu", threads="2", torch="2", code="abc")
    section = performance.Section(environment=where, rows=[{"way": "ours", "seconds": 1.25}])
    performance.write_performance(tmp_path / "bench", {"loss": section})
    glyphs = next(data_dir.rglob("*.npz"))
    return {
        "record": (store.path(spec), lambda: read_record(store.path(spec))),
        "weights": (store.weights(spec), lambda: store.read_weights(spec)),
        "sum of weights": (ran / f"checkpoints/{spec.id}.safetensors.sha256", lambda: store.read_weights(spec)),
        "projector": (store.projector(spec), projector),
        "checkpoint": (checkpoint, resumed),
        "decoded images": (next(cache.glob("*.npy")), lambda: np.array(decoded(split, 8, cache))),
        "sums": (next(cache.glob("*.sums")), lambda: np.array(decoded(split, 8, cache))),
        "features": (next((tmp_path / "features").glob("*.npy")), read_features),
        "contents": (cache / MEMORY, lambda: digests(split.images, cache)),  # type: ignore[arg-type]
        "tuned settings": (tuned, lambda: read_tuned(tuned)),
        "costs": (ran / "costs.json", lambda: read_costs(ran)),
        "performance": (
            tmp_path / "bench/performance.json",
            lambda: performance.read_performance(tmp_path / "bench/performance.json"),
        ),
        "glyphs": (glyphs, lambda: load_images(cards.load_card("tiny", data_dir), data_dir).fingerprint),
    }


def same(ours: Any, right: Any) -> bool:
    if isinstance(right, dict):
        return ours.keys() == right.keys() and all(same(ours[key], right[key]) for key in right)
    if isinstance(right, tuple | list):
        return len(ours) == len(right) and all(map(same, ours, right))
    return bool(np.array_equal(ours, right)) if isinstance(right, np.ndarray | torch.Tensor) else ours == right


def test_no_damaged_file_is_used(ran: Path, data_dir: Path, tmp_path: Path) -> None:
    used, noticed = [], 0
    for number, (name, (path, read)) in enumerate(kinds(ran, data_dir, tmp_path).items()):
        content, right = path.read_bytes(), read()
        for turn, damaged in enumerate(damages(content, number)):
            path.write_bytes(damaged)
            os.utime(path, ns=(turn, turn))  # as another time, which a file that is damaged while it lies does not have
            try:
                value = read()
                if not same(value, right):
                    used.append(f"{name}, damage {turn}")
            except BenchmarkError as error:
                assert "\n" not in str(error) and path.name.removesuffix(".sha256") in str(error), error
                noticed += 1
            path.write_bytes(content)
    assert not used
    assert noticed > 5 * TIMES


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no recall@1": lambda record: record["evaluation"]["l2"].pop("recall@1"),
    "recall@x": lambda record: record["evaluation"]["l2"].update({"recall@x": 0.5}),
    "a recall above 1": lambda record: record["evaluation"]["cosine"].update({"recall@8": 1.5}),
    "a recall that falls": lambda record: record["evaluation"]["cosine"].update({"recall@8": 0.0}),
    "a negative share": lambda record: record["evaluation"]["l2"].update({"map@r": -0.1}),
    "map@r above r_precision": lambda record: record["evaluation"]["l2"].update({"map@r": 1.0}),
    "no number": lambda record: record["evaluation"]["l2"].update({"recall@1": float("nan")}),
    "other metrics by cosine": lambda record: record["evaluation"]["cosine"].pop("recall@2"),
    "no queries": lambda record: record["evaluation"].update(queries=0),
    "a gallery below nothing": lambda record: record["evaluation"].update(gallery=-5),
    "a dimension of 401 digits": lambda record: record["spec"].update(dim=10**400),
    "an image of a million pixels a side": lambda record: record["spec"].update(image=10**6, resize=10**6),
    "an ensemble of nothing": lambda record: record["spec"].update(method="ensemble", teacher=None),
    "a precision that is none": lambda record: record["spec"].update(precision="fp12"),
    "a method on two lines": lambda record: record["spec"].update(method="a\nb"),
    "a method that is a path": lambda record: record["spec"].update(method="../x"),
    "a bell in the backbone": lambda record: record["spec"].update(backbone="conv\a"),
    "negative seconds": lambda record: record["seconds"].update(train=-1.0),
    "a likeness above 1": lambda record: record["geometry"].update(overlap=1.1),
    "nested without end": lambda record: record.update(json.loads('{"x":' * 900 + "1" + "}" * 900)),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_strangers_record_is_one_clear_line(
    ran: Path, tmp_path: Path, cli: Callable[..., Result], change: Callable[[dict[str, Any]], object]
) -> None:
    source = next(ran.glob("runs/regression-*.json"))
    record = fields_of(source)
    change(record)
    folder = tmp_path / "tiny" / "smoke" / "runs"
    folder.mkdir(parents=True)
    (folder / source.name).write_text(json.dumps(record))
    for command in (["report"], ["verify"], ["compare", "a", "b"], ["costs", "--device", "cpu"]):
        assert_one_line(cli(*command, "--results", tmp_path), 1, source.name, "is not a record")


def test_verify_names_all_damaged_records_at_once(ran: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    folder = tmp_path / "tiny" / "smoke" / "runs"
    folder.mkdir(parents=True)
    records = list(ran.glob("runs/*.json"))
    for record in records:
        (folder / record.name).write_bytes(record.read_bytes()[:-9])
    result = cli("verify", "--results", tmp_path)
    assert result.code == 1 and f"{len(records)} files are damaged, so nothing was compared" in result.out
    assert len(records) > 1 and all(path.name in result.out + result.err for path in records)


@pytest.mark.parametrize("kind", ["pipe", "endless", "huge", "folder"])
def test_what_is_no_regular_file_is_one_clear_line(tmp_path: Path, cli: Callable[..., Result], kind: str) -> None:
    folder = tmp_path / "tiny" / "smoke" / "runs"
    folder.mkdir(parents=True)
    path = folder / "triplet-0123456789.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    result = cli("report", "--results", tmp_path)
    assert result.code == 1 and path.name in result.err and len(result.err.splitlines()) == 1


def test_a_damaged_teacher_teaches_nobody(cli: Callable[..., Result], smoke: list[str], tmp_path: Path) -> None:
    """It is trained again; and the checkpoints of finished runs, which a killed process may have left, go."""
    assert cli(*smoke, "--methods", "rkd-d", "--steps", "4").code == 0
    store = Store(tmp_path / "tiny" / "smoke")
    teacher = next(record.spec.teacher for record in store if record.spec.teacher)
    path = store.weights(teacher)
    right = path.read_bytes()
    path.write_bytes(right[:-100] + bytes(100))
    leftover = store.checkpoints / f"{next(r.id for r in store if r.spec.teacher)}.0123456789.pt"
    leftover.touch()
    words = [*smoke, "--methods", "rkd-a", "--steps", "4"]
    assert "are not on this machine, or damaged" in cli(*words, "--dry-run").out
    assert leftover.exists()
    assert cli(*words).code == 0
    assert path.read_bytes() == right and not leftover.exists()
    student = next(record for record in store if record.spec.method == "rkd-a")
    assert student.teacher == next(record.weights for record in store if record.id == teacher.id)


def test_a_projector_measures_again_what_was_measured(ran: Path, data_dir: Path, cli: Callable[..., Result]) -> None:
    """Queries in the teacher's space are measured again from what is kept, and another map is not taken for it."""
    store = Store(ran)
    record = next(record for record in store if record.projector)
    words = f"measure --dataset tiny --preset smoke --device cpu --data {data_dir} --results {ran.parents[1]}".split()
    assert record.asymmetric is not None and cli(*words).code == 0
    path = store.path(record.spec)
    before = path.read_bytes()
    changed = fields_of(path)
    changed["asymmetric"]["cosine"]["map@r"] /= 2
    path.write_text(json.dumps(changed))
    wrong = cli(*words)
    assert wrong.code == 1 and "a metric differs from its record" in wrong.out
    path.write_bytes(before)
    projector = store.projector(record.spec).read_bytes()
    store.projector(record.spec).write_bytes(projector[:-4] + bytes(4))
    wrong = cli(*words)
    assert wrong.code == 1 and "is not the map of its record" in wrong.out
    store.projector(record.spec).write_bytes(projector)
