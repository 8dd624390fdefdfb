"""Files that are whole or not there: written at once, read within limits, and told from damaged ones by a digest."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import BenchmarkError

SEAL = "digest"  # the field of a sealed file
PARTIAL = ".partial"  # the suffix of a file on its way
_ABANDONED = 3600.0  # seconds after which nobody on another machine is still writing a file
_HOST = "".join(letter for letter in socket.gethostname() if letter.isalnum())[:32] or "host"


def digest(content: bytes) -> str:
    """16 hexadecimal digits of SHA-256, which tell two networks of one spec apart: other machines round differently."""
    return hashlib.sha256(content).hexdigest()[:16]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that, whatever happens, either the old or the new content is there; what was killed on the way to the same
    folder goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_partial(path.parent)
    # Who writes it is in its name, so that `clear_partial` leaves alone what another process is writing.
    partial = path.with_name(f"{path.name}.{_HOST}.{os.getpid()}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def names_beside(rows: Path) -> Path:
    """Where the names of an array's rows are."""
    return rows.with_suffix(".names.csv")


def write_names(rows: Path, names: Sequence[str], **same: str) -> Path:
    """Write the names of an array's rows as a table beside its file, with columns that are the same in all rows; where that is."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(
        [("row", "path", *same), *((row, name, *same.values()) for row, name in enumerate(names))]
    )
    listing = names_beside(rows)
    write_atomically(listing, table.getvalue())
    return listing


def clear_partial(folder: Path) -> None:
    """Delete what killed processes left of `write_atomically` in a folder, not what others are writing now."""
    for path in folder.glob(f"*{PARTIAL}"):
        name = re.fullmatch(r".+\.(\w+)\.(\d+)\.[a-z0-9_]{8}\.partial", path.name)
        # Another command may clear the folder as well, and others' files may be in it.
        with contextlib.suppress(OSError):
            abandoned = time.time() - path.stat().st_mtime > _ABANDONED
            if name and path.is_file() and (_gone(int(name[2])) if name[1] == _HOST else abandoned):
                path.unlink()


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file. A pipe would wait for ever, and a device may never end.

    Args:
        most: bytes.

    Raises:
        BenchmarkError: it is none, or larger than `most`.
        OSError: it is not there, or may not be read.
    """
    # Without blocking, as opening a pipe waits for who writes to it.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise BenchmarkError(f"{path} is not a regular file; take it out of the folder")
    with os.fdopen(handle, "rb") as file:
        if most is not None and status.st_size > most:
            raise BenchmarkError(f"{path} has {status.st_size:,} bytes, and {most:,} are the most that such a file has")
        return file.read()


def sealed(fields: dict[str, Any], *, sort: bool = True) -> str:
    """JSON text of some fields, with a digest of all of them as one more; `sort` orders the fields by name. A list of numbers is a line."""
    text = json.dumps({**fields, SEAL: _seal(fields)}, indent=1, sort_keys=sort) + "\n"
    return re.sub(r"\[\n[-+.\w,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)


def unsealed(content: bytes) -> dict[str, Any]:
    """The fields of a text that `sealed` made; of one without a digest, as older versions wrote it, whatever it holds.

    Raises:
        ValueError: it is not JSON, or not what was written.
    """
    try:
        fields = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("it holds no fields")
    if (seal := fields.pop(SEAL, None)) is not None and seal != _seal(fields):
        raise ValueError("it was changed since it was written: its digest is another")
    return fields


def _seal(fields: dict[str, Any]) -> str:
    return digest(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
