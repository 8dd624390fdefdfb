"""From an image file to the pixels that a viewer shows, and on to the square that networks read."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from ..errors import DataError
from ..spec import Fit

# Part of keys: whoever changes what pixels a file has changes this, and no old array is taken for a new one.
RULE = (
    "as a viewer shows it: first frame or page, 16 bits / 257 and floats of 0 to 1 * 255 rounded, profile to sRGB, on white, upright; "
    "RGB, squashed to a square, bilinear with antialiasing by torch; JPEG decoded at no less than twice the size"
)

_UPRIGHT = {  # by EXIF's orientation, which says where the first row and the first column of the file are seen
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_GREYS = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
_ROUNDING = 2  # of 255: a profile that moves no colour further is sRGB, written with other roundings

# Colours, of mode L, RGB or CMYK; opacity, of mode L, where there is any.
Parts = tuple[Image.Image, Image.Image | None]


def rule(fit: Fit) -> str:
    """`RULE` of images that become square in that way."""
    words = {"squash": "squashed", "crop": "its middle cut", "pad": "padded with white"}
    return RULE.replace("squashed", words[fit])


def square(path: Path, size: int, fit: Fit = "squash") -> np.ndarray:
    """Decode an image, make it square and resize it to uint8 [size, size, 3].

    Args:
        fit: squash: the aspect ratio is not kept, as published. crop: the middle, as wide as the shorter side. pad: as wide as the
            longer side, with white on both sides.

    Raises:
        DataError: as of `rgb`.
    """
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.array(rgb(path, 2 * size))).permute(2, 0, 1)[None]
    if fit != "squash":
        sides = pixels.shape[-2:]
        side = min(sides) if fit == "crop" else max(sides)
        # Negative numbers cut.
        (top, bottom), (left, right) = ((edge // 2, edge - edge // 2) for edge in (side - length for length in sides))
        pixels = F.pad(pixels, (left, right, top, bottom), value=255)
    # Not Pillow's own resizing, which takes twice as long.
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def rgb(path: Path, least: int | None = None) -> Image.Image:
    """Decode an image as a viewer shows it, by the rules in datasets/README.md.

    Args:
        least: pixels; a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep that many.

    Raises:
        DataError: the file is damaged, too large, of a kind that is not read, or its numbers have no agreed meaning as colours.
    """
    try:
        with _opened(path) as image:
            if least is not None:
                image.draft(image.mode, (least, least))
            image.load()
            colour, opacity = _parts(image, path)
            # What is LAB, Pillow has made sRGB by now.
            colour = _srgb(colour, None if image.mode == "LAB" else image.info.get("icc_profile"))
            if opacity is not None:
                colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), opacity)
            try:
                turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            except Exception:  # a damaged block says nothing; viewers show such an image as it lies
                turn = None
            return colour if turn is None else colour.transpose(turn)
    except DataError:
        raise
    except Exception as error:  # damaged files make decoders raise about anything
        raise DataError(f"{path} cannot be decoded ({error})") from error


def revision(content: bytes) -> str:
    """Mark a file whose pixels are not what versions before made of it, though `RULE` says the same: one with a grey profile, or with
    colours of 16 bits, of which the upper halves are taken.

    Part of what tells files from others. So other files keep their names, and old arrays and finished runs of them stay theirs.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            grey = image.info.get("icc_profile", b"")[16:20] == b"GRAY"
            return "-2" * grey + "-3" * (image.mode in ("LA", "RGB", "RGBA") and ";16" in str(image.tile))
    except Exception:  # what cannot be opened is met where it is decoded
        return ""


def _opened(path: Path) -> Image.Image:
    """An image whose pixels are not read yet."""
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        if path.read_bytes()[4:8] != b"ftyp":
            raise
        try:
            import pillow_heif
        except ImportError:
            raise DataError(f"{path} is HEIC: pip install pillow-heif, or save it as JPEG or PNG") from None
        pillow_heif.register_heif_opener()
        image = Image.open(path)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # By its name Pillow would map the file, and take height for width where it lies on its side.
        image.filename = ""
        # Of planes Pillow takes the bytes for pixels.
        if 16 in image.tag_v2.get(_BITS, ()) and image.tile[0][0] == "raw" and ";16" not in str(image.tile):
            raise DataError(f"{path} holds colours of 16 bits in separate planes; save it interleaved or compressed")
    return image


def _parts(image: Image.Image, path: Path) -> Parts:
    """Colours and opacity as 8 bits, whatever depth and mode an image has."""
    tags, key = dict(getattr(image, "tag_v2", {})), image.info.get("transparency")
    if 2 in tags.get(_SAMPLE_FORMAT, ()):
        raise _no_range(path, "signed")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.array(image)
        grey = _of_floats(values, path) if image.mode == "F" else _of_integers(values, image.format, tags, path)
        # Pillow inverts TIFFs whose zero is white up to 8 bits only.
        colour = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)
        return colour, None if key is None else _unlike(values, key)
    bits = tags.get(_BITS, (8,))[0]
    if image.format == "PNG":
        with path.open("rb") as file:
            bits = file.read(25)[24]
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB") and key is not None:
        # Pillow has brought the pixels of a PNG to 8 bits, but not the key.
        if image.format == "PNG" and image.mode == "L":
            key = key * 255 // (2**bits - 1)
        elif bits == 16:
            key = tuple(part >> 8 for part in key)
        return image, _unlike(np.asarray(image), key)
    return _split(image)


def _split(image: Image.Image) -> Parts:
    """Colours and opacity of an image of 8 bits."""
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel("L"), image.getchannel("A")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    return image if image.mode in ("L", "CMYK") else image.convert("RGB"), None


def _of_floats(values: np.ndarray, path: Path) -> np.ndarray:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise DataError(f"{path} holds floats from {low:g} to {high:g}; scale them to 0 to 1, or save as 8 or 16 bit")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def _of_integers(values: np.ndarray, kind: str | None, tags: dict[int, Any], path: Path) -> np.ndarray:
    # Pillow widens PNG, PGM and JPEG 2000 to 16 bits, and keeps them in 32 in some releases.
    bits = tags[_BITS][0] if tags else 16 if kind in ("PNG", "PPM", "JPEG2000") else 32
    if bits > 16:
        raise _no_range(path, f"{bits}-bit")
    full = 2**bits - 1
    return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)


def _no_range(path: Path, kind: str) -> DataError:
    return DataError(f"{path} holds {kind} integers, of which none is white by agreement; save it as 8 or 16 bit")


def _unlike(values: np.ndarray, key: int | tuple[int, int, int]) -> Image.Image:
    """Opacity of pixels [h, w] or [h, w, channels] of which one value is transparent."""
    differs = values != key
    return Image.fromarray(np.uint8(255) * (differs.any(axis=2) if differs.ndim == 3 else differs))


def _srgb(colour: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as RGB by their profile; by Pillow's plain formula where there is none that suits them."""
    # A grey image may carry a profile of RGB, as r = g = b.
    for mode in (("L", "RGB") if colour.mode == "L" else (colour.mode,)) if profile else ():
        if transform := _transform(profile, mode):
            if mode == "L":  # of 256 greys, as the exact way is slow
                return Image.fromarray(np.asarray(transform.apply(_GREYS))[0, np.asarray(colour)])
            return transform.apply(colour.convert(mode))
    return colour.convert("RGB")


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From colours in a profile to sRGB; None if the profile is damaged, not for images of that mode, or sRGB itself."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Optimised by lcms, greys of linear light are off by up to 10 of 255; colours are right to the rounding either way.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | (ImageCms.Flags.NOOPTIMIZE if mode == "L" else 0),
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    steps = np.indices((18, 18, 18)).reshape(3, 18, -1).transpose(1, 2, 0) * 15
    probe = Image.fromarray(steps.astype(np.uint8)).convert(mode)
    moved = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    return transform if np.abs(moved).max() > _ROUNDING else None
