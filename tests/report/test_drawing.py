"""Figures of any records: SVG that is XML, whatever names are in it, and no text or legend outside the canvas."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import html5lib
import numpy as np
import pytest
from made_records import KINDS, golden_costs, record, shown, student, teacher
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from pydantic import ValidationError

from benchmark.costs import write_costs
from benchmark.gallery.map import _svg
from benchmark.record import Evaluation, Point, Record
from benchmark.report.cells import SELF_TAUGHT
from benchmark.report.contrast import contrast_folders
from benchmark.report.figures import families_figure
from benchmark.report.render import rich
from benchmark.report.stats import summarise
from benchmark.report.write import Folder, terminal_table

ALL = {"dimension", "differences", "cost", "steps", "curves"}
# A spec refuses some of them as names; as the value of a parameter it takes them all.
HOSTILE = [
    "a\x00b", "bell\x07 \x1b[2J", "\x7f\x85\x9f", "\ufffe\uffff\ufdd0", "two\nlines\r\nand\u2028more", "]]>&<!--",
    "$x_1$ \\$", "_hidden", "日本語 עברית 🦆", "&#0;",
]  # fmt: skip


def named(run: Record, name: str) -> Record:
    """With that as the value of a parameter, and as the method's name where a spec can have it."""
    spec = run.spec.replace(params={"weight": name})
    with contextlib.suppress(ValidationError):
        spec = spec.replace(method=name)
    return run.model_copy(update={"spec": spec, "id": spec.id})


def runs_of(
    methods: Sequence[str], dims: Sequence[int] = (16, 32), steps: Sequence[int] = (400,), seeds: int = 2
) -> list[Record]:
    """A teacher, the baseline, and students of some names, half of them relational."""
    found = [teacher()]
    for dim in dims:
        for step in steps:
            for seed in range(seeds):
                fields = {"dim": dim, "steps": step}
                found.append(record("triplet", 0.4 + seed / 100, seed=seed, **fields))
                if seed == 0:  # one of every kind there is: the widest legend
                    found.append(student("pca", 0.6, **{**fields, "steps": 0}, backbone="conv4-128"))
                    found += [student(name, 0.41, **fields) for name in ("fitnet+rkd-da", "s2sd", "forgotten")]
                for number, name in enumerate(methods):
                    score = 0.5 + number / 100 + (seed * (number + 1) % 3) / 50 + step / 1e5 + dim / 1e3
                    found.append(named(student("rkd-d", score, seed, **fields), name))
    return found


def tuned_of(methods: Sequence[str]) -> list[Record]:
    runs = [student(f"m-{number}", 0.4, evaluation="validation") for number, _ in enumerate(methods)]
    return [
        named(run, name).model_copy(update={"curve": (Point(step=200, evaluation=_halfway(run.evaluation)),)})
        for run, name in zip(runs, methods, strict=True)
    ]


def _halfway(evaluation: Evaluation) -> Evaluation:
    return evaluation.model_copy(update={"cosine": {**evaluation.cosine, "map@r": 0.1}})


def folder_of(path: Path, runs: Sequence[Record], methods: Sequence[str], *, costs: bool = False) -> Folder:
    kinds = {
        **KINDS,
        "fitnet+rkd-da": "mixed",
        "s2sd": SELF_TAUGHT,
        **{name: ("relational", "individual")[number % 2] for number, name in enumerate(methods)},
    }
    where = path / "glyphs" / "quick"
    if costs:
        write_costs(where, golden_costs())
    return Folder(where, runs, tuned_of(methods), kinds)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_whatever_a_record_says_files_are_what_they_are_called(tmp_path: Path, name: str) -> None:
    methods = [name, f"other {name}"]
    folder = folder_of(tmp_path, runs_of(methods, steps=(100, 200, 400)), methods, costs=True)
    files = folder.files()
    assert {key for key in files if key.endswith(".svg")} == {f"figures/{key}.svg" for key in ALL}
    for key, content in files.items():
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", content), key
        content.encode()
        if key.endswith(".svg"):
            ElementTree.fromstring(content)
        elif key.endswith(".csv"):
            lines = list(csv.reader(io.StringIO(content, newline="")))
            assert len({len(line) for line in lines}) == 1
    html5lib.HTMLParser(strict=True).parse(files["report.html"])
    tables = re.findall(r"(?:^\|.*\n)+", files["comparison.md"], re.MULTILINE)
    assert [len(table.splitlines()) - 2 for table in tables] == [len(table.lines) for table in folder.document.tables]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_terminal_is_told_nothing_but_text(tmp_path: Path, name: str) -> None:
    """Whatever methods, settings, folders and data sets are called."""
    folders = [folder_of(tmp_path, runs_of([name, f"other {name}"], (dim,)), [name]) for dim in (16, 32)]
    first, second = (folder.compared for folder in folders)
    contrasts = [
        contrast_folders(first, first, name, f"b {name}"),
        contrast_folders(first, second, name, "b"),
    ]
    for made in (terminal_table(folders[0]), *(rich(table, table.title) for table in contrasts)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", shown(made, 300))


@pytest.mark.parametrize("name", [*HOSTILE, "lone \ud800 half"], ids=ascii)
def test_a_folder_may_have_any_name(name: str) -> None:
    """A name that is no UTF-8 comes with halves of pairs. Classes of own images are folders, too."""
    label, points = np.zeros(1, int), np.zeros((1, 2))
    panel = SimpleNamespace(title="teacher", recall="Recall@1 50 %"), points
    ElementTree.fromstring(_svg([panel, panel], label, {0: name}))  # type: ignore[list-item]
    ElementTree.fromstring(families_figure([(name, summarise([1.0, 2.0]), summarise([0.0, 2.0]))]))


LONG = [f"a method of quite a long name, number {number}, and with its settings too" for number in range(30)]
WORDS = [f"method-{number}" for number in range(30)]


@pytest.mark.parametrize(
    ("dims", "costs"),
    [((16,), False), ((16, 32), False), ((16, 32), True), ((4, 16, 32, 64), False)],
    ids=["one panel", "two", "two, costs", "four"],
)
@pytest.mark.parametrize("methods", [WORDS[:1], WORDS, LONG], ids=["one", "many", "many long"])
def test_nothing_is_outside_the_canvas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: list[str], dims: tuple[int, ...], costs: bool
) -> None:
    """Of every figure: axes, their labels, titles and legends."""
    outside: list[tuple[float, ...]] = []
    save = Figure.savefig

    def checked(figure: Figure, *args: object, **options: object) -> None:
        save(figure, *args, **options)
        canvas = figure.bbox_inches
        figure.dpi = 72  # of SVG, whose letters are not hinted to whole pixels
        box = figure.get_tightbbox(RendererSVG(*figure.bbox.size, io.StringIO(), image_dpi=72))
        over = (-box.x0, -box.y0, box.x1 - canvas.width, box.y1 - canvas.height)
        outside.append(tuple(round(float(inches), 2) for inches in over))

    monkeypatch.setattr(Figure, "savefig", checked)
    figures = folder_of(tmp_path, runs_of(methods, dims, steps=(100, 200, 400)), methods, costs=costs).figures
    assert figures.keys() == (ALL if len(dims) > 1 else ALL - {"dimension"})
    assert ("latency of one image" in figures["cost"]) == costs
    families_figure(
        [(f"{name}, d = {dim}", summarise([1.0, 2.0]), summarise([1.0])) for name in methods[:9] for dim in dims]
    )
    over = dict(zip([*figures, "families"], outside, strict=True))
    assert all(max(sides) <= 0.02 for sides in over.values()), over
