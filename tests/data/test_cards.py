import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.data import cards
from benchmark.errors import UsageError

SUITE = ["cars", "cub", "glyphs", "inshop", "sop", "tiny"]


def card_file(where: Path, **changes: object) -> Path:
    values = {"name": "own", "title": "t", "layout": "cub", "folder": "own", **changes}
    file = where / "own.toml"
    file.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
    return file


def test_names_are_the_suite() -> None:
    assert set(SUITE) <= set(cards.names())
    assert cards.names() == sorted(cards.names())


@pytest.mark.parametrize("name", cards.names())
def test_every_card_of_the_suite_is_complete(name: str) -> None:
    card = cards.load_card(name)
    assert card.name == name
    assert card.title and card.licence and card.citation
    assert set(card.counts) in ({"train", "test"}, {"train", "query", "gallery"})
    assert card.archives or (card.checksum and card.pinned_with)
    assert card.where or all(archive.url for archive in card.archives)
    assert not cards.is_own(card)


def test_counts_are_those_of_the_literature() -> None:
    counts = {
        name: {split: (c.images, c.classes) for split, c in cards.load_card(name).counts.items()} for name in SUITE
    }
    assert counts["cub"] == {"train": (5864, 100), "test": (5924, 100)}
    assert counts["cars"] == {"train": (8054, 98), "test": (8131, 98)}
    assert counts["sop"] == {"train": (59551, 11318), "test": (60502, 11316)}
    assert counts["inshop"] == {"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)}
    assert cards.load_card("sop").recall_at == (1, 10, 100, 1000)
    assert cards.load_card("inshop").recall_at == (1, 10, 20, 30)


def test_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'cbu'; did you mean 'cub'\?"):
        cards.load_card("cbu")


@pytest.mark.parametrize("path", ["no/such/folder", "./cub", "~/no-such-folder", "missing.toml"])
def test_path_that_does_not_exist(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder of images, card"):
        cards.load_card(path)


@pytest.mark.parametrize("name", ["catalog.txt", "card.TOML", "no-suffix", "pipe", "pipe.toml", "here/catalog.txt"])
def test_what_is_there_and_is_no_card(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is not read, which would wait for ever."""
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if "pipe" in name:
        os.mkfifo(path)
    else:
        path.write_text("a,b\n")
    for given in (name, f"./{name}", str(tmp_path / name)):
        with pytest.raises(UsageError, match=r"there is no such folder of images, card|cannot be read as a card"):
            cards.load_card(given)


def test_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path)
    card = cards.load_card("birds")
    assert (card.name, card.layout, card.folder) == ("birds", "folder", str(tmp_path / "birds"))
    assert cards.is_own(card)
    assert cards.load_card("./birds") == card


def test_own_card(tmp_path: Path) -> None:
    card = cards.load_card(str(card_file(tmp_path)))
    assert card.name == "own"
    assert cards.is_own(card)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "voc"}, "layout: Input should be"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"name": "../x"}, "name: String should match"),
        ({"recall_at": [0]}, "recall_at.0"),
        ({"recall_at": [10, 100]}, "recall_at wants a 1"),
        ({"archives": [], "folder": 3}, "folder"),
    ],
)
def test_invalid_card_names_file_and_field(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    file = card_file(tmp_path, **changes)
    with pytest.raises(UsageError) as error:
        cards.load_card(str(file))
    assert str(file) in str(error.value) and message in str(error.value)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ("folder = '../x'\n[[archives]]\nname = 'a.tgz'", "archives cannot be unpacked"),
        ("folder = 'x'\n[[archives]]\nname = 'a.tgz'\ninto = '/etc'", "archives.0.into"),
        ("folder = 'x'\n[[archives]]\nname = '../a.tgz'", "archives.0.name"),
    ],
)
def test_a_card_cannot_write_outside_of_the_data_folder(tmp_path: Path, lines: str, field: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f"name = 'own'\ntitle = 't'\nlayout = 'cub'\n{lines}\n")
    with pytest.raises(UsageError, match=field):
        cards.load_card(str(file))


def vectors_card(folder: Path, *lines: str) -> Path:
    file = folder / "own.toml"
    file.write_text("\n".join(['name = "own"', 'title = "t"', 'layout = "vectors"', *lines]))
    return file


def test_a_card_of_vectors_names_files_beside_it(tmp_path: Path) -> None:
    lines = "[vectors]", 'features = "x.npy"', 'teacher_features = "sub/t.npz"'
    vectors = cards.load_card(str(vectors_card(tmp_path, *lines)), tmp_path).vectors
    assert vectors is not None
    assert vectors.features == tmp_path / "x.npy" and vectors.labels is None
    assert vectors.teacher_features == tmp_path / "sub" / "t.npz" and vectors.test_features is None


def test_a_card_of_vectors_beside_its_files_is_not_taken_for_one_that_replaces_it(tmp_path: Path) -> None:
    card = cards.load_card(
        str(vectors_card(tmp_path, "[vectors]", 'features = "x.npy"').rename(tmp_path / cards.BESIDE)), tmp_path
    )
    assert card.title == "t" and cards.is_own(card)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['folder = "x"'], "relative to the card's own folder"),
        (["vectors = 3"], "vectors: Input should be"),
        (["[vectors]", 'feature = "x.npy"'], "vectors.feature: Extra inputs"),
        (["[vectors]", "views = 0"], "vectors.views"),
        (["[vectors]", 'features = "x.npy"', 'test_labels = "y.npy"'], "test_features is not"),
    ],
)
def test_a_card_of_vectors_that_is_none(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        cards.load_card(str(vectors_card(tmp_path, *lines)))
    assert message in str(error.value) and "own.toml" in str(error.value)


def test_vectors_are_of_no_other_layout(tmp_path: Path) -> None:
    file = card_file(tmp_path)
    file.write_text(file.read_text() + '[vectors]\nfeatures = "x.npy"\n')
    with pytest.raises(UsageError, match="go together"):
        cards.load_card(str(file))


def test_own_vectors_are_called_as_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    card = cards.of_vectors(cards.Vectors(features=Path("cars.npy"), labels=Path("y.npy")))
    assert card.name == "cars" and cards.is_own(card)
    assert card.vectors is not None and card.vectors.labels == tmp_path / "y.npy"


def test_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("name = \n")
    with pytest.raises(UsageError, match=r"own\.toml cannot be read as a card: .*line 1"):
        cards.load_card(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"own\.toml cannot be read as a card"):
        cards.load_card(str(file))


def test_a_card_beside_the_data_replaces_the_suites_own(tmp_path: Path) -> None:
    suite = cards.load_card("cub", tmp_path)
    assert suite == cards.load_card("cub")
    (tmp_path / suite.folder).mkdir()
    beside = tmp_path / suite.folder / cards.BESIDE
    beside.write_text("name = 'cub'\ntitle = 'Birds'\nlayout = 'cub'\nfolder = 'CUB_200_2011'\n")
    card = cards.load_card("cub", tmp_path)
    assert card.title == "Birds (reduced or changed copy)"
    assert not card.counts
    assert cards.is_own(card)
    beside.write_text("name = 'other'\ntitle = 'Birds'\nlayout = 'cub'\nfolder = 'CUB_200_2011'\n")
    assert cards.load_card("cub", tmp_path) == suite


def test_importing_cards_is_light() -> None:
    heavy = "{'torch', 'pooch', 'numpy'} & set(sys.modules)"
    code = f"import sys; from benchmark.data import cards; cards.load_card('cub'); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
