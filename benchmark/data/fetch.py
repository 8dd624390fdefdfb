"""Getting a data set: download or mirror, verify, unpack beside, check, and only then move into place."""

from __future__ import annotations

import gzip
import lzma
import shutil
import sys
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pooch
from filelock import FileLock

from ..errors import DataError, UsageError
from ..files import write_atomically
from . import cards, glyphs
from .cards import Archive, Card
from .layouts import load_images
from .stored import cannot_write

_PACKED = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")
# RuntimeError: an encrypted zip file.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


def fetch(card: Card, data_dir: Path, mirror: Path | None = None) -> Path:
    """Make a data set ready below `data_dir`; does nothing when it is.

    Args:
        mirror: a folder with the archives, which are then not downloaded. It may hold `<name>.toml`, a card that
            replaces `card`; it is kept beside the data, where `cards.load_card` and `data.load` find it.

    Returns:
        The data set's own folder.

    Raises:
        DataError: it cannot be had or written, is damaged, or is not what the card says. Nothing half-done is left.
        UsageError: there is no such mirror, or its card is not one.
    """
    # Of vectors there is nothing to get; reading them once, where they are used, is enough.
    if card.vectors is not None or (problem := _problem(card, data_dir)) is None:
        return data_dir / card.folder
    if not (mirror or card.archives or card.layout == "glyphs"):  # own images are not to be had from anywhere
        raise problem
    if mirror and not mirror.is_dir():
        raise UsageError(f"no such folder: {mirror}")
    replacing = mirror / f"{card.name}.toml" if mirror else None
    if replacing and replacing.is_file():
        card = cards.read_card(replacing)
    else:
        replacing = None
    folder = data_dir / card.folder
    there = folder.is_dir() and any(folder.iterdir())
    dead = [archive.name for archive in card.archives if archive.url is None]
    if dead and mirror is None and not there:
        # before anything is made: the data folder's name may be mistyped
        raise DataError(f"no {folder}, and no public address is left for {', '.join(dead)}. {card.where}")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{card.name}.lock"):
            problem = _problem(card, data_dir)
            if problem is None:  # another process has been faster
                pass
            elif card.layout == "glyphs":
                _render(card, folder / glyphs.FILE)
            elif not card.archives:
                raise problem
            elif folder.exists() and any(folder.iterdir()):
                raise DataError(f"{problem}. {folder} is left as it is; move it away to fetch it anew")
            else:
                _install(card, data_dir, mirror, replacing)
    except OSError as error:
        raise cannot_write(data_dir, error) from error
    return folder


def _problem(card: Card, data_dir: Path) -> DataError | None:
    """Why the data set cannot be used as it is; None if it can."""
    try:
        load_images(card, data_dir)
    except DataError as error:
        return error
    return None


def _render(card: Card, file: Path) -> None:
    pixels, characters = glyphs.render(card.characters)
    glyphs.verify(card, pixels, "what was rendered")
    buffer = BytesIO()
    np.savez(buffer, pixels=pixels, characters=np.array(characters))
    write_atomically(file, buffer.getvalue())


def _install(card: Card, data_dir: Path, mirror: Path | None, replacing: Path | None) -> None:
    """Unpack into a temporary data folder, check the counts there, and move what is right into place."""
    # Kept until all went well: a disk that was full costs no second download.
    downloads = data_dir / f".{card.name}.downloads"
    files = [_mirrored(archive, mirror) if mirror else _downloaded(archive, downloads) for archive in card.archives]
    staging = data_dir / f".{card.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        for archive, file in zip(card.archives, files, strict=True):
            into = staging / archive.into
            into.mkdir(parents=True, exist_ok=True)
            if file.name.lower().endswith(_PACKED):
                _unpack(file, into)
            else:
                shutil.copyfile(file, into / file.name)
        if replacing and (staging / card.folder).is_dir():
            shutil.copyfile(replacing, staging / card.folder / cards.BESIDE)
        if problem := _problem(card, staging):
            reason = str(problem).partition("; get it with")[0].replace(f"{staging}/", "")
            raise DataError(f"{reason} (in what the archives unpack to; nothing was kept)")
        (data_dir / card.folder).parent.mkdir(parents=True, exist_ok=True)
        (staging / card.folder).replace(data_dir / card.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)


def _mirrored(archive: Archive, mirror: Path) -> Path:
    file = mirror / archive.name
    if not file.is_file():
        raise DataError(f"{file} is missing from the mirror")
    size = file.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        raise DataError(f"{file} has {size:,} bytes, its card says {archive.bytes:,}: truncated, or another version")
    algorithm, said = ("sha256", archive.sha256) if archive.sha256 else ("md5", archive.md5)
    if said and (real := pooch.file_hash(str(file), algorithm)) != said:
        raise DataError(f"{file} has the {algorithm} {real}, its card says {said}: damaged, or another version")
    return file


def _downloaded(archive: Archive, downloads: Path) -> Path:
    from requests import RequestException

    assert archive.url
    known = f"sha256:{archive.sha256}" if archive.sha256 else f"md5:{archive.md5}" if archive.md5 else None
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(pooch.retrieve(archive.url, known, archive.name, downloads, progressbar=sys.stderr.isatty()))
    except RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"the server answers {status}" if status else f"no connection ({type(error).__name__})"
        raise DataError(f"cannot download {archive.url}: {reason}; --mirror DIR takes it from a folder") from error
    except ValueError as error:  # pooch, about the checksum; it has deleted the file
        raise DataError(f"{archive.url} is not what its card says: damaged on the way, or another version") from error


def _unpack(file: Path, into: Path) -> None:
    """Unpack a tar or zip file; nothing of it gets outside of the folder.

    Raises:
        DataError: it is damaged or truncated, or has members that are links to elsewhere or devices.
    """
    try:
        if file.suffix.lower() == ".zip":
            with zipfile.ZipFile(file) as zipped:
                zipped.extractall(into)
            return
        with tarfile.open(file) as archive:
            archive.extractall(into, filter="data")
            # tarfile takes a damaged header for the end; reading on to the real one checks the compressed file's checksum.
            while archive.fileobj and archive.fileobj.read(1 << 20):
                pass
    except _DAMAGED as error:
        raise DataError(f"{file} cannot be unpacked, it is damaged or no archive of files ({error})") from error
