"""Channels of a decoded image as 8-bit colours and opacity, whatever its depth and mode."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF

Parts = tuple[Image.Image, Image.Image | None]


def parts(image: Image.Image, path: Path) -> Parts:
    """Colours, of mode L, RGB or CMYK, and opacity, of mode L, where there is any transparency."""
    if 2 in _tags(image).get(_SAMPLE_FORMAT, ()):
        raise _no_range(path, "signed")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep(image, path)
    bits = _bits(path) if image.format == "PNG" else _tags(image).get(_BITS, (8,))[0]
    if bits == 16:
        return _wide(image, path)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB") and (key := image.info.get("transparency")) is not None:
        if image.format == "PNG" and image.mode == "L":  # Pillow has widened the pixels to 8 bits, but not the key
            key = key * 255 // (2**bits - 1)
        return image, _unlike(np.asarray(image), key)
    return _eight_bits(image)


def _eight_bits(image: Image.Image) -> Parts:
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel("L"), image.getchannel("A")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    return image if image.mode in ("L", "CMYK") else image.convert("RGB"), None


def _deep(image: Image.Image, path: Path) -> Parts:
    """Colour and opacity of one channel of more than 8 bits."""
    values, tags, key = np.array(image), _tags(image), image.info.get("transparency")
    if image.mode == "F":
        low, high = values.min(), values.max()
        if np.isnan(low):
            raise DataError(f"{path} holds values that are not numbers (NaN); replace them")
        if low < 0 or high > 1:
            raise DataError(
                f"{path} holds floats from {low:g} to {high:g}; scale them to 0 to 1, or save as 8 or 16 bit"
            )
        grey = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    else:
        # Pillow widens PNG, PGM and JPEG 2000 to 16 bits, and keeps them in 32 in some releases.
        bits = tags[_BITS][0] if tags else 16 if image.format in ("PNG", "PPM", "JPEG2000") else 32
        if bits > 16:
            raise _no_range(path, f"{bits}-bit")
        grey = _eight(values, bits)
    # Pillow inverts TIFFs whose zero is white up to 8 bits only.
    colour = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)
    return colour, None if key is None else _unlike(values, key)


def _tags(image: Image.Image) -> dict:
    return dict(getattr(image, "tag_v2", {}))


def _no_range(path: Path, kind: str) -> DataError:
    return DataError(
        f"{path} holds {kind} integers, of which none is agreed to be white; save it as 8 or 16 bit unsigned"
    )


def _wide(image: Image.Image, path: Path) -> Parts:
    """Colours and opacity of several channels of 16 bits, of which Pillow keeps the upper halves."""
    with Image.open(path) as other:
        raw = {_raw(tile) for tile in other.tile}
        if not all(";16" in each for each in raw):
            if other.tile[0][0] == "raw":  # planes, whose bytes Pillow takes for pixels
                raise DataError(
                    f"{path} holds colours of 16 bits in separate planes; save it interleaved or compressed"
                )
            return _eight_bits(image)
        grey = "LA;16B" in raw
        # Read as if the order of bytes were the other one, the lower halves are the upper ones.
        other.tile = [_reread(tile) for tile in other.tile]
        other.load()
        values = np.asarray(other).astype(np.uint16)
    if grey:
        values = values[..., ::2] * 256 + values[..., 1::2]
    else:
        values += np.asarray(image).astype(np.uint16) * 256
    eight = Image.frombytes("LA" if grey else image.mode, image.size, _eight(values, 16).tobytes())
    if (key := image.info.get("transparency")) is not None:
        return eight, _unlike(values, key)
    return _eight_bits(eight)


def _raw(tile: tuple) -> str:
    return tile[3] if isinstance(tile[3], str) else tile[3][0]


def _reread(tile: Any) -> Any:
    """A piece of a file with the other order of bytes; one of grey and alpha with a channel for each byte."""
    *place, arguments = tile
    name, _, order = _raw(tile).partition(";16")
    other = "B" if order == "L" or (order == "N" and sys.byteorder == "little") else "L"
    raw = "RGBA" if name == "LA" else f"{name};16{other}"
    make = getattr(tile, "_make", tuple)  # named by newer releases of Pillow
    return make((*place, raw if isinstance(arguments, str) else (raw, *arguments[1:])))


def _eight(values: np.ndarray, bits: int) -> np.ndarray:
    """The range of so many bits as 0 to 255, rounded."""
    full = 2**bits - 1
    return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)


def _bits(png: Path) -> int:
    """Bits of a channel, by the header."""
    with png.open("rb") as file:
        return file.read(25)[24]


def _unlike(values: np.ndarray, key: int | tuple[int, int, int]) -> Image.Image:
    """Opacity of pixels [h, w] or [h, w, channels] of which one value is transparent."""
    differs = values != key
    return Image.fromarray(np.uint8(255) * (differs.any(axis=2) if differs.ndim == 3 else differs))
