"""Images decoded once: from files to one uint8 array on disk that is mapped into memory."""

from __future__ import annotations

import collections
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..cores import cores
from ..errors import DataError
from . import cards
from .contents import digests
from .decode import RULE, several, square
from .splits import Split
from .stored import Filling, stored
from .vectors import VectorRows

SAFE = 1024  # images that are on the disk before more are written
AHEAD = 4  # decoded images a core that wait to be written

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, of all
Say = Callable[[str], None]


def cache_dir(data_dir: Path) -> Path:
    """Where decoded images go: $BENCHMARK_CACHE; below the data; below the default folder if those are read-only."""
    if given := os.environ.get("BENCHMARK_CACHE"):
        return Path(given).expanduser()
    # The mode as well: root may write everywhere, but a folder that is marked read-only is left alone.
    writable = data_dir.is_dir() and os.access(data_dir, os.W_OK) and data_dir.stat().st_mode & 0o222
    return (data_dir if writable else cards.default_data_dir()) / ".cache"


def decoded(
    split: Split, size: int, folder: Path, progress: Progress | None = None, say: Say | None = None
) -> np.ndarray:
    """All images of a split as uint8 [n, size, size, 3], read-only.

    Files are decoded by the first call and mapped into memory by later ones; what a stopped call has decoded is kept. Rendered
    images stay in memory.

    Args:
        size: pixels a side; the aspect ratio is not kept, as published.
        folder: for the decoded file, `n * size * size * 3` bytes.
        say: told in one line, when files are decoded, how many of them hold more than the one image that is taken.

    Raises:
        DataError: an image cannot be decoded, or there is no room or no permission in `folder`. Nothing is left behind then.
    """
    assert not isinstance(split.images, VectorRows), "vectors are not decoded"
    if isinstance(split.images, np.ndarray):
        return _coloured(split.images, size)
    file = folder / f"{_key(split.images, size, folder)}-{size}.npy"
    fill = functools.partial(_decode, split.images, size, progress, say)
    return stored(
        file,
        (len(split), size, size, 3),
        "|u1",
        fill,
        every=SAFE,
        what="decoded images",
        advice="or set BENCHMARK_CACHE to another folder",
    )


def _key(images: tuple[Path, ...], size: int, folder: Path) -> str:
    contents = "\n".join(digests(images, folder))
    return hashlib.sha256(f"{RULE}\n{size}\n{contents}".encode()).hexdigest()[:20]


def _decode(images: tuple[Path, ...], size: int, progress: Progress | None, say: Say | None, file: Filling) -> None:
    """Append all images that the file does not have yet."""
    damaged: list[str] = []
    animated = 0
    left = images[file.done :]
    work = _ahead(lambda path: (_decoded(path, size), say is not None and several(path)), left)
    for number, (image, more) in enumerate(work, file.done + 1):
        animated += more
        if isinstance(image, DataError):
            damaged.append(str(image))
        elif not damaged:  # after a gap rows would stand in the wrong places
            file.append(image[None])
        if progress:
            progress(number, len(images))
    if damaged:
        raise DataError(_several(damaged))
    if say and animated:
        say(f"{animated} {'file has' if animated == 1 else 'files have'} several frames or pages; the first is taken")


def _ahead(function: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """`map` by a thread a core, a few results ahead of what takes them: a slow disk must not fill the memory."""
    threads = cores()
    pool = ThreadPoolExecutor(threads)
    coming: collections.deque[Future[T]] = collections.deque()
    try:
        for path in paths:
            coming.append(pool.submit(function, path))
            if len(coming) > AHEAD * threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _several(messages: list[str], shown: int = 3) -> str:
    """All damaged images at once, so that they need not be found one run after the other."""
    rest = f"; and {len(messages) - shown} more" if len(messages) > shown else ""
    return "; ".join(messages[:shown]) + rest


def _decoded(path: Path, size: int) -> np.ndarray | DataError:
    try:
        return square(path, size)
    except DataError as error:
        return error


def _coloured(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 [n, h, w] grey to read-only uint8 [n, size, size, 3]."""
    if pixels.shape[1:] != (size, size):
        resized = (Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in pixels)
        pixels = np.stack([np.asarray(image) for image in resized])
    result = np.repeat(pixels[..., None], 3, axis=3)
    result.flags.writeable = False
    return result
