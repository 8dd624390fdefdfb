"""Features of a frozen trunk, computed once: seeded crops of each image through the trunk, as one float16 array on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..spec import Stream, derive
from .batches import centre_crop, cut, places
from .cache import Progress
from .decode import RULE as DECODED
from .stored import Filling, stored

# Part of the key: whoever changes how a view is made changes this, and no old file is taken for a new one.
RULE = "float16; view 0 is the centre crop, view v > 0 a crop and flip seeded by v; rows image by image"

BLOCK = 128  # images a forward pass
Extract = Callable[[np.ndarray], np.ndarray]  # uint8 [n, s, s, 3] -> float32 [n, pooled]


def features(
    images: np.ndarray,
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
        images: decoded, uint8 [n, size, size, 3].
        views: 1 is the centre crop, as in evaluation.
        width: of the trunk's pooled features.
        stream: `image` and `flip` of the crops.
        extract: the trunk.
        key: what the trunk and the images are known by: equal keys, equal features.
        folder: for the file, 2 * n * views * width bytes.

    Raises:
        DataError: features that float16 cannot hold, or no room or no permission in `folder`.
    """
    shape = (len(images), views, width)
    identity = f"{DECODED}\n{RULE}\n{key}\n{shape}\n{images.shape[1]} {stream.image} {stream.flip and views > 1}"
    file = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}-{views}x{width}.npy"

    def fill(rows: Filling) -> None:
        for start in range(rows.done, len(images), BLOCK):
            stop = min(start + BLOCK, len(images))
            numbers = range(1, views + 1) if views > 1 else (0,)
            block = np.stack([extract(view(images, number, stream, start, stop)) for number in numbers], axis=1)
            with np.errstate(over="ignore"):
                half = block.astype("<f2")
            if not np.isfinite(half).all():
                raise DataError(f"features of images {start} to {stop - 1} are not finite, or too large for float16")
            rows.append(half)
            if progress:
                progress(stop, len(images))

    return stored(
        file,
        shape,
        "<f2",
        fill,
        every=BLOCK,
        what="features",
        advice="set BENCHMARK_CACHE to another folder, or ask for fewer with --set views=...",
    )


def view(images: np.ndarray, number: int, stream: Stream, start: int, stop: int) -> np.ndarray:
    """View `number` of images[start:stop] as uint8 [stop - start, image, image, 3]: the same whatever block it is computed in."""
    if number == 0:
        return np.array(centre_crop(images[start:stop], stream.image))
    corners, flips = places(np.random.default_rng(derive(0, "view", number)), len(images), images.shape[1], stream)
    return cut(images, range(start, stop), corners[start:stop], flips[start:stop], stream.image)
