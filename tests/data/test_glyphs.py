import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import cards, glyphs
from benchmark.data.fetch import fetch
from benchmark.data.layouts import load_images
from benchmark.errors import DataError


def test_tiny_is_what_its_card_pins(tmp_path: Path) -> None:
    card = cards.load_card("tiny")
    assert fetch(card, tmp_path) == tmp_path / "tiny"
    data = load_images(card, tmp_path)
    assert isinstance(data.train.images, np.ndarray) and isinstance(data.query.images, np.ndarray)
    assert data.train.images.shape == data.query.images.shape == (192, 32, 32)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.tolist() == np.repeat(np.arange(16), 12).tolist()
    assert sorted(data.train.names + data.query.names) == sorted(card.characters)
    both = np.concatenate([data.train.images, data.query.images])
    assert hashlib.sha256(both.tobytes()).hexdigest() == card.checksum
    assert load_images(card, tmp_path).fingerprint == data.fingerprint


def test_the_whole_set_is_what_its_card_pins(tmp_path: Path) -> None:
    card = cards.load_card("glyphs")
    data = load_images(card, fetch(card, tmp_path).parent)  # counts and checksum are asserted
    assert (len(data.train.names), len(data.query.names)) == (703, 703)
    images = np.concatenate([data.train.images, data.query.images])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    assert (images.reshape(len(images), -1).max(1) > 100).all()  # nothing is drawn outside of the picture
    for split in (data.train, data.query):  # both halves hold the scripts
        for first, last in (("A", "Z"), ("Α", "Ω"), ("А", "я")):
            assert any(first <= name <= last for name in split.names)
    # A few classes drawn alone are the same images: the distortion depends on class and face only.
    pixels, names = glyphs.render("Bg8")
    alone = pixels[names.index("g")]
    split = data.train if "g" in data.train.names else data.query
    assert np.array_equal(split.images[split.labels == split.names.index("g")], alone)


def test_letters_that_look_the_same_are_one_class() -> None:
    assert glyphs.render("AΑАB")[1] in (
        ("A", "B"),
        ("B", "A"),
    )  # Latin, Greek and Cyrillic A, of which the first is kept


def test_only_letters_and_digits_that_all_faces_have() -> None:
    assert set(glyphs.render("Ag5 !→א")[1]) == {"A", "g", "5"}


def test_inside_is_where_the_winding_number_is_not_zero() -> None:
    def square(low: float, high: float, clockwise: bool) -> list[list[float]]:
        corners = [(low, low), (low, high), (high, high), (high, low)][:: 1 if clockwise else -1]
        return [[*a, *b] for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]

    hole = glyphs._fill(np.array(square(4, 28, True) + square(10, 20, False)))
    assert hole[6, 6] == 255 and hole[15, 15] == 0 and hole[2, 2] == 0
    assert int((hole == 255).sum()) == 24**2 - 10**2
    overlap = glyphs._fill(np.array(square(4, 28, True) + square(10, 20, True)))
    assert overlap[15, 15] == 255
    half = glyphs._fill(np.array(square(4.5, 28, True)))
    assert (half[4, 10], half[4, 4], half[5, 5]) == (128, 64, 255)
    clipped = glyphs._fill(np.array(square(-5, 50, True)))
    assert (clipped == 255).all()


def test_other_pixels_are_told_with_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = cards.load_card("tiny")
    pinned = card.pinned_with["matplotlib"]
    monkeypatch.setattr(glyphs, "version", lambda package: "9.9.9")
    wrong = card.model_copy(update={"checksum": "0" * 64})
    with pytest.raises(
        DataError, match=rf"what was rendered is not what .*pinned with matplotlib {pinned}.*here matplotlib 9\.9\.9"
    ):
        fetch(wrong, tmp_path)
    assert not list(tmp_path.glob("tiny/*"))
    fetch(card, tmp_path)
    with pytest.raises(DataError, match=r"glyphs\.npz is not what its card pins"):
        load_images(wrong, tmp_path)


def test_a_damaged_file_is_told_and_rendered_anew(tmp_path: Path) -> None:
    card = cards.load_card("tiny")
    file = fetch(card, tmp_path) / glyphs.FILE
    good = file.read_bytes()
    for bad in (good[: len(good) // 2], b"", good[:300] + bytes([good[300] ^ 255]) + good[301:]):
        file.write_bytes(bad)
        with pytest.raises(DataError, match=r"glyphs\.npz"):
            load_images(card, tmp_path)
        fetch(card, tmp_path)
        assert len(load_images(card, tmp_path).train) == 192


def test_missing_says_how_to_render(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fetch --dataset tiny --data"):
        load_images(cards.load_card("tiny"), tmp_path)


def test_fonts_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf is missing"):
        glyphs.render("a")


def test_counts_of_a_card_hold_for_rendered_sets(tmp_path: Path) -> None:
    card = cards.load_card("tiny")
    fetch(card, tmp_path)
    wrong = card.model_copy(update={"counts": {"train": cards.Counts(images=1, classes=1)}})
    with pytest.raises(DataError, match="train has 192 images of 16 classes"):
        load_images(wrong, tmp_path)
