"""Decoded images, and features that a frozen trunk has of seeded crops of them: computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from joblib import cpu_count as cores
from PIL import Image

from ..errors import DamagedImages, DataError
from ..spec import Fit, Stream, derive
from . import cards
from .batches import centre_crop, crop, places
from .contents import digests
from .decode import rule, square
from .splits import Split
from .stored import RowFile
from .vectors import VectorRows

# Part of the key: whoever changes how a view is made changes this, and no old file is taken for a new one.
VIEWS = "float16; view 0 is the centre crop, view v > 0 a crop and flip seeded by v; rows image by image"
# Part of all keys: files of earlier versions, with sums behind the rows, have other names.
FORM = "sums beside"

SAFE = 1024  # images that are on the disk before more are written
AHEAD = 32  # images a core that are decoded before they are written
BLOCK = 128  # images a forward pass

Progress = Callable[[int, int], None]  # done, of all
Extract = Callable[[np.ndarray], np.ndarray]  # uint8 [n, s, s, 3] -> float32 [n, pooled]


def cache_dir(data_dir: Path) -> Path:
    """Where decoded images go: $BENCHMARK_CACHE; below the data, whose folder need not be there yet; below the default folder if those are
    read-only."""
    if given := os.environ.get("BENCHMARK_CACHE"):
        return Path(given).expanduser()
    # The mode as well: root may write everywhere, but a folder that is marked read-only is left alone.
    there = next(filter(Path.exists, (data_dir, *data_dir.absolute().parents)))
    writable = there.is_dir() and os.access(there, os.W_OK) and there.stat().st_mode & 0o222
    return (data_dir if writable else cards.default_data_dir()) / ".cache"


def decoded(split: Split, size: int, folder: Path, progress: Progress | None = None, fit: Fit = "squash") -> np.ndarray:
    """All images of a split as uint8 [n, size, size, 3], read-only.

    Files are decoded by the first call and mapped into memory by later ones; what a stopped call has decoded is kept. Rendered
    images stay in memory.

    Args:
        size: pixels a side.
        folder: for the decoded file, `n * size * size * 3` bytes.
        fit: how an image becomes square, as for `decode.square`; what is rendered is so already.

    Raises:
        DataError: an image cannot be decoded, or there is no room or no permission in `folder`. Nothing is left behind then.
    """
    images = split.images
    assert not isinstance(images, VectorRows), "vectors are not decoded"
    if isinstance(images, np.ndarray):
        return _coloured(images, size)

    def compute(rows: RowFile) -> None:
        for image in squares(images, rows.done, size, fit, progress):
            rows.append(image[None])

    file = folder / f"{_key(rule(fit), size, *digests(images, folder))}-{size}.npy"
    words = {"what": "decoded images", "advice": "or set BENCHMARK_CACHE to another folder"}
    return RowFile(file, (len(split), size, size, 3), "|u1", every=SAFE, **words).read(compute)


def squares(
    paths: Sequence[Path], done: int, size: int, fit: Fit, progress: Progress | None = None
) -> Iterator[np.ndarray]:
    """Images uint8 [size, size, 3] from number `done` on, in order, read ahead by a thread a core. Behind a damaged one comes no other,
    as it would stand in the wrong place; the rest is read to tell what else is damaged.

    Raises:
        DamagedImages: at the end, where some cannot be read.
    """
    damaged: list[str] = []

    def read(path: Path) -> np.ndarray | DataError:
        try:
            return square(path, size, fit)
        except DataError as error:
            return error

    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        # Not all at once: where what takes them is slow, they must not fill the memory.
        for start in range(done, len(paths), AHEAD * threads):
            images = pool.map(read, paths[start : start + AHEAD * threads])
            for number, image in enumerate(images, start + 1):
                if isinstance(image, DataError):
                    damaged.append(str(image))
                elif not damaged:
                    yield image
                if progress:
                    progress(number, len(paths))
    if damaged:
        raise DamagedImages(damaged, len(paths))


def features(
    read: Callable[[], np.ndarray],
    rows: int,
    views: int,
    width: int,
    stream: Stream,
    extract: Extract,
    key: str,
    folder: Path,
    progress: Progress | None = None,
) -> np.ndarray:
    """Pooled features float16 [n, views, width], read-only: view 0 of each image, or its views 1 ... `views` where that is more than 1.

    Computed by the first call, block by block, and mapped into memory by later ones; what a stopped call has computed is kept.

    Args:
        read: gives the decoded images, uint8 [n, size, size, 3], if features have to be computed.
        rows: how many images there are.
        views: 1 is the centre crop, as in evaluation.
        width: of the trunk's pooled features.
        stream: `resize` and `fit` of the images; `image` and `flip` of the crops.
        extract: the trunk.
        key: what the trunk and the images are known by: equal keys, equal features.
        folder: for the file, 2 * n * views * width bytes.

    Raises:
        DataError: features that float16 cannot hold, or no room or no permission in `folder`.
    """
    shape = (rows, views, width)
    name = _key(rule(stream.fit), VIEWS, key, shape, f"{stream.resize} {stream.image} {stream.flip and views > 1}")

    def compute(file: RowFile) -> None:
        images = read()
        for start in range(file.done, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            numbers = range(1, views + 1) if views > 1 else (0,)
            block = np.stack([extract(view(images, number, stream, start, stop)) for number in numbers], axis=1)
            with np.errstate(over="ignore"):
                half = block.astype("<f2")
            if not np.isfinite(half).all():
                raise DataError(f"features of images {start} to {stop - 1} are not finite, or too large for float16")
            file.append(half)
            if progress:
                progress(stop, rows)

    words = {
        "what": "features",
        "advice": "set BENCHMARK_CACHE to another folder, or ask for fewer with --set views=...",
    }
    return RowFile(folder / f"{name}-{views}x{width}.npy", shape, "<f2", every=BLOCK, **words).read(compute)


def view(images: np.ndarray, number: int, stream: Stream, start: int, stop: int) -> np.ndarray:
    """View `number` of images[start:stop] as uint8 [stop - start, image, image, 3]: the same whatever block it is computed in."""
    if number == 0:
        return np.array(centre_crop(images[start:stop], stream.image))
    corners, flips = places(np.random.default_rng(derive(0, "view", number)), len(images), images.shape[1], stream)
    return crop(images, range(start, stop), corners[start:stop], flips[start:stop], stream.image)


def _key(*identity: object) -> str:
    return hashlib.sha256("\n".join(map(str, (FORM, *identity))).encode()).hexdigest()[:20]


def _coloured(pixels: np.ndarray, size: int) -> np.ndarray:
    """Make grey uint8 [n, h, w] read-only uint8 [n, size, size, 3]."""
    if pixels.shape[1:] != (size, size):
        resized = (Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in pixels)
        pixels = np.stack([np.asarray(image) for image in resized])
    result = np.repeat(pixels[..., None], 3, axis=3)
    result.flags.writeable = False
    return result
