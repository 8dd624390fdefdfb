"""Arrays in files from anywhere: looked at before they are read, so that a damaged or hostile one is a line and no more."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np

from ..errors import DataError

_HEADER = 2**14  # bytes; numpy refuses headers of more than 10,000


class Rows(Protocol):
    """Images or features, a row each, that may be read when they are asked for: an array is one, and so are vectors in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | np.ndarray, /) -> np.ndarray: ...


class Form(NamedTuple):
    """The shapes and types that an array in a file may have."""

    dims: tuple[int, ...]
    kinds: str  # of numpy's dtypes
    text: str  # for people

    def check(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raise a DataError where an array is none of this form, or has no elements."""
        if dtype.hasobject:
            raise DataError(f"{path} is not an array that numpy wrote: it holds Python objects")
        described = f"{'a structure' if dtype.names else dtype} of shape {shape}"
        if len(shape) not in self.dims or dtype.kind not in self.kinds:
            raise DataError(f"{path} must be {self.text}, not {described}")
        if min(shape) < 1 or not dtype.itemsize:
            raise DataError(f"{path} has no elements: it is {described}")


VECTORS = Form((2, 3), "f", "vectors of floating-point numbers, [n, width] or [n, views, width]")
EMBEDDINGS = Form((2,), "fiu", "a table of real numbers, rows x dimensions")
LABELS = Form((1,), "iuU", "a list of integers or strings")


def open_array(path: Path, name: str, form: Form) -> np.ndarray:
    """An array on disk, read-only and mapped into memory; one in a compressed archive is read into memory.

    Its header is read first: an array of another form, of another length than its file, or larger than the memory is
    refused before it is unpacked.

    Args:
        name: of the array, in an archive that holds several.

    Raises:
        DataError: there is no such file or array, it is not one that numpy wrote, or not of that form.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, a device or a folder
            raise DataError(f"cannot read {path}: it is not a regular file")
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4":
                return _mapped(path, 0, path.stat().st_size, form)
            with zipfile.ZipFile(file) as archive:
                return _member(path, archive, name, form)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path} is compressed and does not fit into memory; write it with numpy.savez") from None
    except Exception as error:  # whatever zip, zlib and numpy's parser of headers meet in a damaged file
        raise DataError(
            f"{path} is not an array that numpy wrote: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None


def _member(path: Path, archive: zipfile.ZipFile, name: str, form: Form) -> np.ndarray:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if name not in members and len(members) != 1:
        raise DataError(f"{path} holds {', '.join(sorted(members)) or 'nothing'}; none is called {name!r}")
    info = members[name] if name in members else next(iter(members.values()))
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:  # as numpy.savez stores it: a whole .npy file within the archive
            file.seek(info.header_offset + 26)
            start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))  # its name and extra field
        return _mapped(path, start, info.file_size, form)
    with archive.open(info) as member:
        _header(member, path, info.file_size, form)
    if info.file_size > _free_memory():
        raise MemoryError
    with archive.open(info) as member:
        # To the member's end, where its checksum is compared.
        return np.lib.format.read_array(member, allow_pickle=False)


def _mapped(path: Path, start: int, size: int, form: Form) -> np.ndarray:
    """An array that lies in some bytes of a file as numpy.save writes it."""
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran, dtype, length = _header(file, path, size, form)
    return np.memmap(path, dtype, "r", start + length, shape, "F" if fortran else "C")


def _header(file: IO[bytes], path: Path, size: int, form: Form) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order, type and header's length of an array of that form, which is `size` bytes long with its header."""
    head = io.BytesIO(file.read(_HEADER))  # a damaged length in it asks for no more
    version = np.lib.format.read_magic(head)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = header(head)
    except MemoryError:  # as Python's parser says of what is nested too deeply
        raise ValueError("its header is none") from None
    form.check(path, shape, dtype)
    promised = head.tell() + math.prod(shape) * dtype.itemsize
    if promised != size:
        raise ValueError(f"its header promises {promised:,} bytes, and it has {size:,}")
    return shape, fortran, dtype, head.tell()


def _free_memory() -> float:
    """Bytes; without end where the system does not say."""
    file = Path("/proc/meminfo")  # of Linux
    lines = file.read_text().splitlines() if file.exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), math.inf)
