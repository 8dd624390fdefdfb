"""Methods outside of the package: by `--plugin`, by entry points, and held against the contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from conftest import COSINE_PAIRS, Result, assert_one_line

from benchmark import methods
from benchmark.methods import plugins

Cli = Callable[..., Result]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(plugins.VARIABLE, "")
    path = tmp_path / "my_loss.py"
    path.write_text(COSINE_PAIRS)
    yield path
    methods.edition.cache_clear()


def test_a_plugin_is_listed_and_run_and_its_edition_is_recorded(
    plugin: Path, cli: Cli, smoke: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = json.loads(cli("list", "methods", "--json", "--plugin", plugin).out)
    assert next(row for row in listed if row["name"] == "cosine-pairs")["defaults"] == {"weight": 1.0}
    result = cli(*smoke, f"--plugin={plugin}", "--methods", "cosine-pairs,cosine-pairs+rkd-d,rkd-d", "--set", "views=2")
    assert result.code == 0, result
    (path,) = tmp_path.glob("tiny/smoke/runs/cosine-pairs-*.json")
    record = json.loads(path.read_text())
    assert record["environment"]["method"] == methods.edition("cosine-pairs") and record["spec"]["params"] == {
        "weight": 1.0
    }
    assert record["declared"] == {
        "kind": "relational",
        "paper": "cosine-pairs",
        "labels": False,
        "self_taught": False,
        "outside": True,
    }
    monkeypatch.setenv(plugins.VARIABLE, "")  # a report needs no plugin
    assert "no differences" in cli("verify", "--results", tmp_path / "tiny").out
    given = [*smoke[1 : smoke.index("--seeds")], *smoke[smoke.index("--seeds") + 2 :]]
    measured = cli("measure", *given)  # the others of its group do
    failed = [line for line in measured.out.splitlines() if line.startswith("failed: ")]
    assert measured.code == 1 and len(failed) == 2 and all("cosine-pairs" in line for line in failed), measured
    assert all("unknown method 'cosine-pairs'" in line and "--plugin FILE.py" in line for line in failed)
    assert_one_line(cli("run", "--like", path), 2, "of a file outside of the suite", "--plugin FILE.py")
    before = methods.edition("cosine-pairs")
    plugin.write_text(COSINE_PAIRS.replace("self.weight * ", "2 * self.weight * "))
    methods.edition.cache_clear()
    again = cli("run", *given, "--seeds", "0,1", "--plugin", plugin, "--methods", "cosine-pairs", "--set", "views=2")
    assert f"to run them again, delete {path}" in again.out and methods.edition("cosine-pairs") != before, again
    table = (path.parents[1] / "comparison.md").read_text()
    assert any("‖" in line for line in table.splitlines() if "| cosine-pairs " in line)
    assert any("‖" not in line for line in table.splitlines() if "| cosine-pairs+rkd-d " in line)
    assert cli("check", "cosine-pairs").out.startswith("cosine-pairs keeps the contract")


def test_a_plugin_imports_what_lies_beside_it(plugin: Path) -> None:
    plugin.with_name("halves_of_it.py").write_text("def half(x):\n    return x / 2\n")
    plugin.write_text(COSINE_PAIRS.replace("from torch import", "from halves_of_it import half\nfrom torch import", 1))
    plugins.plugin_module.cache_clear()
    before = [*sys.path]
    assert plugins.plugin_module(plugin).half(4) == 2 and sys.path == before
    other = plugin.parent / "other" / "my_loss.py"
    other.parent.mkdir()
    other.write_text(plugin.read_text())
    other.with_name("halves_of_it.py").write_text("def half(x):\n    return x / 3\n")
    with pytest.raises(ImportError, match="both have a module halves_of_it; rename one of them"):
        plugins.plugin_module(other)


def test_a_package_names_methods_by_an_entry_point(plugin: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.syspath_prepend(plugin.parent)
    point = EntryPoint("mine", "my_loss", f"{plugins.GROUP}.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == f"{plugins.GROUP}.methods" else [])
    plugins._installed.cache_clear()
    try:
        assert '"cosine-pairs"' in cli("list", "methods", "--json").out
    finally:
        plugins._installed.cache_clear()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("x[0, 0].abs()", "the order of rows changes the loss; if it draws at random, say is_random = True"),
        ("x.square().mean() * batch.labels.float().mean()", "it reads labels, and does not say so in `needs`"),
        ("x.square().mean() * torch.tensor(float('nan'))", "the loss is no finite scalar"),
        ("(x - x[:1]).square().sum(1).sqrt().mean()", "a gradient is not finite"),
        ("batch.of_teacher(cosines).mean()", "no gradient reaches the student"),
        ("x.square().sum(1).sqrt().mean()", "is declared relational, and another teacher does not change the loss"),
        ("x.square().sum(1)", "on images and features: the loss is no finite scalar but has the shape [24]: reduce it"),
        ("x @ x", "it fails on a batch of made-up features: RuntimeError"),
    ],
)
def test_what_breaks_the_contract_is_said(loss: str, said: str, plugin: Path, cli: Cli) -> None:
    text = COSINE_PAIRS.replace("from torch import Tensor", "import torch\nfrom torch import Tensor").replace(
        "cosine-pairs", "bad"
    )
    line = "return self.weight * mse_loss(cosines(batch.student.embedding), batch.of_teacher(cosines))"
    broken = plugin.with_name(f"bad_{abs(hash(loss))}.py")
    broken.write_text(text.replace(line, f"x = batch.student.embedding\n        return {loss}"))
    result = cli("check", "bad", "--plugin", broken)
    assert result.code == 1 and said in result.out, result


@pytest.mark.parametrize("name", ["rkd-da", "fitnet", "crd", "attention"])
def test_the_suites_own_keep_the_contract(name: str, cli: Cli) -> None:
    assert cli("check", name).code == 0


def test_words_that_name_no_plugin_are_one_line(plugin: Path, cli: Cli) -> None:
    assert_one_line(cli("list", "methods", "--plugin", "nothing.py"), 2, "--plugin nothing.py: there is no such file")
    assert_one_line(cli("list", "methods", "--plugin"), 2, "--plugin wants a file")
    assert_one_line(cli("check", "pca"), 2, "pca is not trained")
    plugin.write_text("class Broken(:\n")
    assert_one_line(cli("check", "cosine-pair", "--plugin", plugin), 2, "my_loss.py, line 1")
