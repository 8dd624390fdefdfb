"""Getting a data set: download or mirror, verify, unpack beside, check, and only then move into place."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from filelock import FileLock

from ..errors import DataError, UsageError
from ..files import write_atomically
from . import cards, glyphs
from .cards import Archive, Card
from .layouts import load
from .stored import cannot_write

_PACKED = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")
# RuntimeError: an encrypted zip file.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


def fetch(card: Card, data_dir: Path, mirror: Path | None = None) -> Path:
    """Make a data set ready below `data_dir`; does nothing when it is.

    Args:
        mirror: a folder with the archives, which are then not downloaded. It may hold `<name>.toml`, a card that
            replaces `card`; it is kept beside the data, where `cards.load` and `data.load` find it.

    Returns:
        The data set's own folder.

    Raises:
        DataError: it cannot be had or written, is damaged, or is not what the card says. Nothing half-done is left.
        UsageError: there is no such mirror, or its card is not one.
    """
    folder = data_dir / card.folder
    if card.vectors is not None:  # nothing to get; reading them once, where they are used, is enough
        return folder
    if _problem(card, data_dir) is None:
        return folder
    if mirror and not mirror.is_dir():
        raise UsageError(f"no such folder: {mirror}")
    replacing = mirror / f"{card.name}.toml" if mirror else None
    if replacing and replacing.is_file():
        card = cards.read(replacing)
        folder = data_dir / card.folder
    else:
        replacing = None
    dead = [archive.name for archive in card.archives if archive.url is None]
    if dead and mirror is None and not (folder.is_dir() and any(folder.iterdir())):
        # before anything is made: the data folder's name may be mistyped
        raise DataError(f"no {folder}, and no public address is left for {', '.join(dead)}. {card.where}")
    lock, new = data_dir / f".{card.name}.lock", [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            problem = _problem(card, data_dir)  # another process may have been faster
            if problem is None:
                return folder
            if card.layout == "glyphs":
                _render(card, folder / glyphs.FILE)
            elif not card.archives:
                raise problem
            elif folder.exists() and any(folder.iterdir()):
                raise DataError(f"{problem}. {folder} is left as it is; move it away to fetch it anew")
            else:
                _install(card, data_dir, mirror, replacing)
    except OSError as error:
        raise cannot_write(data_dir, error) from error
    except DataError as error:
        if not new:
            raise
        with contextlib.suppress(OSError):  # not empty: what was downloaded is kept
            lock.unlink(missing_ok=True)
            for path in (data_dir / f".{card.name}.downloads", *new):
                if path.exists():
                    path.rmdir()
        raise DataError(f"there was no folder {data_dir}, and nothing could be put there: {error}") from error
    return folder


def _problem(card: Card, data_dir: Path) -> DataError | None:
    """Why the data set cannot be used as it is; None if it can."""
    try:
        load(card, data_dir)
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
    downloads = (
        data_dir / f".{card.name}.downloads"
    )  # kept until all went well: a disk that was full costs no second download
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
    for algorithm, expected in (("sha256", archive.sha256), ("md5", archive.md5)):
        if expected:
            with file.open("rb") as content:
                found = hashlib.file_digest(content, algorithm).hexdigest()
            if found != expected:
                raise DataError(
                    f"{file} has the {algorithm} {found}, its card says {expected}: damaged, or another version"
                )
            break
    return file


def _downloaded(archive: Archive, downloads: Path) -> Path:
    import pooch
    from requests import RequestException

    assert archive.url
    known = f"sha256:{archive.sha256}" if archive.sha256 else f"md5:{archive.md5}" if archive.md5 else None
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(pooch.retrieve(archive.url, known, archive.name, downloads, progressbar=sys.stderr.isatty()))
    except RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"the server answers {status}" if status else f"no connection ({type(error).__name__})"
        raise DataError(
            f"cannot download {archive.url}: {reason}; --mirror DIR takes {archive.name} from a folder"
        ) from error
    except ValueError as error:  # pooch, about the checksum; it has deleted the file
        raise DataError(f"{archive.url} is not what its card says: damaged on the way, or another version") from error


def _unpack(file: Path, into: Path) -> None:
    """Unpack a tar or zip file; files and folders only, none of them outside.

    Raises:
        DataError: a member that is something else, with its name; a damaged or truncated file.
    """
    try:
        for name, content in _zip(file) if file.suffix.lower() == ".zip" else _tar(file):
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in name:
                raise DataError(f"{file}: its member {name!r} wants to be outside of the folder it is unpacked into")
            if content is None:
                (into / path).mkdir(parents=True, exist_ok=True)
                continue
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            with content, (into / path).open("wb") as output:
                shutil.copyfileobj(content, output, 1 << 20)
    except _DAMAGED as error:
        raise DataError(f"{file} cannot be unpacked, it is damaged or truncated ({error})") from error


Member = tuple[str, IO[bytes] | None]  # name and content; None: a folder


def _tar(file: Path) -> Iterator[Member]:
    with tarfile.open(file) as archive:
        for member in archive:
            if not (member.isfile() or member.isdir()):
                raise DataError(f"{file}: its member {member.name!r} is a link or a device, which no data set needs")
            yield member.name, archive.extractfile(member)
        # tarfile takes a damaged header for the end; reading on to the real one checks the compressed file's checksum.
        while archive.fileobj and archive.fileobj.read(1 << 20):
            pass


def _zip(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"{file}: its member {member.filename!r} is a link, which no data set needs")
            yield member.filename, None if member.is_dir() else archive.open(member)
