"""A method's file is read without running it; whatever is wrong with it is one line: file, line, attribute, what to write."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Result, assert_one_line

from benchmark import methods
from benchmark.errors import BenchmarkError, UsageError
from benchmark.methods import declarations
from benchmark.methods.base import Widths

FOLDER = declarations.FOLDER
USUAL = {
    "head": "from typing import ClassVar\nfrom .base import Method\n",
    "class": "class A(Method):",
    "name": 'name = "a"',
    "kind": 'kind = "none"',
    "reference": 'reference = "-"',
    "weight": "weight: float = 1.0",
    "x": "",
    "forward": "def forward(self, batch): return 0",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of methods: the labels' losses, the relational ones of Park et al., the controls without a student."""
    for name in ("base", "task", "rkd", "posthoc"):
        shutil.copy(FOLDER / f"{name}.py", tmp_path)
    monkeypatch.setattr(declarations, "FOLDER", tmp_path)
    declarations._read.cache_clear()
    yield tmp_path
    declarations._read.cache_clear()


def source(**changes: str) -> str:
    """The text of a method's file, with other lines, or more of them, in the class's body."""
    head, first, *body = {**USUAL, **changes}.values()
    return head + first + "".join(f"\n    {line}" for line in body if line) + "\n"


def test_the_usual_one_is_a_method(folder: Path) -> None:
    (folder / "a.py").write_text(source())
    assert methods.entry("a").defaults == {"weight": 1.0} and "a" in methods.catalogue()


@pytest.mark.parametrize(
    ("line", "changes", "says"),
    [
        # What a class is.
        (3, {"class": "class A(A):"}, "A derives from no Method"),
        (3, {"class": "class A:"}, "A derives from no Method"),
        (3, {"class": "class A(Methd):", "kind": ""}, "A derives from no Method"),
        (3, {"kind": ""}, "A.kind: Field required"),
        (3, {"reference": ""}, "A.reference: Field required"),
        (3, {"forward": ""}, r"A defines no forward\(self, batch\)"),
        (3, {"class": "class A(Cosine):", "x": 'kind = "individual"', "head": "\nfrom .task import Untrained as Cosine\n"}, "A: no method"),
        # Facts.
        (4, {"name": 'name: str = "a"'}, "A.name: write a fact as kind = 'relational'"),
        (4, {"name": "name: str"}, "A.name: write a fact as"),
        (4, {"name": 'name, kind = "a", "none"', "kind": ""}, "A.name: write a fact as"),
        (4, {"name": "name = 5"}, "A.name: Input should be a valid string"),
        (4, {"name": 'name = "My Method"'}, "A.name: String should match pattern"),
        (4, {"name": 'name = "a/b"'}, "A.name: String should match"),
        (4, {"name": r'name = "a\nb"'}, "A.name: String should match"),
        (4, {"name": r'name = "a\x1b"'}, "A.name: String should match"),
        (4, {"name": f'name = "{"a" * 101}"'}, "A.name: .* at most 100"),
        (4, {"name": 'name = "all"'}, "A.name: 'all' is a word of the command line"),
        (4, {"name": "name = NAME"}, "A.name: write a fact as .* with literals"),
        (5, {"kind": 'kind = "relation"'}, "A.kind: Input should be 'none', 'individual'"),
        (5, {"kind": 'kind = ["none"]'}, "A.kind: Input should be 'none'"),
        (3, {"kind": 'kind = "posthoc"', "x": "trains = False"}, "A.kind is 'posthoc'; posthoc is for what derives from PostHoc"),
        (3, {"kind": 'kind = "individual"', "x": "trains = False"}, "A: no method of the kind individual has trains = False"),
        (6, {"reference": 'reference = " "'}, "A.reference: String should match"),
        (8, {"x": "needs = 5"}, "A.needs: Input should be a valid tuple"),
        (8, {"x": 'needs = ("maps")'}, "A.needs: Input should be a valid tuple"),
        (8, {"x": 'needs = ["maps"]'}, "A.needs: Input should be a valid tuple"),
        (8, {"x": 'needs = ("embedding", "map")'}, "A.needs.1: Input should be 'embedding', 'pooled', 'maps'"),
        (8, {"x": "needs = ([],)"}, "A.needs.0: Input should be 'embedding'"),
        (8, {"x": 'optional = "maps"'}, "A.optional: Input should be a valid tuple"),
        (8, {"x": "ranges = 5"}, "A.ranges: Input should be a valid dict"),
        (8, {"x": "ranges = {[]: 5}"}, "A.ranges: write .* with literals"),
        (8, {"x": 'ranges = {"weight": (1.0, 10**2)}'}, "A.ranges: write .* with literals"),
        (8, {"x": 'ranges = {"wait": (0.1, 1.0)}'}, "A.ranges: 'wait' is none of its hyper-parameters: weight"),
        (7, {"x": 'ranges = {"wait": (0.1, 1.0)}', "weight": ""}, "A.ranges: 'wait' is none of its hyper-parameters: it has none"),
        (8, {"x": 'ranges = {"weight": 5}'}, "A.ranges.weight: Input should be a valid tuple"),
        (8, {"x": 'ranges = {"weight": (2.0, 3.0)}'}, r"A.ranges: of weight write \(low, high\) above 0"),
        (8, {"x": 'ranges = {"weight": (0, 2)}'}, r"A.ranges: of weight write \(low, high\) above 0"),
        (8, {"x": 'later = ("wait",)'}, "A.later: 'wait' is none of its"),
        (8, {"x": "is_random = 1"}, "A.is_random: Input should be a valid boolean"),
        (8, {"x": 'trains = "no"'}, "A.trains: Input should be a valid boolean"),
        (3, {"x": "has_head = False"}, "A: has_head = False leaves nothing to train"),
        (8, {"x": "task = ['triplet']"}, "A.task: Input should be a valid string"),
        (3, {"x": 'task = "a"'}, "A.task is 'a', which is no loss of labels alone: .*triplet"),
        (3, {"x": 'task = "triplets"'}, "A.task is 'triplets', which is no loss"),
        (3, {"x": 'task = "rkd-d"'}, "A.task is 'rkd-d', which is no loss"),
        (3, {"x": 'task = "untrained"'}, "A.task is 'untrained', which is no loss"),
        # Hyper-parameters, and what may be taken for one.
        (7, {"weight": "weight: float = 1"}, "A.weight is float; write"),
        (7, {"weight": "weight: float = 1e999"}, "A.weight is float; write"),
        (7, {"weight": "weight: float = -1.0"}, "A.weight is 0 or more, and its default -1.0 is not"),
        (7, {"weight": "weight: float"}, "A.weight: write .* a hyper-parameter as weight: float = 1.0"),
        (7, {"weight": "weight: float = 2 * 3.0"}, "A.weight: write .* with literals"),
        (7, {"weight": "weight = 1.0"}, "A.weight is without a type; write .* a hyper-parameter as weight: float = 1.0"),
        (7, {"weight": "weight = other = 1.0"}, "A.weight: write"),
        (7, {"weight": "weight, other = 1.0, 2.0"}, "A.weight: write"),
        (7, {"weight": "weights: list = [1.0]"}, "A.weights is list; .* a constant as top: ClassVar"),
        (7, {"weight": "weights: dict[str, float] = {}"}, r"A.weights is dict\[str, float\]"),
        (7, {"weight": "weight: float | None = None"}, r"A.weight is float \| None"),
        (7, {"weight": "bank: Tensor"}, "A.bank: write .*; what is learned, `build` makes"),
        (7, {"weight": "range = {}"}, "A.range is without a type"),
        (7, {"weight": "lr: float = 1.0"}, r"A.lr is called as a field of every run, so that --set METHOD.lr"),
        (7, {"weight": "dim: int = 1"}, "A.dim is called as a field of every run"),
        (7, {"weight": "teacher: str = ''"}, "A.teacher is called as a field of every run"),
        (8, {"x": "def __init__(self, student, teacher, classes): pass"}, "A.__init__: write .*`build` makes"),
        # The file.
        (8, {"x": "def"}, "invalid syntax"),
        (5, {"name": "  name = 'a'"}, "unindent does not match"),
        (7, {"weight": "'''"}, "unterminated triple-quoted string"),
    ],
)  # fmt: skip
def test_what_a_file_has_wrong_is_one_line(
    folder: Path, cli: Callable[..., Result], line: int, changes: dict[str, str], says: str
) -> None:
    (folder / "a.py").write_text(source(**changes))
    (folder / "b.py").write_text(source(name='name = "b"'))
    with pytest.raises(BenchmarkError, match=rf"/a\.py, line {line}: {says}") as error:
        methods.catalogue()
    assert "\n" not in str(error.value)
    listed = cli("list", "methods")
    assert_one_line(listed, 1, str(error.value))
    assert {"rkd-d", "triplet", "b"} <= {
        line.split()[0] for line in listed.out.splitlines() if line.startswith(" ") and line.split()
    }
    assert methods.entry("b").name == "b"  # runs of others go on, while somebody edits the file
    if "a" not in declarations.read().entries:
        with pytest.raises(
            UsageError, match=rf"no method 'a' was read, but not all files could be: .*/a\.py, line {line}"
        ):
            methods.entry("a")


def test_what_several_files_have_wrong_is_a_line_each(folder: Path, cli: Callable[..., Result]) -> None:
    (folder / "a.py").write_text(source(weight="weight = 1.0"))
    (folder / "b.py").write_bytes(b"name = '\xff'")
    (folder / "c.py").write_bytes(b"\0")
    (folder / "d.py").write_text(source(name='name = "rkd-d"'))
    listed = cli("list", "methods", "--json")
    assert re.findall(r"/(\w+\.py), line (\d+): ", listed.err)[:3] == [("b.py", "1"), ("c.py", "1"), ("a.py", "7")]
    assert re.search(r"/rkd\.py, line \d+: RKDDistance is called 'rkd-d', as A in d\.py is", listed.err)
    assert len(listed.err.splitlines()) == 4 and "rkd-d" not in declarations.read().entries
    with pytest.raises(BenchmarkError, match=r"/b\.py, line 1: .* \(and 3 more: benchmark list methods\)$"):
        methods.catalogue()


def test_what_is_wrong_with_a_base_is_told_once(folder: Path) -> None:
    text = source(name="", weight="weight = 1.0") + '\n\nclass B(A):\n    name = "b"\n\n\nclass C(A):\n    name = "c"\n'
    (folder / "a.py").write_text(text)
    (fault,) = declarations.read().faults
    assert "a.py, line 6: A.weight" in fault


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": "weight: 'float' = 1.0"},
        {"x": "TOP: ClassVar = [1, 2]"},
        {"x": "TOP: ClassVar[list[int]] = [1, 2]"},
        {"x": "top: 'ClassVar[int]' = 3"},
        {"x": "_top = [1, 2]"},
        {"x": 'ranges: ClassVar = {"weight": (0.5, 2)}'},
        {"head": "from . import base\n\n", "class": "class A(base.Method):"},
        {"head": "from .rkd import RKD\n", "class": "class A(RKD):", "kind": "", "forward": ""},
        {"class": "@final\nclass A(Method):"},
    ],
)
def test_what_may_be_written(folder: Path, changes: dict[str, str]) -> None:
    (folder / "a.py").write_text(source(**changes))
    assert methods.catalogue()["a"].defaults["weight"] == 1.0


def test_classes_beside_methods_are_none(folder: Path) -> None:
    more = "class Point(NamedTuple):\n    name: str\n\nclass _Base(Method):\n    scale: float = 1.0\n"
    (folder / "a.py").write_text(source() + more)
    assert declarations.read().faults == () and "a" in methods.catalogue()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"head": "import lacking\nfrom .base import Method\n"}, "a.py: a cannot be imported: ModuleNotFoundError: No"),
        ({"head": "from .lacking import x\nfrom .base import Method\n"}, "a.py: a cannot be imported: ModuleNotFound"),
        ({"head": "from .base import Method, absent\n\n"}, "a.py: a cannot be imported: ImportError: cannot import"),
        ({"head": "import typing\nfrom .base import Method\n", "x": "TOP: typing.ClassVar = 1 / 0"}, "by zero (a.py, line 8)"),
        ({"class": "@final\nclass A(Method):"}, "a.py: a cannot be imported: NameError: name 'final' is not defined"),
        ({"weight": "half: float = 1.0"}, "a.py: A.half hides what every method has; rename it"),
        ({"weight": "task_loss: float = 1.0"}, "a.py: A.task_loss hides what every method has"),
        ({"weight": "training: bool = True"}, "a.py: A.training hides what every method has"),
        ({"weight": "update: float = 1.0"}, "a.py: A.update hides what every method has"),
    ],
)  # fmt: skip
def test_what_only_running_a_file_tells_is_one_line_of_its_method(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Result], changes: dict[str, str], says: str
) -> None:
    (folder / "a.py").write_text(source(**changes))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    assert cli("list", "methods").code == 0
    try:
        with pytest.raises(BenchmarkError, match=re.escape(says)) as error:
            methods.load("a")
        assert "\n" not in str(error.value) and str(folder) in str(error.value)
        assert methods.load("rkd-d")
    finally:
        sys.modules.pop("benchmark.methods.a", None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fitnet+", "'fitnet+': a method is missing beside a plus sign"),
        ("+fitnet", "'+fitnet': a method is missing beside a plus sign"),
        ("fitnet++rkd-d", "'fitnet++rkd-d': a method is missing beside a plus sign"),
        ("+", "'+': a method is missing beside a plus sign"),
        ("fitnet+fitnet", "fitnet+fitnet: fitnet cannot be added; a sum is of methods that train, each once"),
        ("fitnet+pca", "fitnet+pca: pca cannot be added"),
        ("fitnet+RKD-D", "unknown method 'RKD-D'; did you mean 'rkd-d'"),
        ("RKD-D", "unknown method 'RKD-D'; did you mean 'rkd-d'"),
        ("Triplet", "unknown method 'Triplet'; did you mean 'triplet'"),
        ("rkd-d --set rkd-d.weight=-1", "rkd-d.weight is 0 or more, not -1"),
        ("rkd-da --set rkd-da.angle_weight=-0.5", "rkd-da.angle_weight is 0 or more, not -0.5"),
        ("fitnet+rkd-d --set fitnet+rkd-d.rkd-d.weight=-1", "fitnet+rkd-d.rkd-d.weight is 0 or more, not -1"),
        ("hinton --set hinton.temperature=0", "hinton.temperature is more than 0, not 0"),
        ("fitnet --set fitnet.hint_share=1.5", "fitnet.hint_share is from 0 to 1, not 1.5"),
        ("cosine --set cosine.projector_rate=-1", "cosine.projector_rate is 0 or more, not -1"),
        ("rkd-d --set rkd-d.weight=much", "rkd-d.weight is a float, such as 1.0, not 'much'"),
    ],
)  # fmt: skip
def test_what_a_command_has_wrong_is_one_line(
    cli: Callable[..., Result], tmp_path: Path, words: str, says: str
) -> None:
    run = "run --dataset tiny --preset smoke --device cpu --dry-run --results"
    assert_one_line(cli(*run.split(), tmp_path, "--methods", *words.split()), 2, says)


def test_a_weight_below_zero_is_refused_of_a_record_as_well() -> None:
    widths = Widths(8, 8, ())
    with pytest.raises(UsageError, match=r"rkd-d.weight is 0 or more, not -1.0"):
        methods.load("rkd-d")(widths, widths, 2, weight=-1.0)
    assert methods.load("rkd-d")(widths, widths, 2, weight=0.0)
