"""From an image file to the pixels that a viewer shows, and on to the square that networks read."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from ..errors import DataError
from .channels import parts

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
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_GREYS = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
_ROUNDING = 2  # of 255: a profile that moves no colour further is sRGB, written with other roundings


def square(path: Path, size: int) -> np.ndarray:
    """Decode an image and resize it to uint8 [size, size, 3]; the aspect ratio is not kept, as published.

    Raises:
        DataError: as of `rgb`.
    """
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.array(rgb(path, 2 * size))).permute(2, 0, 1)[None]
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
            colour, opacity = parts(image, path)
            # What is LAB, Pillow has made sRGB by now.
            colour = _srgb(colour, None if image.mode == "LAB" else image.info.get("icc_profile"))
            if opacity is not None:
                colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), opacity)
            if (turn := _UPRIGHT.get(_orientation(image))) is not None:  # a flip is 0
                colour = colour.transpose(turn)
            return colour
    except DataError:
        raise
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow warns from half of that
        raise DataError(f"{path} has more than {limit:,} pixels; make it smaller") from None
    except Exception as error:  # damaged files make decoders raise about anything
        raise DataError(f"{path} cannot be decoded ({error})") from error


def several(path: Path) -> bool:
    """Whether a file that can be decoded holds more frames or pages than the one that is taken."""
    try:
        with _opened(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # damaged behind the first
        return False


def revision(content: bytes) -> str:
    """Mark a file whose pixels are not what versions before made of it, though `RULE` says the same: one with a grey profile.

    Part of what tells files from others. So other files keep their names, and old arrays and finished runs of them stay theirs.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return "-2" if image.info.get("icc_profile", b"")[16:20] == b"GRAY" else ""
    except Exception:  # what cannot be opened is met where it is decoded
        return ""


def _opened(path: Path) -> Image.Image:
    """An image whose pixels are not read yet."""
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        _learn_heif(path)
        image = Image.open(path)
    if image.format == "TIFF":
        # By its name Pillow would map the file, and take height for width where it lies on its side.
        image.filename = ""
    return image


def _learn_heif(path: Path) -> None:
    """Have Pillow read HEIC if that is what a file is, whatever its suffix."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in _HEIF:
        return
    try:
        import pillow_heif
    except ImportError:
        raise DataError(f"{path} is HEIC: pip install pillow-heif, or save it as JPEG or PNG") from None
    pillow_heif.register_heif_opener()


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


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged block says nothing; viewers show such an image as it lies
        return 1
