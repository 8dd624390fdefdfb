import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from benchmark.data import cards
from benchmark.data.cards import Archive, Card, Counts
from benchmark.data.fetch import fetch
from benchmark.data.layouts import load_images
from benchmark.errors import DataError, UsageError

Members = dict[str, bytes]
ROOT = "CUB_200_2011"


def small_cub(classes: int = 4, images: int = 2) -> Members:
    """The official layout, with the file that the real archive has beside its folder."""
    rows = [(c, f"{c:03}.Bird/{c}_{i}.jpg") for c in range(1, classes + 1) for i in range(images)]
    return {
        "attributes.txt": b"",
        **{f"{ROOT}/images/{name}": name.encode() for _, name in rows},
        f"{ROOT}/images.txt": "".join(f"{n} {name}\n" for n, (_, name) in enumerate(rows, 1)).encode(),
        f"{ROOT}/image_class_labels.txt": "".join(f"{n} {c}\n" for n, (c, _) in enumerate(rows, 1)).encode(),
    }


def tar(file: Path, members: Members) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def zipped(file: Path, members: Members) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def own_card(*archives: Archive, images: int = 4, classes: int = 2) -> Card:
    counts = Counts(images=images, classes=classes)
    return Card(
        name="own", title="own", layout="cub", folder=ROOT, archives=archives, counts={"train": counts, "test": counts}
    )


def left(data: Path) -> list[str]:
    """What is in a folder, but for locks."""
    return sorted(path.name for path in data.iterdir() if path.suffix != ".lock") if data.is_dir() else []


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    tar(tmp_path / "mirror" / "birds.tgz", small_cub())
    return tmp_path / "mirror"


def test_from_a_mirror(mirror: Path, tmp_path: Path) -> None:
    content = (mirror / "birds.tgz").read_bytes()
    archive = Archive(name="birds.tgz", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    data = tmp_path / "data"
    assert fetch(own_card(archive), data, mirror) == data / ROOT
    assert left(data) == [ROOT]
    assert len(load_images(own_card(archive), data).train) == 4
    assert (data / ROOT / "images" / "003.Bird" / "3_1.jpg").read_text() == "003.Bird/3_1.jpg"


def test_complete_data_are_left_alone(mirror: Path, tmp_path: Path) -> None:
    card = own_card(Archive(name="birds.tgz"))
    data = tmp_path / "data"
    fetch(card, data, mirror)
    (mirror / "birds.tgz").unlink()
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    fetch(card, data, mirror)
    fetch(card, data)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_zip_and_plain_files_into_a_folder(tmp_path: Path) -> None:
    members = {name.removeprefix(f"{ROOT}/"): content for name, content in small_cub().items()}
    labels = members.pop("image_class_labels.txt")
    zipped(tmp_path / "mirror" / "birds.zip", members)
    (tmp_path / "mirror" / "image_class_labels.txt").write_bytes(labels)
    card = own_card(Archive(name="birds.zip", into=ROOT), Archive(name="image_class_labels.txt", into=ROOT))
    fetch(card, tmp_path / "data", tmp_path / "mirror")
    assert left(tmp_path / "data") == [ROOT]


def test_the_suites_cub_from_a_reduced_mirror(tmp_path: Path) -> None:
    mirror, data = tmp_path / "mirror", tmp_path / "data"
    tar(mirror / "CUB_200_2011.tgz", small_cub())
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz has .* bytes, its card says 1,150,585,339"):
        fetch(cards.load_card("cub"), data, mirror)
    (mirror / "cub.toml").write_text(
        f"name = 'cub'\ntitle = 'Birds'\nlayout = 'cub'\nfolder = '{ROOT}'\n"
        "counts.train = {images = 4, classes = 2}\ncounts.test = {images = 4, classes = 2}\n"
        "[[archives]]\nname = 'CUB_200_2011.tgz'\n"
    )
    fetch(cards.load_card("cub"), data, mirror)
    assert left(data) == [ROOT]
    loaded = load_images(cards.load_card("cub"), data)
    assert (len(loaded.train), len(loaded.query)) == (4, 4)
    assert "reduced" in loaded.card.title and cards.is_own(loaded.card)
    assert cards.load_card("cub", data) == loaded.card
    fetch(cards.load_card("cub"), data)  # found complete, by the card that came along


def test_wrong_counts_leave_nothing(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"train has 4 images of 2 classes in {ROOT}, its card says 5 of 2") as error:
        fetch(own_card(Archive(name="birds.tgz"), images=5), tmp_path / "data", mirror)
    assert ".partial" not in str(error.value)
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"bytes": 7}])
def test_wrong_checksum_or_size(mirror: Path, tmp_path: Path, wrong: dict[str, str | int]) -> None:
    with pytest.raises(
        DataError, match=rf"birds\.tgz has .*its card says {next(iter(wrong.values()))}: .*another version"
    ):
        fetch(own_card(Archive(name="birds.tgz", **wrong)), tmp_path / "data", mirror)  # type: ignore[arg-type]
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(("pack", "name"), [(tar, "birds.tgz"), (zipped, "birds.zip")])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_truncated_archive(tmp_path: Path, pack: Callable[[Path, Members], Path], name: str, keep: float) -> None:
    file = pack(tmp_path / "mirror" / name, small_cub(images=40))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=f"{name} cannot be unpacked, it is damaged"):
        fetch(own_card(Archive(name=name)), tmp_path / "data", file.parent)
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize("flip", [40, 300, -6])  # at the start, amid, and in the checksum
def test_damaged_archive(mirror: Path, tmp_path: Path, flip: int) -> None:
    content = bytearray((mirror / "birds.tgz").read_bytes())
    content[flip] ^= 255
    (mirror / "birds.tgz").write_bytes(content)
    with pytest.raises(DataError, match=r"birds\.tgz cannot be unpacked, it is damaged"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", mirror)
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(("pack", "name"), [(tar, "birds.tgz"), (zipped, "birds.zip")])
@pytest.mark.parametrize(
    "member", ["../escaped", f"{ROOT}/../../escaped", "{tmp}/escaped", "..\\escaped", "C:/escaped"]
)
def test_members_stay_inside(tmp_path: Path, pack: Callable[[Path, Members], Path], name: str, member: str) -> None:
    """Refused, or unpacked inside, where they are no part of the data set and go with what was unpacked."""
    member = member.format(tmp=tmp_path)
    file = pack(tmp_path / "mirror" / name, {**small_cub(), member: b"x"})
    with contextlib.suppress(DataError):
        fetch(own_card(Archive(name=name)), tmp_path / "data", file.parent)
    assert not [path for path in tmp_path.rglob("*escaped*") if not path.is_relative_to(tmp_path / "data" / ROOT)]
    assert left(tmp_path / "data") in ([], [ROOT])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "mirror").mkdir()
    with tarfile.open(tmp_path / "mirror" / "birds.tgz", "w:gz") as archive:
        link = tarfile.TarInfo(f"{ROOT}/link")
        link.type, link.linkname = kind, "../../../outside"
        archive.addfile(link)
    with pytest.raises(DataError, match=rf"cannot be unpacked, .*{ROOT}/link"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", tmp_path / "mirror")
    assert left(tmp_path / "data") == []


def test_missing_from_the_mirror(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{mirror / 'cats.tgz'} is missing from the mirror"):
        fetch(own_card(Archive(name="cats.tgz")), tmp_path / "data", mirror)
    with pytest.raises(UsageError, match="no such folder"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", tmp_path / "no-mirror")
    assert left(tmp_path / "data") == []


def test_a_mirrors_card_that_is_none(mirror: Path, tmp_path: Path) -> None:
    (mirror / "own.toml").write_text("name = 3")
    with pytest.raises(UsageError, match=r"own\.toml is not a card"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", mirror)


def test_incomplete_data_are_not_touched(mirror: Path, tmp_path: Path) -> None:
    mine = tmp_path / "data" / ROOT / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match="move it away to fetch it anew"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", mirror)
    assert mine.read_text() == "mine"
    assert left(tmp_path / "data") == [ROOT]


def test_what_a_killed_process_left_is_swept(mirror: Path, tmp_path: Path) -> None:
    stale = tmp_path / "data" / ".own.partial" / ROOT / "images" / "stale.jpg"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", mirror)
    assert left(tmp_path / "data") == [ROOT]
    assert not list((tmp_path / "data").rglob("stale.jpg"))


def test_no_permission(mirror: Path, tmp_path: Path) -> None:
    # As root permission bits do not bind; below a regular file nobody can write.
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"cannot write to {tmp_path / 'file' / 'data'}"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "file" / "data", mirror)


def test_disk_full(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tarfile.copyfileobj", full)
    with pytest.raises(DataError, match=f"cannot write to {tmp_path / 'data'}: No space left on device"):
        fetch(own_card(Archive(name="birds.tgz")), tmp_path / "data", mirror)
    assert left(tmp_path / "data") == []


def test_cars_says_that_its_download_is_dead(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no public address is left for cars_train\.tgz, .*Kaggle"):
        fetch(cards.load_card("cars"), tmp_path / "mistyped")
    assert left(tmp_path) == []


def test_own_folders_are_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with pytest.raises(DataError, match="no images of train"):
        fetch(cards.load_card(str(tmp_path / "own")), tmp_path / "data")


def test_a_second_process_waits_and_finds_it_done(mirror: Path, tmp_path: Path) -> None:
    data, card = tmp_path / "data", own_card(Archive(name="birds.tgz"))
    data.mkdir()
    with FileLock(data / ".own.lock"):
        second = threading.Thread(target=fetch, args=(card, data, mirror))
        second.start()
        second.join(0.3)
        assert second.is_alive() and left(data) == []
    second.join(10)
    assert left(data) == [ROOT]


@pytest.fixture
def server(mirror: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(mirror))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_download(server: str, mirror: Path, tmp_path: Path) -> None:
    digest = hashlib.md5((mirror / "birds.tgz").read_bytes()).hexdigest()
    fetch(own_card(Archive(name="birds.tgz", url=f"{server}/birds.tgz", md5=digest)), tmp_path / "data")
    assert left(tmp_path / "data") == [ROOT]


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/birds.tgz", "0" * 64, "is not what its card says"),
        ("/cats.tgz", None, "the server answers 404; --mirror DIR takes it"),
    ],
)
def test_downloads_that_fail(server: str, tmp_path: Path, path: str, sha256: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch(own_card(Archive(name="birds.tgz", url=server + path, sha256=sha256)), tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tgz"))


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download http://127\.0\.0\.1:9/birds\.tgz: no connection"):
        fetch(own_card(Archive(name="birds.tgz", url="http://127.0.0.1:9/birds.tgz")), tmp_path / "data")
