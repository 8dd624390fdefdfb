"""Two commands in one folder share the work: none does what the other has in hand, and each takes over what the other leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from conftest import tiny_spec
from test_lockstep import final_weights, train, workspace

from benchmark.store import Store


def start(data_dir: Path, results: Path, *more: str) -> subprocess.Popen[str]:
    words = f"run --dataset tiny --preset smoke --device cpu --methods triplet --data {data_dir} --results {results}"
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *words.split(), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trained(output: str) -> list[str]:
    """The runs that a command tells the results of."""
    return [line.partition(": Recall@1")[0] for line in output.splitlines() if ": Recall@1" in line]


def test_what_another_has_in_hand_is_left_alone(data_dir: Path, tmp_path: Path) -> None:
    space, first, second = workspace(data_dir, tmp_path), tiny_spec(), tiny_spec("contrastive")
    with space.store.claimed([first]) as held:
        assert held == [first]
        with space.store.claimed([first, second]) as rest:
            assert rest == [second]
        assert [outcome.spec for outcome in train([first, second], space)] == [second]
    assert [outcome.spec for outcome in train([first, second], space)] == [first]
    assert not train([first, second], space)  # done meanwhile
    assert not list(space.store.checkpoints.glob("*.lock"))


def test_two_commands_at_once_do_each_run_once(data_dir: Path, tmp_path: Path) -> None:
    both = [start(data_dir, tmp_path, "--seeds", "0,1,2,3", "--steps", "60") for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    told = [run for output in outputs for run in trained(output)]
    store = Store(tmp_path / "tiny" / "smoke")
    assert sorted(told) == sorted(record.spec.label for record in store) and len(told) == 4, outputs
    assert len(final_weights(tmp_path)) == 4
    names = [path.name for path in store.checkpoints.iterdir()]
    assert not [name for name in names if name.endswith((".pt", ".lock", ".partial"))], names


def test_a_command_takes_over_from_one_that_is_killed(data_dir: Path, tmp_path: Path) -> None:
    words = ["--seeds", "0", "--steps", "2000", "--checkpoint-every", "0.2"]
    killed = start(data_dir, tmp_path, *words)
    deadline = time.monotonic() + 100
    while not list(tmp_path.rglob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    other = start(data_dir, tmp_path, *words)
    assert other.stdout is not None
    waits = next((line for line in other.stdout if "another command's hands" in line), "")
    assert killed.poll() is None and waits.startswith("1 of these runs"), waits
    killed.kill()
    killed.communicate()
    rest, _ = other.communicate()
    assert other.returncode == 0, rest
    assert trained(rest) == ["triplet conv4-8-8 seed 0"]
    first = next(int(line.partition(": ")[2].partition("/")[0]) for line in rest.splitlines() if "/2000" in line)
    assert first > 1  # it goes on from the checkpoint
