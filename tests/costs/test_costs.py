"""What networks cost: times that a busy machine does not spoil, nothing that does not fit into memory, files that are whole."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Result, assert_one_line
from made_records import KINDS, golden_costs, golden_records, record, save, student

from benchmark import timing
from benchmark.costs import FILE, Costs, RuntimeCost, measure, read_costs, write_costs
from benchmark.costs.measure import Fastest, fastest, measure_costs
from benchmark.errors import BenchmarkError
from benchmark.files import unsealed
from benchmark.report.write import Folder, result_folders

CPU = torch.device("cpu")


def clocked(monkeypatch: pytest.MonkeyPatch, times: Iterable[float], share: float = 1.0) -> Callable[[], None]:
    """A function that takes those seconds, one call after the other, of which its thread is on the CPU for a share."""
    left, clock = iter(times), SimpleNamespace(now=0.0)
    fake = SimpleNamespace(perf_counter=lambda: clock.now, thread_time=lambda: share * clock.now)
    for module in (timing, measure):
        monkeypatch.setattr(module, "time", fake)

    def function() -> None:
        clock.now += next(left)

    return function


def test_one_slow_repetition_is_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fastest(clocked(monkeypatch, itertools.chain([9.0, 0.5], itertools.repeat(0.001))))
    assert found == Fastest(pytest.approx(0.001), pytest.approx(0, abs=1e-9), False)


def test_a_machine_that_gets_quiet_is_measured_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [9.0, 0.4, 0.24, 0.1, 0.3, 0.2]
    found = fastest(clocked(monkeypatch, itertools.chain(noise, itertools.repeat(0.02))))
    assert found.seconds == pytest.approx(0.02) and not found.busy


@pytest.mark.parametrize(
    ("times", "share"),
    [(itertools.cycle([0.24, 0.001, 0.24, 0.24]), 1.0), (itertools.repeat(0.24), 0.25)],
    ids=["repetitions differ", "all are slow alike, waiting for the CPU"],
)
def test_a_machine_that_stays_busy_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, times: Iterable[float], share: float
) -> None:
    found = fastest(clocked(monkeypatch, times, share))
    assert found.busy and found.seconds == pytest.approx(min(itertools.islice(times, 4)))


def test_what_takes_long_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([10.0, 30.0] * 10)
    assert fastest(clocked(monkeypatch, left)).busy
    assert len(list(left)) > 10


def busied(costs: Costs) -> Costs:
    """As measured on a busy machine, of the student of 16 dimensions."""
    first, *others = costs.networks
    return costs.model_copy(update={"networks": (first.model_copy(update={"busy": True, "spread": 3.0}), *others)})


def test_only_what_was_measured_on_a_busy_machine_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [student("rkd-d", 0.5, dim=dim, backbone="conv4-4", image=16) for dim in (2, 3)]
    # Of each network latency and throughput, of each search one time; then of what is measured again.
    times = iter([(0.5, 3.0), *itertools.repeat((0.25, 0.0), 5), *itertools.repeat((0.125, 0.0), 2)])

    def scripted(function: Callable[[], object]) -> Fastest:
        seconds, spread = next(times)
        return Fastest(seconds, spread, spread > 1)

    monkeypatch.setattr(measure, "fastest", scripted)
    said: list[str] = []
    first = measure_costs(runs, CPU, say=said.append)
    assert [one.busy for one in first.networks] == [True, False] and first.networks[0].spread == 3.0
    assert len(said) == 1 and said[0].startswith("1 of 4 measured while the machine was busy")
    again = measure_costs(runs, CPU, first)
    assert [one.latency for one in again.networks] == [0.125, 0.25] and not any(one.busy for one in again.networks)
    assert again.searches == first.searches and measure_costs(runs, CPU, again) == again


def test_a_network_is_measured_as_an_onnx_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "fastest", lambda function: (function(), Fastest(0.5, 0.0, False))[1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    run = student("rkd-d", 0.5, dim=3, backbone="conv4-4", image=16)
    runs = [
        run,
        record("features", 0.9, dim=64, backbone="conv4-4", image=16, steps=0),
    ]  # a teacher as it is has no head
    costs = measure_costs(runs, CPU, onnxruntime=True)
    for network, _ in zip(costs.networks, runs, strict=True):
        described = [(cost.runtime, cost.threads, cost.latency, cost.throughput) for cost in network.runtimes]
        assert described == [("torch", 1, 0.5, 128), ("onnxruntime", 1, 0.5, 128), ("onnxruntime", 2, 0.5, 128)]
    assert costs.environment["onnxruntime"] == metadata.version("onnxruntime")
    # What a run measures at its end keeps them.
    assert measure_costs(runs, CPU, costs) == costs
    write_costs(tmp_path, costs)
    assert read_costs(tmp_path) == costs

    def refused(*words: object) -> None:
        raise BenchmarkError("it has no such form")

    # No reason to lose the other costs.
    monkeypatch.setattr(measure, "write_onnx", refused)
    said: list[str] = []
    (network,) = measure_costs([run], CPU, say=said.append, onnxruntime=True).networks
    assert network.runtimes == () and said == ["conv4-4: not measured by onnxruntime: it has no such form"]


def test_columns_of_onnxruntime_are_shown_where_they_were_measured(tmp_path: Path) -> None:
    costs, headings = golden_costs(), {}
    times = (("torch", 1, 0.5), ("onnxruntime", 1, 0.25), ("onnxruntime", 2, 0.125))
    runtimes = tuple(RuntimeCost(runtime=name, threads=n, latency=s, throughput=64 / s) for name, n, s in times)
    networks = tuple(network.model_copy(update={"runtimes": runtimes}) for network in costs.networks)
    for name, known in (("without", costs), ("with", costs.model_copy(update={"networks": networks}))):
        save(tmp_path / name / "glyphs" / "quick", golden_records())
        write_costs(tmp_path / name / "glyphs" / "quick", known)
        folder = Folder.read(*result_folders(tmp_path / name), KINDS)
        (table,) = (table for table in folder.document.tables if table.key == "cost")
        headings[name] = [heading.name for heading in table.columns]
        shown = dict(zip(headings[name], (value.text for value in table.lines[0].values), strict=True))
    added = ["one thread, ms", "onnxruntime, ms", "onnxruntime one thread, ms", "onnxruntime, images/s"]
    assert [name for name in headings["with"] if name not in headings["without"]] == added
    assert [shown[name].split(" ")[0] for name in added] == ["500.00", "125.00", "250.00", "512"]


def test_what_was_measured_on_a_busy_machine_is_marked(tmp_path: Path) -> None:
    documents = {}
    for name, costs in (("quiet", golden_costs()), ("busy", busied(golden_costs()))):
        save(tmp_path / name / "glyphs" / "quick", golden_records())
        write_costs(tmp_path / name / "glyphs" / "quick", costs)
        folder = Folder.read(*result_folders(tmp_path / name), KINDS)
        (table,) = (table for table in folder.document.tables if table.key == "cost")
        marked = [(line.values[1].text, [value.flags for value in line.values]) for line in table.lines]
        documents[name] = marked, folder.document.notes, folder.files()
    marked, notes, files = documents["quiet"]
    assert not any("".join(flags) for _, flags in marked) and not any("busy" in note for note in notes)
    assert "busy" not in files["report.html"]
    marked, notes, files = documents["busy"]
    flags = {network: "".join(flags) for network, flags in marked}
    assert flags.pop("conv4-64-16") == "**" and set(flags.values()) == {""}
    assert notes.count("* measured while the machine was busy: benchmark costs measures it again.") == 1
    assert '<abbr title="measured while the machine was busy' in files["report.html"]
    assert "×) * |" in files["comparison.md"] and r"\,*" in files["comparison.tex"]


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ("conv4-9999999", "cannot be built: backbone conv4-9999999 is too wide"),
        (f"conv4-{10**15}", "cannot be built"),
        (f"conv4-{10**40}", "cannot be built"),
        ("timm:gone", "unknown timm model"),
    ],
    ids=["trunk", "no size", "no number", "unknown"],
)
def test_what_cannot_be_built_is_not_measured(backbone: str, says: str) -> None:
    large, small = student("rkd-d", 0.5, backbone=backbone), student("rkd-d", 0.5, backbone="conv4-4", image=16)
    said: list[str] = []
    measured = measure_costs([large, small], CPU, say=said.append)
    assert [network.backbone for network in measured.networks] == ["conv4-4"]
    (line,) = (line for line in said if line.startswith(large.spec.backbone))
    assert "not measured" in line and says in line and "\n" not in line


def test_a_gallery_that_there_is_no_memory_for_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    run = student("rkd-d", 0.5, backbone="conv4-4", image=16)
    monkeypatch.setattr(measure.faiss, "IndexFlatL2", lambda dim: (_ for _ in ()).throw(MemoryError("no more\nat all")))
    said: list[str] = []
    measured = measure_costs([run], CPU, say=said.append)
    assert not measured.searches and any(line.endswith("cannot be built: no more") for line in said)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("latency", 0.0), ("latency", -1.0), ("latency", float("nan")), ("throughput", float("inf")), ("precision", "fp8"),
        ("dim", 0), ("hidden", -1), ("image", 10**6), ("parameters", -1), ("spread", -0.5), ("backbone", "a\x00b"), ("busy", None),
    ],
)  # fmt: skip
def test_costs_that_cannot_be_are_none(tmp_path: Path, place: str, value: object) -> None:
    fields = golden_costs().model_dump(mode="json")
    fields["networks"][1][place] = value
    (tmp_path / FILE).write_text(json.dumps(fields))
    with pytest.raises(BenchmarkError, match=f"{FILE} holds no costs .*{place}.*; delete it") as error:
        read_costs(tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_one_line(cli: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "glyphs" / "quick"
    save(folder, golden_records())
    path = write_costs(folder, busied(golden_costs()))
    assert read_costs(folder) == busied(golden_costs()) and "digest" in json.loads(path.read_text())
    right = path.read_text()
    for damaged in (right.replace("0.0021", "0.0022"), right[:-40], "[" * 10**5, "[]", "", "\udc80"):
        path.write_text(damaged, errors="surrogateescape")
        assert_one_line(cli("report", "--results", tmp_path), 1, FILE, "delete it, and measure again: benchmark costs")
    path.unlink()
    path.mkdir()
    with pytest.raises((BenchmarkError, OSError)):
        read_costs(folder)


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    """They have no digest, and nothing about a busy machine."""
    path = write_costs(tmp_path, golden_costs())
    fields = unsealed(path.read_bytes())
    for one in (*fields["networks"], *fields["searches"]):
        del one["spread"], one["busy"]
    path.write_text(json.dumps(fields))
    assert read_costs(tmp_path) == golden_costs()
    for committed in sorted((Path(__file__).parents[2] / "results").glob(f"*/*/{FILE}")):
        assert read_costs(committed.parent) is not None
