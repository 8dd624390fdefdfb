"""Arrays in files from anywhere: looked at before they are read, so that a damaged or hostile one is a line and no more."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import DataError


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
        described = f"{'a structure' if dtype.names else dtype} of shape {shape}"
        if len(shape) not in self.dims or dtype.kind not in self.kinds:
            raise DataError(f"{path} must be {self.text}, not {described}")
        if min(shape) < 1 or not dtype.itemsize:
            raise DataError(f"{path} has no elements: it is {described}")


VECTORS = Form((2, 3), "f", "vectors of floating-point numbers, [n, width] or [n, views, width]")
EMBEDDINGS = Form((2,), "fiu", "a table of real numbers, rows x dimensions")
LABELS = Form((1,), "iuU", "a list of integers or strings")


def open_array(path: Path, name: str, form: Form) -> np.ndarray:
    """An array on disk, read-only: of an .npy mapped into memory, of an archive read into it.

    Args:
        name: of the array, in an archive that holds several.

    Raises:
        DataError: there is no such file or array, it is not one that numpy wrote, not of that form, or larger than the memory.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, a device or a folder
            raise DataError(f"cannot read {path}: it is not a regular file")
        if zipfile.is_zipfile(path):
            array = _member(path, name)
        else:
            array = np.lib.format.open_memmap(path, mode="r")
            _check_length(path.stat().st_size - array.offset, array.nbytes)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except DataError:
        raise
    except Exception as error:  # whatever zip, zlib and numpy's parser of headers meet in a damaged file
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is not an array that numpy wrote, or does not fit into memory: {said}") from None
    form.check(path, array.shape, array.dtype)
    return array


def _member(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        if name not in members and len(members) != 1:
            raise DataError(f"{path} holds {', '.join(sorted(members)) or 'nothing'}; none is called {name!r}")
        with archive.open(members.get(name, next(iter(members.values())))) as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            _check_length(array.nbytes + len(member.read()), array.nbytes)  # at its end its checksum is compared
            return array


def _check_length(there: int, promised: int) -> None:
    if there != promised:
        raise ValueError(f"its header promises {promised:,} bytes, and it has {there:,}")
