"""The retrieval gallery: a valid page that shows what the evaluation retrieves, and claims nothing that is not so."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import html5lib
import numpy as np
import pytest
import torch
from conftest import Result, assert_one_line, fields_of
from PIL import Image
from safetensors.torch import load_file

from benchmark.cli import run_command
from benchmark.data import cards
from benchmark.data.layouts import load_images
from benchmark.data.splits import DataSet
from benchmark.errors import BenchmarkError, DataError, UsageError
from benchmark.gallery import write_gallery
from benchmark.gallery.map import LEAST, MAP_CLASSES, MAP_IMAGES, look_of, sample
from benchmark.gallery.networks import choose_runs
from benchmark.gallery.page import pick
from benchmark.record import read_record
from benchmark.report.write import Folder
from benchmark.retrieval.search import neighbours
from benchmark.store import Store
from benchmark.training.context import RunContext
from benchmark.training.evaluator import Evaluator
from benchmark.training.initial import make_student

CPU = torch.device("cpu")
METHODS = "untrained,triplet,contrastive,hinton,regression,rkd-d,pca"
N = 3


class Ran(NamedTuple):
    folder: Path
    data_dir: Path
    dataset: DataSet


def ran(results: Path, data_dir: Path, name: str, *more: str) -> Ran:
    words = ["--dataset", name, "--data", str(data_dir), "--results", str(results)]
    assert run_command(["run", *words, "--preset", "smoke", "--device", "cpu", *more]) == 0
    (folder,) = results.glob("*/smoke")
    return Ran(folder, data_dir, load_images(cards.load_card(name, data_dir), data_dir))


@pytest.fixture(scope="module")
def networks(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Of two dimensions and two seeds."""
    return ran(tmp_path_factory.mktemp("networks"), data_dir, "tiny", "--methods", METHODS, "--dims", "4,8")


@pytest.fixture(scope="module")
def heads(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    more = ["--methods", "triplet,hinton,rkd-d", "--seeds", "0", "--set", "views=2", "--set", "teacher.views=0"]
    return ran(tmp_path_factory.mktemp("heads"), data_dir, "tiny", *more)


@pytest.fixture(scope="module")
def apart(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """An own folder whose queries are searched in other images; a query class of one image, and names that need escaping."""
    tiny = load_images(cards.load_card("tiny", data_dir), data_dir)
    root = tmp_path_factory.mktemp("own") / "shops & more"
    for split, part in (("train", tiny.train), ("query", tiny.query), ("gallery", tiny.query)):
        pixels = part.images
        assert isinstance(pixels, np.ndarray)
        for row, (image, label) in enumerate(zip(pixels, part.labels, strict=True)):
            if split == "train" or (row % 3 == 0) == (split == "query"):
                path = root / split / f"_<{part.names[label]}> $1$" / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).resize((40, 30)).save(path)
    alone = root / "query" / "alone" / "0.png"
    alone.parent.mkdir()
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(alone)
    return ran(tmp_path_factory.mktemp("apart"), root.parent, str(root), "--methods", METHODS, "--seeds", "0")


@pytest.fixture(params=["networks", "heads", "apart"])
def done(request: pytest.FixtureRequest) -> Ran:
    return request.getfixturevalue(request.param)


def parsed(path: Path) -> Element:
    """The page, or an error of the strict parser."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(path.read_text(encoding="utf-8"))


def of_class(parent: Element, tag: str, name: str) -> Iterator[Element]:
    return (one for one in parent.iter(tag) if name in one.get("class", "").split())


def cases(page: Element, key: str) -> list[tuple[int, dict[str, list[tuple[int, bool]]]]]:
    """Of a section, each query with what the page says each run finds: row, and whether it is marked as right."""
    (section,) = (one for one in page.iter("section") if one.get("aria-labelledby") == key)
    return [
        (
            int(case.get("data-query", "")),
            {
                found.get("data-run", ""): [
                    (int(item.get("data-row", "")), item.get("class") == "right") for item in found.iter("li")
                ]
                for found in of_class(case, "div", "found")
            },
        )
        for case in of_class(section, "article", "case")
    ]


def retrieved(ran: Ran, id: str) -> np.ndarray:
    """[n, 5] of a run, its network built and searched as the evaluation does it."""
    (path,) = ran.folder.glob(f"runs/*-{id}.json")
    spec = read_record(path).spec
    workspace = RunContext(ran.dataset, ran.data_dir, Store(ran.folder), CPU)
    search = Evaluator.open([spec], workspace)
    student = make_student(spec, search.teachers, search.inputs, search.dataset, CPU)
    student.encoder.load_state_dict(load_file(workspace.store.weights(spec)))
    space = search.space(spec, student.encoder)
    gallery = None if ran.dataset.gallery is None else space.gallery
    return neighbours(space.query, gallery, 5, "cosine" if spec.normalize else "l2")


def test_what_is_shown_is_what_is_retrieved_and_every_claim_is_true(done: Ran) -> None:
    written = write_gallery(done.folder, N, done.data_dir, CPU)
    assert [path.relative_to(done.folder).as_posix() for path in written] == ["gallery/index.html", "gallery/map.svg"]
    page = parsed(written[0])
    chosen = choose_runs(Folder.read(done.folder).compared)
    ids = [chosen.teacher.id, *(record.id for record in chosen.students.values())]
    assert len(ids) == 4
    found = {id: retrieved(done, id) for id in ids}
    query, gallery = done.dataset.query, done.dataset.gallery or done.dataset.query
    right = {id: gallery.labels[rows] == query.labels[:, None] for id, rows in found.items()}
    teacher, student = right[chosen.teacher.id], right[chosen.students[chosen.best].id]
    scored = np.bincount(gallery.labels, minlength=len(query.names))[query.labels] > (done.dataset.gallery is None)
    claims = {
        "student": student[:, 0] & ~teacher[:, 0],
        "teacher": teacher[:, 0] & ~student[:, 0],
        "neither": ~teacher[:, 0] & ~student[:, 0] & scored,
    }
    for key, holds in claims.items():
        shown = cases(page, key)
        assert len(shown) == min(N, holds.sum())
        assert len({query.labels[row] for row, _ in shown}) == min(N, len(set(query.labels[holds])))
        for row, lists in shown:
            assert holds[row]
            assert list(lists) == ids
            for id, items in lists.items():
                assert items == list(zip(found[id][row].tolist(), right[id][row].tolist(), strict=True))


def test_the_page_stands_alone_and_can_be_read_without_seeing_it(done: Ran) -> None:
    path, drawn = write_gallery(done.folder, 1, done.data_dir, CPU)
    page = parsed(path)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "url(" not in text and "@import" not in text
    assert str(done.data_dir) not in text and str(done.folder) not in text
    images = list(page.iter("img"))
    assert images and all(image.get("alt") for image in images)
    for item in page.iter("li"):
        if item.get("class") in ("right", "wrong"):
            (image,) = item.iter("img")
            names = done.dataset.gallery or done.dataset.query
            name = names.names[names.labels[int(item.get("data-row", ""))]]
            assert re.fullmatch(rf"Neighbour \d: class {re.escape(name)}, {item.get('class')}", image.get("alt", ""))
            mark = next(item.iter("b")).text
            assert mark == ("✓" if item.get("class") == "right" else "✗")
    for image in images:
        kind, _, data = image.get("src", "").partition(",")
        content = base64.b64decode(data)
        if kind == "data:image/svg+xml;base64":
            assert content == drawn.read_bytes()
        else:
            assert kind == "data:image/jpeg;base64"
            assert max(Image.open(io.BytesIO(content)).size) <= 96
    ids = [one.get("id") for one in page.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    assert {one.get("href", "")[1:] for one in page.iter("a")} <= set(ids)
    assert all(one.get("tabindex") == "0" for one in of_class(page, "div", "scroll"))
    assert "prefers-color-scheme: dark" in text


def test_the_same_runs_give_the_same_gallery(networks: Ran) -> None:
    def content() -> list[bytes]:
        return [path.read_bytes() for path in write_gallery(networks.folder, N, networks.data_dir, CPU)]

    assert content() == content()


def test_the_best_of_each_kind_at_the_largest_dimension(networks: Ran) -> None:
    compared = Folder.read(networks.folder).compared
    chosen = choose_runs(compared)
    assert list(chosen.students) == ["baseline", "individual", "relational"]
    assert chosen.students["baseline"].spec.method == "triplet"  # not contrastive, whatever it reaches
    means: dict[str, list[float]] = {}
    for record in compared.records:
        if record.spec.dim == 8 and record.spec.method in ("hinton", "regression"):
            means.setdefault(record.spec.method, []).append(record.metrics["recall@1"])
    better = max(sorted(means), key=lambda method: np.mean(means[method]))
    assert chosen.students["individual"].spec.method == better
    assert all(record.spec.dim == 8 and record.spec.seed == 0 for record in chosen.students.values())
    best = chosen.students[chosen.best].spec
    assert chosen.teacher.spec == next(
        record.spec.teacher for record in chosen.students.values() if record.spec.teacher is not None
    )
    assert best in [record.spec for record in chosen.students.values()]


def test_another_baseline(networks: Ran) -> None:
    path, _ = write_gallery(networks.folder, 1, networks.data_dir, CPU, baseline="contrastive")
    rows = [next(row.iter("th")).text or "" for body in parsed(path).iter("tbody") for row in body.iter("tr")]
    assert len(rows) == 4 and any("baseline (labels only): contrastive" in row for row in rows)


def test_queries_are_spread_over_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    score = np.array([5, 5, 1, 3, 4, 9])
    everyone = np.ones(6, bool)
    assert pick(everyone, score, labels, 3).tolist() == [5, 0, 4]
    assert pick(everyone, score, labels, 9).tolist() == [5, 0, 4, 1, 3, 2]
    assert pick(labels == 0, score, labels, 9).tolist() == [0, 1, 2]
    assert pick(labels > 2, score, labels, 9).tolist() == []


def test_the_map_is_of_so_many_images_and_classes() -> None:
    labels = np.repeat(np.arange(100), 90)
    rows = sample(labels)
    assert len(rows) == len(set(rows.tolist())) == MAP_IMAGES
    classes = np.unique(labels[rows])
    assert len(classes) == MAP_CLASSES and classes[0] == 0 and classes[-1] == 99
    assert sample(np.array([3, 3, 8])).tolist() == [0, 1, 2]


def test_the_map_tells_classes_apart_without_colour() -> None:
    looks = [look_of(number) for number in range(MAP_CLASSES)]
    assert len({(look["marker"], look["markerfacecolor"] == "none") for look in looks}) == MAP_CLASSES


def test_too_few_images_for_a_map(data_dir: Path, tmp_path: Path) -> None:
    line = f"run --dataset tiny --preset smoke --device cpu --data {data_dir} --results {tmp_path} --subset 2x2".split()
    line += ["--methods", "triplet,rkd-d", "--seeds", "0", "--set", "batch=4", "--set", "per_class=2"]
    assert run_command([*line, "--set", "teacher.batch=4", "--set", "teacher.per_class=2"]) == 0
    (folder,) = tmp_path.glob("*/smoke")
    assert LEAST > 2 * 2  # images
    (folder / "gallery").mkdir()
    (folder / "gallery" / "map.svg").write_text("of earlier runs")
    written = write_gallery(folder, N, data_dir, CPU)
    assert [path.name for path in (folder / "gallery").iterdir()] == ["index.html"] == [path.name for path in written]
    parsed(written[0])


Change = Callable[[Ran], object]


def weights(ran: Ran, method: str) -> Path:
    chosen = choose_runs(Folder.read(ran.folder).compared)
    record = {"teacher": chosen.teacher, **chosen.students}[method]
    return Store(ran.folder).weights(record.spec)


def edited(ran: Ran, **change: object) -> None:
    for path in ran.folder.glob("runs/*.json"):
        path.write_text(json.dumps(fields_of(path) | change))


def worse(ran: Ran) -> None:
    for path in ran.folder.glob("runs/*.json"):
        record = fields_of(path)
        for distance in ("l2", "cosine"):
            record["evaluation"][distance]["recall@1"] -= 0.01
        path.write_text(json.dumps(record | {"by_class": None, "queries": None}))


def without_teacher(ran: Ran) -> None:
    spec = choose_runs(Folder.read(ran.folder).compared).teacher.spec
    Store(ran.folder).path(spec).unlink()


def only(*names: str) -> Change:
    def change(ran: Ran) -> None:
        for path in ran.folder.glob("runs/*.json"):
            if path.stem.rpartition("-")[0] not in names:
                path.unlink()

    return change


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda ran: weights(ran, "teacher").unlink(), BenchmarkError, ["not on this machine", ".safetensors"]),
        (lambda ran: weights(ran, "relational").unlink(), BenchmarkError, ["rkd-d", "not on this machine"]),
        (lambda ran: weights(ran, "baseline").write_bytes(b"?"), BenchmarkError, ["not the network of its record"]),
        (lambda ran: edited(ran, data="0" * 16), DataError, ["are not those of", "0" * 16]),
        (worse, BenchmarkError, ["Recall@1 is", "in its record"]),
        (without_teacher, BenchmarkError, ["has no record"]),
        (only(), UsageError, ["no results"]),
        (only("untrained", "pca"), UsageError, ["no student to show"]),
        (only("triplet"), UsageError, ["no teacher"]),
    ],
)
def test_what_is_missing_is_named(
    networks: Ran, tmp_path: Path, change: Change, kind: type[BenchmarkError], words: list[str]
) -> None:
    copy = Ran(tmp_path / "tiny" / "smoke", networks.data_dir, networks.dataset)
    for path in [*networks.folder.glob("runs/*.json"), *networks.folder.glob("checkpoints/*.safetensors")]:
        target = copy.folder / path.relative_to(networks.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    change(copy)
    with pytest.raises(BenchmarkError) as caught:
        write_gallery(copy.folder, N, copy.data_dir, CPU)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert not (copy.folder / "gallery").exists()


def test_missing_images(networks: Ran, apart: Ran, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tiny: .* is missing; get it with .* fetch --dataset tiny"):
        write_gallery(networks.folder, N, tmp_path, CPU)
    with pytest.raises(DataError, match=r"the images shops & more are missing: .* --data"):
        write_gallery(apart.folder, N, tmp_path, CPU)
    inside = apart.data_dir / "shops & more"  # that very folder will do
    assert write_gallery(apart.folder, 1, inside, CPU)


def test_a_section_has_at_least_one_query(cli: Callable[..., Result], tmp_path: Path) -> None:
    assert_one_line(cli("report", "--results", tmp_path, "--gallery", 0), 2, "--gallery wants 1 or more")


def test_own_vectors_have_no_images(cli: Callable[..., Result], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.normal(size=(120, 12)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.repeat(np.arange(12), 10))
    line = f"run --features {tmp_path}/x.npy --labels {tmp_path}/y.npy --results {tmp_path}/out --device cpu".split()
    line += ["--methods", "rkd-d", "--dims", "4", "--seeds", "0", "--steps", "3", "--set", "batch=16"]
    assert cli(*line).code == 0
    (folder,) = (tmp_path / "out").glob("*/vectors")
    with pytest.raises(UsageError, match="is of own vectors, or its teacher is"):
        write_gallery(folder, N, None, CPU)
