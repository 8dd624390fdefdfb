"""Teachers that exist already, and modules of one's own as teacher and student, by the command line."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, assert_one_line
from safetensors.torch import save_file

from benchmark.errors import WeightsError
from benchmark.networks import own
from benchmark.networks.names import has_maps, pooled
from benchmark.networks.trunks import trunk
from benchmark.protocol.experiment import gather, resolve
from benchmark.protocol.request import Request

Cli = Callable[..., Result]
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8 * 16, 12)
    def forward(self, x):
        return self.fc(nn.functional.adaptive_avg_pool2d(self.conv(x).relu(), 4).view(x.shape[0], -1))

class Pixels(nn.Module):
    image = 4
    def forward(self, x):
        return x.flatten(1)

class Broken(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make
    def forward(self, x):
        return self.make(x)

def net(): return Net()
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
def nothing(): raise ValueError("no such\\nlayer")
def text(): return "text"
def maps(): return Broken(lambda x: x)
def nans(): return Broken(lambda x: x.mean((2, 3)) / 0)
def sizes(): return Broken(lambda x: x @ x.new_zeros(5, 5))
def tensor():
    module = Net()
    module.mean = torch.zeros(1, 3)
    return module
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own.VARIABLE, "")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def weights_of(code: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return own.open_own(f"{code}:net").make().state_dict()


def specs(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["spec"] for path in sorted(results.glob("tiny/smoke/runs/*.json"))]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_pretrained_network_teaches_as_it_is(name: str, cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    as_it_is = ["--teacher", f"timm:{name}@pretrained", "--set", "teacher.pretrained=false", "--set", "image=32"]
    result = cli(*smoke, "--methods", "rkd-d,vid,nst,features", *as_it_is)
    assert result.code == 0, result
    lacks = f"nst does not apply: it needs feature maps, and timm:{name} has none"
    assert (lacks in result.out) == (name == "test_vit")
    teacher = next(spec["teacher"] for spec in specs(tmp_path) if spec["method"] == "rkd-d")
    assert (teacher["method"], teacher["steps"], teacher["image"]) == ("features", 0, 32)
    assert teacher["dim"] == pooled(f"timm:{name}")
    alone = next(spec for spec in specs(tmp_path) if spec["method"] == "features" and spec["backbone"] == "conv4-8")
    assert alone["dim"] == 8 and not alone["views"]
    heads = cli(*smoke, "--methods", "regression", *as_it_is, "--set", "views=2")
    assert heads.code == 0, heads
    assert sum(spec["method"] == "features" and spec["dim"] > 8 for spec in specs(tmp_path)) == 1  # the very same run


def test_an_own_module_teaches_and_learns(code: Path, cli: Cli, smoke: list[str], tmp_path: Path) -> None:
    torch.save(
        {"model": {f"module.{name}": value for name, value in weights_of(code).items()}}, code.with_suffix(".pt")
    )
    save_file(weights_of(code), code.with_suffix(".safetensors"))
    words = [
        *smoke,
        "--methods",
        "regression",
        "--teacher",
        f"{code}:net@{code.with_suffix('.pt')}",
        "--backbone",
        f"{code}:net",
    ]
    result = cli(*words)
    assert result.code == 0, result
    (student,) = [spec for spec in specs(tmp_path) if spec["method"] == "regression"]
    teacher = student["teacher"]
    assert (teacher["method"], teacher["dim"], teacher["pretrained"]) == ("features", 12, True)
    assert teacher["backbone"] != student["backbone"] and student["steps"] == 10
    assert str(tmp_path) not in json.dumps(student)
    saved = [path for path in tmp_path.glob("tiny/smoke/checkpoints/*.safetensors") if "projector" not in path.name]
    assert len(saved) == 2
    # The same weights in another form are the same teacher.
    again = cli(*smoke, "--methods", "regression", "--teacher", f"{code}:net@{code.with_suffix('.safetensors')}",
                "--backbone", f"{code}:net")  # fmt: skip
    assert "2 done, 0 to run" in again.out or "1 done, 0 to run" in again.out, again.out
    os.environ[own.VARIABLE] = ""
    where = [
        "--dataset",
        "tiny",
        "--preset",
        "smoke",
        "--data",
        smoke[smoke.index("--data") + 1],
        "--results",
        tmp_path,
    ]
    assert "2 of 2 runs measured again" in cli("measure", *where, "--device", "cpu").out
    (record,) = tmp_path.glob("tiny/smoke/runs/regression-*.json")
    like = ["run", "--like", record, "--seeds", 1, "--data", smoke[smoke.index("--data") + 1], "--results", tmp_path]
    assert cli(*like, "--device", "cpu").code == 0
    kept = own.place_file(teacher["backbone"])
    assert kept.exists() and kept.is_relative_to(tempfile.gettempdir())  # not the user's own
    code.write_text(CODE + "# changed\n")
    assert "0 done, 2 to run" in cli(*words, "--dry-run").out  # another teacher, and another student
    os.environ[own.VARIABLE] = ""
    measured = cli("measure", *where, "--device", "cpu")
    assert measured.code == 1 and "has changed since" in measured.out
    code.rename(tmp_path / "moved.py")
    os.environ[own.VARIABLE] = ""
    measured = cli("measure", *where, "--device", "cpu")
    assert measured.code == 1 and f"no file of Python's {code}; say where it is, by BENCHMARK_OWN" in measured.out


def test_a_package_has_modules_of_ones_own(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code.parent / "shop").mkdir()
    (code.parent / "shop" / "__init__.py").touch()
    code.rename(code.parent / "shop" / "nets.py")
    monkeypatch.chdir(code.parent)
    assert own.open_own("shop.nets:net").name.startswith("own:net-")


def test_an_installed_package_has_backbones_and_cards(
    cli: Cli, code: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (info := site / "shop-1.0.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[embedding_distillation.backbones]\nshopnet = shop_nets:net\n[embedding_distillation.cards]\nwares = shop_cards\n"
    )
    code.rename(site / "shop_nets.py")
    (cards := site / "shop_cards").mkdir()
    (cards / "__init__.py").touch()
    (cards / "wares.toml").write_text('name = "wares"\ntitle = "Wares"\nlayout = "folder"\nfolder = "wares"\n')
    monkeypatch.syspath_prepend(site)
    assert "shopnet" in cli("list", "backbones", "--json").out and "wares" in cli("list", "datasets").out
    request = Request(
        "tiny", preset="smoke", methods="regression", data=data_dir, teacher="shopnet", backbone="shopnet"
    )
    for spec in resolve(gather(request)).specs:
        assert spec.backbone.startswith("own:net-") and spec.backbone == spec.taught_by.backbone
    missing = cli("run", "--dataset", "wares", "--data", tmp_path, "--results", tmp_path / "r", "--device", "cpu")
    assert_one_line(missing, 1, f"{tmp_path / 'wares'} is missing")


def test_places_are_told_and_kept(code: Path) -> None:
    """One that the user has set has no name, and stays; a named one is told once, and its file says nothing against it."""
    os.environ[own.VARIABLE] = f"{code}:Pixels"
    name = own.open_own(f"{code}:net").name
    own.open_own(f"{code}:net")
    assert os.environ[own.VARIABLE] == f"{code}:Pixels;{name}={code}:net"
    own.write_places([name, "conv4-8"])
    os.environ[own.VARIABLE] = f"{name}=elsewhere.py:net"
    with pytest.raises(WeightsError, match=r"there is no file of Python.s elsewhere\.py; say where it is"):
        own.own_network(name)
    os.environ[own.VARIABLE] = ""
    assert own.own_network(name).place == os.environ[own.VARIABLE].removeprefix(f"{name}=") == f"{code}:net"


def test_random_weights_are_no_identity_and_given_ones_are(code: Path) -> None:
    names = {own.open_own(f"{code}:net").name}
    own._opened.cache_clear()
    names.add(own.open_own(f"{code}:net").name)
    assert len(names) == 1
    save_file(weights_of(code), first := code.with_name("a.safetensors"))
    save_file({name: value + 1 for name, value in weights_of(code).items()}, second := code.with_name("b.safetensors"))
    names |= {own.open_own(f"{code}:net@{path}").name for path in (first, second)}
    assert len(names) == 3


def test_a_module_sees_images_as_it_wants_them(code: Path) -> None:
    name = own.open_own(f"{code}:Pixels").name
    made = trunk(name, True, 8)
    white, _ = made(torch.full((1, 8, 8, 3), 255, dtype=torch.uint8))
    assert made.pooled == 48 and white.shape == (1, 48)
    expected = torch.tensor([(1 - mean) / std for mean, std in zip(*own.IMAGENET, strict=True)])
    assert torch.allclose(white.view(3, 16).mean(1), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("factory", "status", "words"),
    [
        ("nets", 2, "unknown factory 'nets'; did you mean 'net'"),
        ("nothing", 1, "the factory fails: ValueError: no such layer (mine.py, line"),
        ("lazy", 2, "its lazy layers have no sizes yet; have the factory pass zeros"),
        ("text", 2, "gives a str, not a torch.nn.Module"),
        ("maps", 2, "makes torch.float32 [2, 3, 28, 28] of 2 images of zeros, not vectors"),
        ("nans", 2, "not finite"),
        ("sizes", 2, "fails on images [2, 3, 28, 28]: RuntimeError"),
        ("tensor", 2, "its attribute mean.0: Input should be a valid number"),
        ("net@missing.pt", 2, "there is no checkpoint"),
        ("net@pickled.pt", 1, "wants unpickling, which may run any code, and is refused; save the weights alone"),
        ("net@other.pt", 1, "holds the weights of another network: RuntimeError"),
        ("net@junk.pt", 1, "cannot be read as weights"),
        ("net@epoch.pt", 1, "holds no tensors by name, also not under state_dict or model (its keys: epoch, net)"),
    ],
)
def test_what_is_wrong_with_a_module_is_one_line(
    factory: str, status: int, words: str, code: Path, cli: Cli, smoke: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code.parent)
    torch.save(torch.nn.Linear(2, 2), "pickled.pt")
    torch.save({"fc.weight": torch.zeros(3)}, "other.pt")
    torch.save({"epoch": 3, "net": {}}, "epoch.pt")
    Path("junk.pt").write_bytes(b"junk")
    assert_one_line(cli(*smoke, "--methods", "rkd-d", "--teacher", f"mine.py:{factory}"), status, words)
    assert not (code.parent / "tiny").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("none.py:net", "there is no file of Python's"),
        ("nowhere.nets:net", "there is no module nowhere.nets here"),
        ("resnet50@pretraind", "or the word pretrained"),
        ("resnet50@pretrained --set teacher.lr=1", "teacher.lr cannot be set: the teacher is taken as it is"),
        ("resnet50@pretrained --set teacher.dim=9", "teacher.dim cannot be set"),
        ("resnet50@pretrained --set teacher.method=triplet", "is taken as it is; to train it, set teacher.backbone"),
    ],
)
def test_words_that_make_no_teacher_are_one_line(words: str, said: str, cli: Cli, smoke: list[str]) -> None:
    assert_one_line(cli(*smoke, "--methods", "rkd-d", "--teacher", *words.split()), 2, said)


@pytest.mark.parametrize(
    ("name", "image", "maps"),
    [
        ("vit_tiny_patch16_224", 32, 0),
        ("test_vit_relpos", 64, 0),
        ("mobilenetv3_small_050", 28, 5),
        ("test_mambaout", 64, 4),
    ],
)
def test_sizes_of_timm_models_are_known_before_they_are_built(name: str, image: int, maps: int) -> None:
    made = trunk(f"timm:{name}", False, image).eval()
    features, levels = made(torch.zeros(2, image, image, 3, dtype=torch.uint8))
    assert features.shape == (2, pooled(f"timm:{name}")) and len(levels) == len(made.widths) == maps
    assert has_maps(f"timm:{name}") == bool(maps)
