"""Files that are whole or not there, and what killed processes leave of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.files import read_regular, sealed, unsealed, write_atomically

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != files.SEAL), JSON, max_size=4))
def test_sealed_fields_come_back_and_any_other_value_is_seen(fields: dict[str, object]) -> None:
    text = sealed(fields)
    assert unsealed(text.encode()) == fields
    changed = json.loads(text) | {"another": 1}
    with pytest.raises(ValueError, match="its digest is another"):
        unsealed(json.dumps(changed).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_sealed_file(content: bytes) -> None:
    with pytest.raises(ValueError):
        unsealed(content)


def test_regular_files_alone_are_read(tmp_path: Path) -> None:
    file, pipe, endless = tmp_path / "file", tmp_path / "pipe", tmp_path / "endless"
    file.write_bytes(b"12345")
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    assert read_regular(file) == read_regular(file, 5) == b"12345"
    with pytest.raises(BenchmarkError, match="has 5 bytes, and 4 are the most"):
        read_regular(file, 4)
    for path in (pipe, endless, tmp_path):
        with pytest.raises(BenchmarkError, match="not a regular file"):
            read_regular(path)


def test_litter_of_the_dead_goes_and_work_of_the_living_stays(tmp_path: Path) -> None:
    kill = "import os, sys; from benchmark import files; from pathlib import Path; os.replace = lambda *_: os._exit(9);"
    subprocess.run(
        [sys.executable, "-c", f"{kill} files.write_atomically(Path(sys.argv[1]), 'x')", tmp_path / "dead.json"]
    )
    (dead,) = tmp_path.iterdir()
    mine = tmp_path / f"mine.json.{files._HOST}.{os.getpid()}.abcdefgh.partial"
    theirs, abandoned = (tmp_path / f"{name}.json.elsewhere.1.abcdefgh.partial" for name in ("theirs", "abandoned"))
    for path in (mine, theirs, abandoned):
        path.touch()
    os.utime(abandoned, (time.time() - 4000,) * 2)
    strangers = tmp_path / "holiday.2019.video.mkv.partial"
    strangers.touch()
    os.utime(strangers, (time.time() - 4000,) * 2)
    write_atomically(tmp_path / "whole.json", "{}")
    assert not dead.exists() and not abandoned.exists()
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, theirs.name, strangers.name, "whole.json"}
