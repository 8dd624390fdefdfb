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
        (3, {"class": "class A(A):"}, "A is its own base"),
        (3, {"class": "class A(A, Method):"}, "A is its own base"),
        (3, {"class": "class A:"}, "A derives from no Method"),
        (3, {"class": "class A(Methd):", "kind": ""}, "A derives from no Method"),
        (5, {"class": "class A(Method):\n    pass\nclass A(Method):"}, "A is defined in line 3 already"),
        (3, {"name": ""}, "A declares no name"),
        (3, {"kind": ""}, "A declares no kind"),
        (3, {"reference": ""}, "A declares no reference"),
        (3, {"forward": ""}, r"A defines no forward\(self, batch\)"),
        (3, {"class": "class A(Cosine):", "x": 'kind = "individual"', "head": "\nfrom .task import Untrained as Cosine\n"}, "A.trains"),
        (3, {"class": "class A(PostHoc):", "head": "\nfrom .posthoc import PostHoc\n", "kind": ""}, "A defines no compress"),
        # Facts.
        (4, {"name": 'name: str = "a"'}, "A.name is a fact about the method; write name = 'my-method', without a type"),
        (4, {"name": "name: str"}, "A.name is a fact about the method"),
        (4, {"name": 'name, kind = "a", "none"', "kind": ""}, "A.name is a fact about the method"),
        (4, {"name": "name = 5"}, "A.name is 5; write a str"),
        (4, {"name": 'name = "My Method"'}, "A.name is 'My Method'; write small letters, digits and single hyphens"),
        (4, {"name": 'name = "a/b"'}, "A.name is 'a/b'; write small letters"),
        (4, {"name": r'name = "a\nb"'}, r"A.name is 'a\\nb'; write small letters"),
        (4, {"name": r'name = "a\x1b"'}, r"A.name is 'a\\x1b'; write small letters"),
        (4, {"name": f'name = "{"a" * 101}"'}, "A.name .* at most 100"),
        (4, {"name": 'name = "all"'}, "A.name is 'all'; .* none of all, individual"),
        (4, {"name": "name = NAME"}, "A.name must be a literal"),
        (5, {"kind": 'kind = "relation"'}, "A.kind is 'relation'; write one of none, individual, relational, posthoc"),
        (5, {"kind": 'kind = ["none"]'}, r"A.kind is \['none'\]; write a str"),
        (5, {"kind": 'kind = "posthoc"'}, "A.kind is 'posthoc'; posthoc is for classes that derive from PostHoc"),
        (8, {"kind": 'kind = "individual"', "x": "trains = False"}, "A.trains is False, which no method of the kind"),
        (6, {"reference": 'reference = " "'}, "A.reference is ' '; write a str"),
        (8, {"x": "needs = 5"}, r"A.needs is 5; write a tuple, such as needs = \('embedding', 'labels'\)"),
        (8, {"x": 'needs = ("maps")'}, "A.needs is 'maps'; write a tuple"),
        (8, {"x": 'needs = ["maps"]'}, r"A.needs is \['maps'\]; write a tuple"),
        (8, {"x": 'needs = ("embedding", "map")'}, "A.needs names 'map'; .* among embedding, pooled, maps, labels"),
        (8, {"x": "needs = ([],)"}, r"A.needs names \[\]"),
        (8, {"x": 'optional = "maps"'}, "A.optional is 'maps'; write a tuple"),
        (8, {"x": "ranges = 5"}, "A.ranges is 5; write a dict"),
        (8, {"x": "ranges = {[]: 5}"}, "A.ranges must be a literal"),
        (8, {"x": 'ranges = {"weight": (1.0, 10**2)}'}, "A.ranges must be a literal"),
        (8, {"x": 'ranges = {"wait": (0.1, 1.0)}'}, "A.ranges names 'wait'; write only what is among weight"),
        (7, {"x": 'ranges = {"wait": (0.1, 1.0)}', "weight": ""}, "A.ranges names 'wait'; .*, and it has none"),
        (8, {"x": 'ranges = {"weight": 5}'}, r"A.ranges has 5 for weight; write \(low, high\)"),
        (8, {"x": 'ranges = {"weight": (2.0, 3.0)}'}, r"A.ranges has \(2.0, 3.0\) for weight"),
        (8, {"x": 'ranges = {"weight": (0, 2)}'}, r"A.ranges has \(0, 2\) for weight"),
        (8, {"x": 'later = ("wait",)'}, "A.later names 'wait'"),
        (8, {"x": "is_random = 1"}, "A.is_random is 1; write a bool, such as is_random = True"),
        (8, {"x": 'trains = "no"'}, "A.trains is 'no'; write a bool"),
        (8, {"x": "has_head = False"}, "A.has_head is False"),
        (8, {"x": "task = ['triplet']"}, r"A.task is \['triplet'\]; write a str"),
        (8, {"x": 'task = "a"'}, "A.task is 'a', which is no loss of labels alone; write one of .*triplet"),
        (8, {"x": 'task = "triplets"'}, "A.task is 'triplets', which is no loss"),
        (8, {"x": 'task = "rkd-d"'}, "A.task is 'rkd-d', which is no loss"),
        (8, {"x": 'task = "untrained"'}, "A.task is 'untrained', which is no loss"),
        # Hyper-parameters, and what may be taken for one.
        (7, {"weight": "weight: float = 1"}, "A.weight is float, and its default 1 is not"),
        (7, {"weight": "weight: float = 1e999"}, "A.weight is float, and its default inf is not"),
        (7, {"weight": "weight: float = -1.0"}, "A.weight is 0 or more, and its default -1.0 is not"),
        (7, {"weight": "weight: float"}, "A.weight has no default; write weight: float = ..."),
        (7, {"weight": "weight: float = 2 * 3.0"}, "A.weight must be a literal"),
        (7, {"weight": "weight = 1.0"}, "A.weight is without a type; a hyper-parameter is written weight: float = 1.0"),
        (7, {"weight": "weight = other = 1.0"}, "A.weight is without a type"),
        (7, {"weight": "weight, other = 1.0, 2.0"}, "A.weight is without a type"),
        (7, {"weight": "if True: weight: float = 1.0"}, "A.weight is without a type"),
        (7, {"weight": "for weight in (1.0,): pass"}, "A.weight is without a type"),
        (7, {"weight": "weights: list = [1.0]"}, "A.weights is of type list; .* a constant weights: ClassVar"),
        (7, {"weight": "weights: dict[str, float] = {}"}, r"A.weights is of type dict\[str, float\]"),
        (7, {"weight": "weight: float | None = None"}, r"A.weight is of type float \| None"),
        (7, {"weight": "bank: Tensor"}, "A.bank is of type Tensor; .* what it learns is made by `build`"),
        (7, {"weight": "range = {}"}, "A.range is without a type"),
        (7, {"weight": "lr: float = 1.0"}, r"A.lr is called as a field of every run, so that --set METHOD.lr"),
        (7, {"weight": "dim: int = 1"}, "A.dim is called as a field of every run"),
        (7, {"weight": "teacher: str = ''"}, "A.teacher is called as a field of every run"),
        (7, {"weight": "update: float = 1.0"}, "A.update is a function of Method; rename it"),
        (7, {"weight": "reads: str = ''"}, "A.reads is a function of Method; rename it"),
        (8, {"x": "def weight(self): pass"}, "A.weight is a value of A; rename it"),
        (8, {"x": "def __init__(self, student, teacher, classes): pass"}, "A.__init__ .* made by `build`"),
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
        ({"head": "import lacking\nfrom .base import Method\n"}, "a.py, line 1: a cannot be imported: ModuleNotFoundError: No"),
        ({"head": "from .lacking import x\nfrom .base import Method\n"}, "a.py, line 1: a cannot be imported: ModuleNotFound"),
        ({"head": "from .base import Method, absent\n\n"}, "a.py, line 1: a cannot be imported: ImportError: cannot import"),
        ({"head": "import typing\nfrom .base import Method\n", "x": "TOP: typing.ClassVar = 1 / 0"}, "a.py, line 8: a cannot"),
        ({"class": "@final\nclass A(Method):"}, "a.py, line 3: a cannot be imported: NameError: name 'final' is not defined"),
        ({"weight": "half: float = 1.0"}, "a.py: A.half hides what every torch.nn.Module or method has; rename it"),
        ({"weight": "task_loss: float = 1.0"}, "a.py: A.task_loss hides what every torch.nn.Module or method has"),
        ({"weight": "training: bool = True"}, "a.py: A.training hides what every torch.nn.Module"),
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
        ("fitnet+fitnet", "fitnet+fitnet: fitnet stands in it 2 times"),
        ("fitnet+pca", "fitnet+pca: pca has no loss to add"),
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
