"""Where numbers come from: the processor by a name that tells it from others, and the code room by room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark import provenance

INFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
stepping\t: 8
flags\t\t: fpu vme

processor\t: 1
model name\t: another
"""


def test_the_processor_by_name_and_numbers(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(INFO)
    assert provenance.processor(info) == "Intel(R) Xeon(R) Processor (6-143-8)"
    info.write_text("processor\t: 0\n")  # as on ARM
    assert provenance.processor(info) == provenance.processor(tmp_path / "none") != ""


def test_sources_tell_which_room_was_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.sources()
    package = tmp_path / "benchmark"
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert provenance.sources() == before and before.keys() >= {"training/", "methods/base.py", "*.py"}
    for path in ("training/loop.py", "methods/rkd.py", "report/cells.py"):
        (package / path).write_text((package / path).read_text() + "# edited\n")
    now = provenance.sources()
    assert [room for room in before if now[room] != before[room]] == ["training/"]
