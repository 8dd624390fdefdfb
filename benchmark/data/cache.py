"""Images decoded once: from files to one uint8 array on disk that is mapped into memory."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from .. import cards
from ..errors import DataError
from .splits import Split
from .vectors import VectorRows

# Part of the key: whoever changes how an image is decoded changes this, and no old file is taken for a new one.
RULE = "RGB, squashed to a square, bilinear with antialiasing; JPEG decoded at no less than twice the size"

Progress = Callable[[int, int], None]  # done, of all


def cache_dir(data_dir: Path) -> Path:
    """Where decoded images go: $BENCHMARK_CACHE; below the data; below the default folder if those are read-only."""
    if given := os.environ.get("BENCHMARK_CACHE"):
        return Path(given).expanduser()
    # The mode as well: root may write everywhere, but a folder that is marked read-only is left alone.
    writable = data_dir.is_dir() and os.access(data_dir, os.W_OK) and data_dir.stat().st_mode & 0o222
    return (data_dir if writable else cards.default_data_dir()) / ".cache"


def decoded(split: Split, size: int, folder: Path, progress: Progress | None = None) -> np.ndarray:
    """All images of a split as uint8 [n, size, size, 3], read-only.

    Files are decoded by the first call and mapped into memory by later ones; what a stopped call has decoded is kept. Rendered
    images stay in memory.

    Args:
        size: pixels a side; the aspect ratio is not kept, as published.
        folder: for the decoded file, `n * size * size * 3` bytes.

    Raises:
        DataError: an image cannot be decoded, or there is no room or no permission in `folder`. Nothing is left behind then.
    """
    assert not isinstance(split.images, VectorRows), "vectors are not decoded"
    if isinstance(split.images, np.ndarray):
        return _coloured(split.images, size)
    shape = (len(split), size, size, 3)
    file = folder / f"{_key(split.images, size)}-{size}.npy"
    if (found := _opened(file, shape)) is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if (found := _opened(file, shape)) is None:  # not built meanwhile by another process
                _build(split.images, shape, file, progress)
                found = _opened(file, shape)
    except OSError as error:
        raise cannot_write(folder, error) from error
    assert found is not None, f"{file} was written and cannot be opened"
    return found


def cannot_write(folder: Path, error: OSError) -> DataError:
    where = f" ({error.filename})" if error.filename else ""
    return DataError(f"cannot write to {folder}: {error.strerror or error}{where}")


def _key(images: tuple[Path, ...], size: int) -> str:
    digest = hashlib.sha256(f"{RULE}\n{size}\n".encode())
    for path in images:
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        digest.update(f"{path.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def _opened(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The finished file; None if there is none or it is not whole (`rename` should rule that out, disks do not)."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _build(images: tuple[Path, ...], shape: tuple[int, ...], file: Path, progress: Progress | None) -> None:
    partial = file.with_suffix(".partial")
    header, row = _header(shape), int(np.prod(shape[1:]))
    behind = partial.stat().st_size - len(header) if partial.exists() else 0
    done = max(0, behind) // row  # what a stopped call has decoded
    needed, free = (shape[0] - done) * row, shutil.disk_usage(file.parent).free
    if free < needed * 1.02:
        raise DataError(
            f"decoded images need {needed / 1e9:,.2f} GB in {file.parent}, {free / 1e9:,.2f} GB are free; "
            "make room, or set BENCHMARK_CACHE to another folder"
        )
    pool = ThreadPoolExecutor(os.cpu_count())
    damaged: list[str] = []
    try:
        # Written in order rather than through a writable map: there, a full disk kills the process.
        with partial.open("r+b" if done else "wb") as output:
            output.write(header)
            output.seek(done * row, os.SEEK_CUR)
            output.truncate()
            decoding = pool.map(lambda path: _decoded(path, shape[1]), images[done:])
            for number, image in enumerate(decoding, done + 1):
                if isinstance(image, DataError):
                    damaged.append(str(image))
                elif not damaged:  # after a gap rows would stand in the wrong places
                    output.write(image.data)
                if progress:
                    progress(number, len(images))
            if damaged:
                raise DataError(_several(damaged))
            output.flush()
            os.fsync(output.fileno())
        partial.replace(file)
    except Exception:  # not an interruption: what is decoded by then is for the next call
        partial.unlink(missing_ok=True)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _several(messages: list[str], shown: int = 3) -> str:
    """All damaged images at once, so that they need not be found one run after the other."""
    rest = f"; and {len(messages) - shown} more" if len(messages) > shown else ""
    return "; ".join(messages[:shown]) + rest


def _decoded(path: Path, size: int) -> np.ndarray | DataError:
    try:
        with Image.open(path) as image:
            image.draft(image.mode, (2 * size, 2 * size))
            return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # damaged files make decoders raise about anything
        return DataError(f"{path} cannot be decoded ({error})")


def _coloured(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 [n, h, w] grey to read-only uint8 [n, size, size, 3]."""
    if pixels.shape[1:] != (size, size):
        resized = (Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in pixels)
        pixels = np.stack([np.asarray(image) for image in resized])
    result = np.repeat(pixels[..., None], 3, axis=3)
    result.flags.writeable = False
    return result
