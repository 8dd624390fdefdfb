"""Pixels of image files, against how they were made and against OpenCV."""

import base64
import functools
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, features
from rich.console import Console

from benchmark.data.cache import decoded
from benchmark.data.cards import Card
from benchmark.data.decode import revision, rgb, square
from benchmark.data.layouts import load_images
from benchmark.data.splits import Split
from benchmark.errors import DataError
from benchmark.gallery.page import thumbnail
from benchmark.spec import Fit
from benchmark.training.progress import Reporter

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
GRID = np.stack(np.meshgrid(*[np.linspace(0, 255, n).astype(np.uint8) for n in (6, 9)], indexing="ij"), -1)
COLOURS = np.concatenate([GRID, 255 - GRID[..., :1] // 2], -1)  # [6, 9, 3]: no symmetry, no side of equal length
GREY = np.arange(54, dtype=np.uint8).reshape(6, 9) * 4
WIDE = np.random.default_rng(0).integers(0, 65536, (6, 9, 4)).astype(np.uint16)
ALPHA = np.random.default_rng(1).integers(0, 256, (6, 9, 1)).astype(np.uint8)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def eight(values: np.ndarray) -> np.ndarray:
    return np.floor(values / 257 + 0.5)


UPPER = WIDE // 256
# Files of which the upper halves of 16-bit colours are taken.
HALVED = {
    f"16-bit{rest}"
    for rest in (
        ".png",
        "-alpha.png",
        "-grey-alpha.png",
        ".tif",
        "-alpha.tif",
        "-plain.tif",
        "-lzw.tif",
        "-deflate.tif",
        "-opencv.png",
    )
}
HALVED |= {"transparent-16-bit.png", *(f"turned-16-bit-{turn}.tif" for turn in (5, 6, 8))}


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    part = alpha / 255
    return colours * part + 255 * (1 - part)


def stored(seen: np.ndarray, orientation: int) -> np.ndarray:
    """How an image lies in a file of that orientation, by the table in EXIF: where the 0th row and the 0th column are seen."""
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    if "bottom" in (row, column):
        seen = seen[::-1]
    if "right" in (row, column):
        seen = seen[:, ::-1]
    return seen.swapaxes(0, 1) if row in ("left", "right") else seen


def save(pixels: np.ndarray, mode: str | None = None, **options: object) -> Callable[[Path], None]:
    image = Image.fromarray(np.ascontiguousarray(pixels)) if mode is None else None
    if mode is not None:
        image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    assert image is not None
    return lambda path: image.save(path, **options)  # type: ignore[arg-type]


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block


def png(pixels: np.ndarray, kind: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by the book; pixels of less than 8 bits are given packed.

    Args:
        kind: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
    """
    height, width = pixels.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    if depth < 8:
        bits = np.unpackbits(pixels[..., None].astype(np.uint8), axis=2)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(height, -1)]
    else:
        rows = [row.astype(f">u{depth // 8}").tobytes() for row in pixels]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    )


def tiff(
    pixels: np.ndarray, photometric: int = 1, extra: int | None = None, turn: int = 1, *, planes: bool = False
) -> bytes:
    """An uncompressed TIFF of any type of numbers.

    Args:
        photometric: 0 zero is white, 1 zero is black, 2 RGB.
        extra: of the last channel: 1 associated alpha, 2 alpha.
        turn: orientation.
        planes: a channel after the other.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    data = (pixels.transpose(2, 0, 1) if planes else pixels).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    bits = pixels.dtype.itemsize * 8
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 274: [turn]}
    strips = channels if planes else 1
    tags |= {273: [8 + n * len(data) // strips for n in range(strips)], 277: [channels], 278: [height]}
    tags |= {279: [len(data) // strips] * strips, 284: [2 if planes else 1]}
    tags |= {338: [extra]} if extra else {}
    tags |= {339: [kind] * channels}
    place = 8 + len(data) + len(data) % 2
    behind = place + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            entries += struct.pack("<HHII", tag, 3, len(values), behind + len(more))
            more += packed
        else:
            entries += struct.pack("<HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    return (
        b"II*\0"
        + struct.pack("<I", place)
        + data.ljust(place - 8, b"\0")
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
        + more
    )


# Colours under D50, as profiles have them: columns are red, green and blue.
SRGB = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
ADOBE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
D50 = np.array([0.9642, 1.0, 0.8249])
GAMMA = 563 / 256


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78)} | tags
    tags |= {b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(D50)}
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(D50)
    return head.ljust(128, b"\0") + table + data


def fixed(values: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + fixed(values)


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def matrix_profile(colours: np.ndarray, tone: bytes | None = None) -> bytes:
    columns = {name + b"XYZ": xyz(column) for name, column in zip((b"r", b"g", b"b"), colours.T, strict=True)}
    return profile(b"RGB ", columns | {name + b"TRC": tone or curve(GAMMA) for name in (b"r", b"g", b"b")})


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve(gamma)})


def cmyk_profile(inks: np.ndarray) -> bytes:
    """Lab colours [2, 2, 2, 2, 3] of no or all of each ink, linear between."""
    values = np.rint(inks * [255 / 100, 1, 1] + [0, 128, 128]).astype(np.uint8)
    straight = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(np.eye(3).ravel())
    lut += straight * 4 + values.tobytes() + straight * 3
    return profile(b"CMYK", {b"A2B0": lut}, b"prtr", b"Lab ")


def encoded(light: np.ndarray) -> np.ndarray:
    """Light 0 to 1 as sRGB 0 to 255."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def light_of(values: np.ndarray) -> np.ndarray:
    """sRGB 0 to 255 as light 0 to 1."""
    part = values / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def from_matrix(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return encoded((pixels / 255) ** GAMMA @ (np.linalg.inv(SRGB) @ colours).T)


def from_lab(lab: np.ndarray) -> np.ndarray:
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    return encoded(np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * D50 @ np.linalg.inv(SRGB).T)


# Muted inks, so that all colours are within sRGB; all inks are black, so that there is no black point to move.
INKS = np.zeros((2, 2, 2, 2, 3))
INKS[:, :, :, 0] = [100, 0, 0] - np.indices((2, 2, 2)).transpose(1, 2, 3, 0) @ [
    [20, 20, 10],
    [25, -20, 5],
    [10, 2, -20],
]
CORNERS = np.indices((2, 2, 2, 2)).reshape(4, -1).T.reshape(2, 8, 4).astype(np.uint8)


def by_opencv(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


class Made(NamedTuple):
    name: str  # its suffix is that of the file
    write: Callable[[Path], None]
    seen: np.ndarray | Callable[[Path], np.ndarray]  # [h, w, 3]
    off: float = 0.5001  # what colours may differ by; by default the rounding of a number


def ycck(path: Path) -> None:
    """Pillow writes CMYK with Adobe's mark of no transform; here the three inks are taken to be YCbCr."""
    save(np.concatenate([COLOURS, ALPHA // 2], -1), "CMYK", quality=100, subsampling=0)(path)
    data = path.read_bytes()
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    path.write_bytes(data[:place] + b"\2" + data[place + 1 :])


def palette(path: Path, **options: object) -> None:
    image = Image.fromarray(GREY // 64).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 90, 200])
    image.save(path, **options)  # type: ignore[arg-type]


def opencv(pixels: np.ndarray, options: list[int], path: Path) -> None:
    assert cv2.imwrite(str(path), pixels, options)


INDEX = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 90, 200]])[GREY // 64]


def frames(path: Path, **options: object) -> None:
    first, *others = (Image.fromarray(COLOURS if n == 0 else 255 - COLOURS // n) for n in range(3))
    first.save(path, save_all=True, append_images=others, **options)  # type: ignore[arg-type]


def two_colours(path: Path) -> None:
    Image.new("RGB", (9, 6), "red").save(path, save_all=True, append_images=[Image.new("RGB", (9, 6), "blue")])


def table() -> Iterator[Made]:
    for turn in range(1, 9):
        lies = stored(COLOURS, turn)
        yield Made(f"orientation-{turn}.png", save(lies, exif=exif(turn)), COLOURS)
        yield Made(f"orientation-{turn}.tif", save(lies, tiffinfo={274: turn}), COLOURS)
        yield Made(f"orientation-{turn}.webp", save(lies, exif=exif(turn), lossless=True), COLOURS)
        yield Made(f"orientation-{turn}.jpg", save(lies, exif=exif(turn), quality=100, subsampling=0), COLOURS, 3)
        yield Made(f"as-opencv-{turn}.jpg", save(lies, exif=exif(turn), quality=90), by_opencv, 0)
        if features.check("avif"):
            options = {"quality": 100, "subsampling": "4:4:4"}
            yield Made(f"orientation-{turn}.avif", save(lies, exif=exif(turn), **options), COLOURS, 3)
    yield Made("orientation-9.jpg", save(COLOURS, exif=exif(9), quality=100, subsampling=0), COLOURS, 3)
    yield Made("broken-exif.jpg", save(COLOURS, exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=100), by_opencv, 0)

    yield Made("plain.png", save(COLOURS), by_opencv, 0)
    yield Made("plain.bmp", save(COLOURS), by_opencv, 0)
    yield Made("plain.ppm", save(COLOURS), by_opencv, 0)
    yield Made("plain.tif", save(COLOURS, compression="tiff_lzw"), by_opencv, 0)
    yield Made("plain.webp", save(COLOURS, quality=80), by_opencv, 1)
    yield Made("plain.jp2", save(COLOURS), COLOURS, 0)
    yield Made("grey.png", save(GREY), three(GREY))
    yield Made("grey.jpg", save(GREY, quality=90), by_opencv, 0)
    yield Made("progressive.jpg", save(COLOURS, progressive=True, quality=70), by_opencv, 0)
    yield Made("palette.png", palette, INDEX)
    yield Made("palette.gif", palette, INDEX)
    yield Made("1-bit.png", lambda path: Image.fromarray(GREY > 99).save(path), three((GREY > 99) * 255))
    yield Made("1-bit.tif", lambda path: Image.fromarray(GREY > 99).save(path), three((GREY > 99) * 255))
    yield Made("1-bit.pbm", lambda path: Image.fromarray(GREY > 99).save(path), three((GREY > 99) * 255))
    yield Made("2-bit.png", content(png(GREY // 64, 0, 2)), three(GREY // 64 * 85))
    yield Made("ycbcr.tif", lambda path: Image.fromarray(COLOURS).convert("YCbCr").save(path), COLOURS, 3)
    lab = np.stack([GREY // 2 + 60, GREY // 8 - 16, 16 - GREY // 8], -1)
    light = lab[..., :1] * (100 / 255)
    seen = from_lab(np.concatenate([light, lab[..., 1:].astype(np.int8)], -1))
    yield Made("lab.tif", save(lab.astype(np.uint8), "LAB"), seen, 2)
    yield Made("lab-profile.tif", save(lab.astype(np.uint8), "LAB", icc_profile=matrix_profile(P3)), seen, 2)
    yield Made("one-pixel.png", save(COLOURS[3:4, 4:5]), COLOURS[3:4, 4:5])
    yield Made("one-pixel.gif", lambda path: Image.new("P", (1, 1), 0).save(path), np.zeros((1, 1, 3)))
    yield Made("one-pixel.jpg", save(COLOURS[3:4, 4:5]), by_opencv, 0)

    deep = WIDE[..., 0]
    yield Made("16-bit-grey.png", content(png(deep, 0, 16)), three(eight(deep)))
    yield Made(
        "16-bit-grey-alpha.png", content(png(WIDE[..., :2], 4, 16)), on_white(three(UPPER[..., 0]), UPPER[..., 1:2]), 1
    )
    yield Made("16-bit.png", content(png(WIDE[..., :3], 2, 16)), UPPER[..., :3])
    yield Made("16-bit-alpha.png", content(png(WIDE, 6, 16)), on_white(UPPER[..., :3], UPPER[..., 3:]), 1)
    yield Made("16-bit-grey.pgm", content(b"P5 9 6 65535\n" + deep.astype(">u2").tobytes()), three(eight(deep)))
    yield Made("16-bit.ppm", content(b"P6 9 6 65535\n" + WIDE[..., :3].astype(">u2").tobytes()), eight(WIDE[..., :3]))
    yield Made(
        "10-bit.pgm", content(b"P5 9 6 1023\n" + (deep // 64).astype(">u2").tobytes()), three(deep // 64 / 1023 * 255)
    )
    yield Made("16-bit-grey.tif", content(tiff(deep)), three(eight(deep)))
    yield Made("16-bit-zero-is-white.tif", content(tiff(deep, 0)), three(255 - eight(deep)))
    yield Made("8-bit-zero-is-white.tif", content(tiff(GREY, 0)), three(255 - GREY))
    yield Made("16-bit.tif", content(tiff(WIDE[..., :3], 2)), UPPER[..., :3])
    yield Made("16-bit-opencv.tif", lambda path: cv2.imwrite(str(path), deep) and None, three(eight(deep)))
    yield Made("16-bit-upright.tif", save(stored(deep, 6), tiffinfo={274: 6}), three(eight(deep)))
    yield Made("16-bit.jp2", save(deep), three(eight(deep)))
    yield Made("float.tif", content(tiff((deep / 65535).astype(np.float32))), three(deep / 257), 0.51)
    yield Made(
        "float-zero-is-white.tif", content(tiff((deep / 65535).astype(np.float32), 0)), three(255 - deep / 257), 0.51
    )

    with_alpha = np.concatenate([COLOURS, ALPHA], -1)
    yield Made("rgba.png", save(with_alpha), on_white(COLOURS, ALPHA), 1)
    yield Made("rgba.tif", content(tiff(with_alpha, 2, 2)), on_white(COLOURS, ALPHA), 1)
    yield Made("rgba.webp", save(with_alpha, lossless=True, exact=True), on_white(COLOURS, ALPHA), 1)
    yield Made("grey-alpha.png", save(np.stack([GREY, ALPHA[..., 0]], -1), "LA"), on_white(three(GREY), ALPHA), 1)
    yield Made("grey-alpha.tif", save(np.stack([GREY, ALPHA[..., 0]], -1), "LA"), on_white(three(GREY), ALPHA), 1)
    associated = np.concatenate([np.rint(COLOURS * (ALPHA / 255)).astype(np.uint8), ALPHA], -1)
    yield Made("associated-alpha.tif", content(tiff(associated, 2, 1)), on_white(COLOURS, ALPHA), 2)
    yield Made("planes.tif", content(tiff(COLOURS, 2, planes=True)), COLOURS)
    yield Made("16-bit-alpha.tif", content(tiff(WIDE, 2, 2)), on_white(UPPER[..., :3], UPPER[..., 3:]), 1)
    for turn in (5, 6, 8):
        yield Made(f"turned-grey-{turn}.tif", content(tiff(stored(GREY, turn), turn=turn)), three(GREY))
        yield Made(
            f"turned-rgba-{turn}.tif", content(tiff(stored(with_alpha, turn), 2, 2, turn)), on_white(COLOURS, ALPHA), 1
        )
        yield Made(
            f"turned-16-bit-{turn}.tif", content(tiff(stored(WIDE[..., :3], turn), 2, None, turn)), UPPER[..., :3]
        )
    packed_16 = np.ascontiguousarray(WIDE[..., 2::-1])
    for name, code in (("lzw", 5), ("deflate", 8), ("plain", 1)):
        options = [cv2.IMWRITE_TIFF_COMPRESSION, code]
        write = functools.partial(opencv, packed_16, options)
        yield Made(f"16-bit-{name}.tif", write, UPPER[..., :3])
    yield Made("16-bit-opencv.png", functools.partial(opencv, packed_16, []), UPPER[..., :3])
    some = np.array([255, 0, 100, 30])[GREY // 64][..., None]
    yield Made(
        "palette-alpha.png", lambda path: palette(path, transparency=bytes([255, 0, 100, 30])), on_white(INDEX, some), 1
    )
    none = (GREY // 64 != 1)[..., None] * 255
    yield Made("palette-one.png", lambda path: palette(path, transparency=1), on_white(INDEX, none))
    yield Made("palette-one.gif", lambda path: palette(path, transparency=1), on_white(INDEX, none))
    yield Made(
        "palette-one.webp", save(with_alpha[:2, :3], lossless=True, exact=True), on_white(COLOURS, ALPHA)[:2, :3], 1
    )
    key = struct.pack(">3H", *COLOURS[2, 3])
    unlike = (COLOURS[2, 3] != COLOURS).any(-1, keepdims=True) * 255
    yield Made("transparent-colour.png", content(png(COLOURS, 2, 8, (b"tRNS", key))), on_white(COLOURS, unlike))
    unlike = (GREY != 40)[..., None] * 255
    yield Made("transparent-grey.png", content(png(GREY, 0, 8, (b"tRNS", b"\0\x28"))), on_white(three(GREY), unlike))
    unlike = (GREY // 64 != 2)[..., None] * 255
    yield Made(
        "transparent-2-bit.png",
        content(png(GREY // 64, 0, 2, (b"tRNS", b"\0\2"))),
        on_white(three(GREY // 64 * 85), unlike),
    )
    bit = (GREY > 99).astype(np.uint8)
    yield Made("transparent-black.png", content(png(bit, 0, 1, (b"tRNS", b"\0\0"))), np.full((6, 9, 3), 255))
    # Only one of two greys that are the same in 8 bits; of colours, both.
    near = np.full((2, 3, 3), 0x1234, np.uint16)
    near[0, 0] += 1
    seen = np.full((2, 3, 3), 255)
    seen[0, 0] = 18
    yield Made("transparent-16-bit.png", content(png(near, 2, 16, (b"tRNS", b"\x12\x34" * 3))), np.full((2, 3, 3), 255))
    yield Made("transparent-16-bit-grey.png", content(png(near[..., 0], 0, 16, (b"tRNS", b"\x12\x34"))), seen)
    yield Made("turned-alpha.png", save(stored(with_alpha, 8), exif=exif(8)), on_white(COLOURS, ALPHA), 1)

    inks = np.concatenate([COLOURS, ALPHA], -1)
    seen = (255.0 - COLOURS) * (255.0 - ALPHA) / 255
    yield Made("cmyk.tif", save(inks, "CMYK"), seen, 1)
    yield Made("cmyk-adobe.jpg", save(inks, "CMYK", quality=100, subsampling=0), seen, 4)
    yield Made("cmyk-opencv.jpg", save(inks, "CMYK", quality=90), by_opencv, 2)
    yield Made("ycck-opencv.jpg", ycck, by_opencv, 2)

    soft = COLOURS // 2 + 64  # within sRGB, whatever the profile
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Made("profile-srgb.png", save(COLOURS, icc_profile=standard), COLOURS, 0)
    rough = matrix_profile(
        SRGB, b"curv" + bytes(4) + struct.pack(">I256H", 256, *np.rint(light_of(np.arange(256)) * 65535).astype(int))
    )
    yield Made("profile-srgb-rough.png", save(COLOURS, icc_profile=rough), COLOURS, 0)
    values = np.arange(256)
    for most in (-2, 1, 2, 3, -4):  # up to two levels are the rounding of a profile of sRGB, and change nothing
        moved = values + most * values * (255 - values) / 127.5**2  # the ends stay
        tone = b"curv" + bytes(4) + struct.pack(">I256H", 256, *np.rint(light_of(moved) * 65535).astype(int))
        seen, off = (COLOURS, 0.0) if abs(most) <= 2 else (moved[COLOURS], 1.0)
        yield Made(f"profile-off-by{most}.png", save(COLOURS, icc_profile=matrix_profile(SRGB, tone)), seen, off)
    yield Made("profile-srgb.jpg", save(COLOURS, icc_profile=standard), by_opencv, 0)
    yield Made("profile-srgb-grey.png", save(GREY, icc_profile=standard), three(GREY), 0)
    for name, colours in (("p3", P3), ("adobe", ADOBE)):
        icc = matrix_profile(colours)
        seen = from_matrix(soft, colours)
        assert np.abs(seen - soft).max() > 8
        for suffix in ("png", "tif", "webp"):
            options = {"lossless": True} if suffix == "webp" else {}
            yield Made(f"profile-{name}.{suffix}", save(soft, icc_profile=icc, **options), seen, 1)
        yield Made(f"profile-{name}.jpg", save(soft, icc_profile=icc, quality=100, subsampling=0), seen, 6)
        alpha = np.concatenate([soft, ALPHA], -1)
        yield Made(f"profile-{name}-alpha.png", save(alpha, icc_profile=icc), on_white(seen, ALPHA), 2)
    yield Made(
        "profile-turned.png",
        save(stored(soft, 5), icc_profile=matrix_profile(P3), exif=exif(5)),
        from_matrix(soft, P3),
        2,
    )
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 32)
    for gamma in (1.0, 1.5, 1.8, 563 / 256):
        icc, seen = grey_profile(gamma), three(encoded((ramp / 255) ** (round(gamma * 256) / 256)))
        for suffix in ("png", "tif"):
            yield Made(f"profile-grey-{gamma:.1f}.{suffix}", save(ramp, icc_profile=icc), seen, 0.51)
        alpha = np.tile(ALPHA[:2, :8].ravel(), 16).reshape(8, 32)
        with_alpha = save(np.stack([ramp, alpha], -1), "LA", icc_profile=icc)
        yield Made(f"profile-grey-alpha-{gamma:.1f}.png", with_alpha, on_white(seen, alpha[..., None]), 1.01)
    icc = grey_profile(1.5)
    yield Made("profile-grey.jpg", save(GREY, icc_profile=icc, quality=100), three(encoded((GREY / 255) ** 1.5)), 5)
    packed = zlib.compress(icc)
    wide = png(deep, 0, 16, (b"iCCP", b"made\0\0" + packed))
    yield Made("profile-16-bit.png", content(wide), three(encoded((deep / 65535) ** 1.5)), 2)
    yield Made(
        "profile-of-rgb-on-grey.png",
        save(GREY, icc_profile=matrix_profile(P3)),
        three(from_matrix(three(GREY), P3)[..., 0]),
        2,
    )
    yield Made("profile-of-grey-on-rgb.png", save(COLOURS, icc_profile=icc), COLOURS, 0)
    yield Made("profile-damaged.png", save(COLOURS, icc_profile=b"no profile"), COLOURS, 0)
    seen = from_lab(INKS[tuple(CORNERS.transpose(2, 0, 1))])
    yield Made("profile-cmyk.tif", save(CORNERS * 255, "CMYK", icc_profile=cmyk_profile(INKS)), seen, 3)

    yield Made("animated.webp", lambda path: frames(path, lossless=True), COLOURS, 0)
    yield Made("animated.png", frames, COLOURS, 0)
    yield Made("animated.gif", two_colours, np.broadcast_to([255, 0, 0], (6, 9, 3)), 0)
    yield Made("pages.tif", frames, COLOURS, 0)


@pytest.mark.parametrize("made", list(table()), ids=lambda made: made.name)
def test_pixels_are_those_a_viewer_shows(made: Made, tmp_path: Path) -> None:
    path = tmp_path / made.name
    made.write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        image = rgb(path)
    seen = made.seen(path) if callable(made.seen) else made.seen
    assert image.mode == "RGB" and np.asarray(image).shape == seen.shape
    assert np.abs(np.asarray(image) - seen.astype(float)).max() <= made.off
    assert ("-3" in revision(path.read_bytes())) == (made.name in HALVED)


def test_heic(tmp_path: Path) -> None:
    import pillow_heif as heif

    for turn in (1, 6):
        path = tmp_path / f"{turn}.heic"
        lies = np.kron(stored(COLOURS, turn), np.ones((8, 8, 1), np.uint8))
        heif.from_pillow(Image.fromarray(lies)).save(path, quality=-1, chroma=444, exif=exif(turn).tobytes())
        assert np.abs(np.asarray(rgb(path))[4::8, 4::8].astype(int) - COLOURS).max() <= 3


def test_heic_without_its_reader_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    Image.init()
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(DataError, match=rf"^{path} is HEIC: pip install pillow-heif.*") as raised:
        rgb(path)
    assert "\n" not in str(raised.value)


FLOATS = np.full((3, 4), 0.5, np.float32)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("range.tif", tiff(FLOATS * 300), "floats from 150 to 150; scale them"),
        ("negative.tif", tiff(FLOATS - 0.6), "floats from -0.1"),
        ("nan.tif", tiff(FLOATS * np.float32("nan")), "floats from nan"),
        ("infinite.tif", tiff(FLOATS * np.float32("inf")), "inf"),
        ("int8.tif", tiff(np.ones((3, 4), np.int8)), "signed integers"),
        ("int16.tif", tiff(np.ones((3, 4), np.int16)), "signed integers"),
        ("int32.tif", tiff(np.ones((3, 4), np.int32)), "signed integers"),
        ("uint32.tif", tiff(np.ones((3, 4), np.uint32)), "32-bit integers"),
        (
            "bomb.png",
            png(np.zeros((1, 1), np.uint8), 0, 8).replace(bytes([0, 0, 0, 1] * 2), b"\0\1\0\0" * 2),
            "exceeds limit",
        ),
        ("planes.tif", tiff(WIDE[..., :3], 2, planes=True), "separate planes"),
        ("double.tif", tiff(FLOATS.astype(np.float64)), "cannot be decoded"),
        ("colour-floats.tif", tiff(np.ones((3, 4, 3), np.float32), 2), "cannot be decoded"),
        ("text.jpg", b"no image", "cannot be decoded"),
        ("empty.png", b"", "cannot be decoded"),
    ],
)
def test_what_has_no_agreed_meaning_is_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    if name == "bomb.png":  # with the right sum
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as raised:
            rgb(path)
    assert str(raised.value).startswith(f"{path} ") and words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.gif", "a.bmp", "a.ppm", "a.jp2", "16-bit.png", "16-bit.pgm"]
)
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (40, 50)).astype(np.uint16)
    path = tmp_path / name
    image = Image.fromarray(noise if "16" in name else three((noise // 257).astype(np.uint8)))
    image.save(path, **({"format": "PPM"} if name.endswith("pgm") else {}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"{path} cannot be decoded"):
        rgb(path)


def test_extreme_shapes_become_squares(tmp_path: Path) -> None:
    for width, height in ((1, 1), (1, 3000), (3000, 1), (2, 700)):
        for suffix in ("png", "jpg"):
            path = tmp_path / f"{width}x{height}.{suffix}"
            Image.new("RGB", (width, height), (90, 120, 150)).save(path, quality=95)
            assert np.abs(square(path, 16).astype(int) - [90, 120, 150]).max() <= 2


def before(path: Path, size: int) -> np.ndarray:
    """Pixels as they were before files had orientations, profiles and transparency; published numbers are of these."""
    with Image.open(path) as image:
        image.draft(image.mode, (2 * size, 2 * size))
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64), (511, 350), (1030, 777)])
@pytest.mark.parametrize("grey", [False, True])
def test_plain_jpegs_keep_their_pixels(tmp_path: Path, shape: tuple[int, int], grey: bool) -> None:
    random = np.random.default_rng(shape[0])
    coarse = random.integers(0, 256, (9, 9) if grey else (9, 9, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
    for quality in (30, 75, 95):
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            path = tmp_path / f"{quality}{subsampling[2]}{subsampling[4]}.jpg"
            image.save(path, quality=quality, subsampling=subsampling, progressive=quality == 75)
            for size in (32, 112, 256):
                assert np.array_equal(square(path, size), before(path, size))


@pytest.mark.parametrize("folder", ["stanford_cars", "CUB_200_2011/images"])
def test_published_images_keep_their_pixels(folder: str) -> None:
    paths = sorted((SHARED / folder).rglob("*.jpg"))
    if not paths:
        pytest.skip(f"{folder} is not on this machine")
    for path in paths[:: len(paths) // 100]:
        for size in (32, 112, 256):
            assert np.array_equal(square(path, size), before(path, size)), path


def test_rows_labels_and_names_stay_together(tmp_path: Path) -> None:
    """Files of all kinds, of which each has a grey of its own, over classes and splits."""
    root, cache = tmp_path / "mixed", tmp_path / "cache"
    greys: dict[str, int] = {}
    kinds = [
        "png",
        "jpg",
        "tif",
        "webp",
        "gif",
        "bmp",
        "16.png",
        "16.tif",
        "16.pgm",
        "alpha.png",
        "turned.jpg",
        "pages.tif",
    ]
    for number in range(4):
        for place, kind in enumerate(kinds):
            path = root / f"class {number}" / f"{(place * 7) % len(kinds)}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            value = 20 + 4 * (number * len(kinds) + place)
            image = Image.new("L", (20, 30), value)
            if kind.startswith("16"):
                Image.fromarray(np.full((20, 30), value * 257, np.uint16)).save(path, "PPM" if "pgm" in kind else None)
            elif kind == "alpha.png":
                Image.new("LA", (20, 30), (0, 255 - value)).save(path)
            elif kind == "turned.jpg":
                image.save(path, exif=exif(6))
            elif kind == "pages.tif":
                image.save(path, save_all=True, append_images=[Image.new("L", (20, 30), 0)])
            else:
                image.convert("RGB").save(path)
            greys[str(path.relative_to(root))] = value
    card = Card.model_validate({"name": "own", "title": "own", "layout": "folder", "folder": str(root), "counts": {}})
    dataset = load_images(card, tmp_path)
    for split, classes in ((dataset.train, (0, 1)), (dataset.query, (2, 3))):
        rows = decoded(split, 8, cache)
        assert split.names == tuple(f"class {number}" for number in classes)
        assert len(rows) == len(split.labels) == 2 * len(kinds)
        for row, label, path in zip(rows, split.labels, split.images, strict=True):
            assert isinstance(path, Path) and path.parent.name == split.names[label]
            assert np.abs(row.astype(int) - greys[str(path.relative_to(root))]).max() <= 2, path


def test_thumbnails_show_what_networks_see(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    lies = stored(np.kron(COLOURS, np.ones((8, 8, 1), np.uint8)), 6)
    Image.fromarray(lies).save(path, exif=exif(6))
    data = thumbnail(Split((path,), np.zeros(1, np.int64), ("a",)), 0).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (72, 48)
        assert np.abs(np.asarray(image)[4::8, 4::8].astype(int) - COLOURS).mean() < 8


def test_images_become_square_as_they_are_told_to(tmp_path: Path) -> None:
    colours, white = COLOURS.astype(int), np.full((1, 9, 3), 255)
    Image.fromarray(COLOURS).save(tmp_path / "wide.png")
    Image.fromarray(COLOURS.transpose(1, 0, 2)).save(tmp_path / "high.png")
    # 6 x 9: of the three columns over, two are cut on the left; of the three rows lacking, one is above.
    expected = {"crop": colours[:, 2:8], "pad": np.concatenate([white, colours, white, white])}
    for fit, square_ in expected.items():
        wide = square(tmp_path / "wide.png", len(square_), fit)
        high = square(tmp_path / "high.png", len(square_), fit)
        assert wide.dtype == np.uint8 and np.array_equal(wide, square_)
        assert np.array_equal(high, wide.transpose(1, 0, 2))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_each_way_to_a_square_has_an_array_of_its_own(tmp_path: Path, fit: Fit) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(path)
    split = Split((path,), np.zeros(1, np.int64), ("a",))
    for other in ("squash", "crop", "pad"):
        decoded(split, 6, tmp_path / "cache", fit=other)
    assert np.array_equal(decoded(split, 6, tmp_path / "cache", fit=fit)[0], square(path, 6, fit))
    assert len(list((tmp_path / "cache").glob("*-6.npy"))) == 3


@pytest.mark.parametrize("terminal", [False, True])
def test_remarks_stay_on_the_screen(terminal: bool) -> None:
    output = io.StringIO()
    with Reporter(Console(file=output, force_terminal=terminal, width=60)) as reporter:
        reporter.preparing("decode", 1, 2)
        reporter.preparing("query images: 2 [or] 3 of them are huge", 0, 0)
    assert "query images: 2 [or] 3 of them are huge\n" in output.getvalue()


def test_the_time_left_is_said_where_no_column_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmark.training.progress.time.monotonic", lambda: now[0])
    output = io.StringIO()
    with Reporter(Console(file=output, width=60)) as reporter:
        reporter.preparing("decode", 100, 400)
        now[0] = 60.0
        reporter.preparing("decode", 200, 400)
    assert output.getvalue().splitlines()[-1] == "decode: 200/400  about 2 min left"
