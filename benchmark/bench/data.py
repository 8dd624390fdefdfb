"""What images cost: a training batch from the decoded cache beside a network's step, and decoding files for the first time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..data.batches import Batches
from ..data.cache import decoded
from ..data.splits import Split
from ..machine import keep_memory
from ..networks.encoder import trunk
from ..spec import Spec
from ..training.loop import autocast, seeded
from .measure import Times, apart, repeated


class Sizes(NamedTuple):
    batch: int = 128
    size: int = 256  # pixels a side of a decoded image
    crop: int = 224
    images: int = 1024
    backbone: str = "resnet18"
    files: tuple[tuple[int, int], ...] = ((400, 640), (100, 1600))  # how many, how wide; three quarters of that high
    steps: int = 5


SIZES = Sizes()


def batch(sizes: Sizes) -> dict[str, Times]:
    """Drawing a batch from the memory-mapped cache, normalising it, and the step that a network makes of it."""
    keep_memory()
    spec = Spec(
        dataset="cars", method="triplet", batch=sizes.batch, image=sizes.crop, resize=sizes.size, precision="bf16"
    )
    with seeded(0):
        network = trunk(sizes.backbone, pretrained=False).train()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "decoded.npy"
        np.save(file, np.random.default_rng(0).integers(0, 256, (sizes.images, *(sizes.size,) * 2, 3), np.uint8))
        draw = Batches(np.load(file, mmap_mode="r"), np.arange(sizes.images) // 4, spec.stream)
        numbers = iter(range(sizes.steps + 1))
        drawing = repeated(lambda: draw(next(numbers)), sizes.steps)
        images = torch.from_numpy(draw(0)[0])

    def train() -> None:
        network.zero_grad(set_to_none=True)
        with autocast(spec, images.device):
            pooled, _ = network(images)
        pooled.float().sum().backward()

    return {
        "drawing": drawing,
        "normalising": repeated(lambda: network.normalised(images), sizes.steps),
        "training": repeated(train, sizes.steps),
    }


def preparation(sizes: Sizes, count: int, width: int) -> dict[str, Times]:
    """Decoding files on all cores: by the suite, and by others. The limit is to decode, at reduced size where that is enough, and do
    nothing else."""
    import torchvision.io
    from torchvision.transforms.v2 import functional as transforms

    def alone(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("RGB", (2 * sizes.size,) * 2)
            image.load()

    def pillow(path: Path) -> None:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB").resize((sizes.size,) * 2, Image.Resampling.BILINEAR))

    def torchvision_io(path: Path) -> None:
        pixels = torchvision.io.decode_jpeg(torchvision.io.read_file(str(path)))
        transforms.resize(pixels, [sizes.size, sizes.size], antialias=True)

    def on_all_cores(function: Callable[[Path], None]) -> Callable[[], object]:
        def work() -> list[None]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(function, paths))

        return work

    with TemporaryDirectory() as scratch:
        paths = files(Path(scratch), count, width)
        split = Split(tuple(paths), np.arange(len(paths)), ())

        def ours() -> None:
            with TemporaryDirectory() as cache:
                decoded(split, sizes.size, Path(cache))

        ways = {
            "decoding alone, Pillow": on_all_cores(alone),
            "the suite's cache, written to disk": ours,
            "Pillow, decoded whole and resized": on_all_cores(pillow),
            "torchvision.io, decoded whole and resized": on_all_cores(torchvision_io),
        }
        return {name: repeated(way, sizes.steps) for name, way in ways.items()}


def files(folder: Path, count: int, width: int) -> list[Path]:
    """JPEG files of smooth pictures with some noise, which take as many bits as photographs do."""
    random = np.random.default_rng(0)
    height = 3 * width // 4
    paths = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (height // 40, width // 40, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
        picture = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(picture).save(paths[-1], quality=90)
    return paths


def table() -> list[dict[str, Any]]:
    """Seconds of a batch and its share of a training step; images a second of each way to prepare files."""
    parts = apart(batch, SIZES)
    step = parts["training"].typical
    names = {
        "drawing": f"batch of {SIZES.batch} from the cache: crops of {SIZES.crop} of {SIZES.size} px, mirrored at random",
        "normalising": "the same, normalised",
        "training": f"forward and backward of {SIZES.backbone}, bf16",
    }
    found: list[dict[str, Any]] = [
        {
            "what": name,
            "seconds": parts[key].typical,
            "spread": parts[key].spread,
            "share of the step": parts[key].typical / step,
        }
        for key, name in names.items()
    ]
    for count, width in SIZES.files:
        ways = apart(preparation, SIZES, count, width)
        fastest = next(iter(ways.values())).typical
        found += [
            {
                "what": f"JPEG, {width} x {3 * width // 4} to {SIZES.size} px: {name}",
                "seconds": one.typical,
                "spread": one.spread,
                "images/s": count / one.typical,
                "times decoding alone": one.typical / fastest,
            }
            for name, one in ways.items()
        ]
    return found
