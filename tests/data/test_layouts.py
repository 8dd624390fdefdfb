import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.data import cards
from benchmark.data.cards import Card, Counts
from benchmark.data.layouts import load_images
from benchmark.data.splits import Split, holdout
from benchmark.errors import DataError, UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def touch(path: Path, content: str = "image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def card(layout: str, folder: str, **counts: tuple[int, int]) -> Card:
    pinned = {name: Counts(images=images, classes=classes) for name, (images, classes) in counts.items()}
    return Card.model_validate({"name": "own", "title": "own", "layout": layout, "folder": folder, "counts": pinned})


def names(split: Split) -> list[str]:
    return [path.name for path in split.images]


def make_cub(data: Path, classes: int = 4, images: int = 3) -> Path:
    """Lists neither by class nor in folder order; class 10 sorts before 2 as text."""
    root = data / "CUB_200_2011"
    rows = [(c, f"{c}.Bird/{c}_{i}.jpg") for i in range(images) for c in reversed(range(7, 7 + classes))]
    for _, name in rows:
        touch(root / "images" / name)
    touch(root / "images.txt", "".join(f"{n} {name}\n" for n, (_, name) in enumerate(rows, 1)))
    touch(root / "image_class_labels.txt", "".join(f"{n} {c}\n" for n, (c, _) in enumerate(rows, 1)))
    return root


def annotations(file: Path, key: str, rows: list[tuple[int, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    array = np.array([(c, name) for c, name in rows], dtype=[("class", "O"), (key, "O")])
    savemat(file, {"annotations": array})


def make_folder(root: Path, classes: dict[str, int]) -> Path:
    for name, images in classes.items():
        for i in range(images):
            touch(root / name / f"{i}.jpg")
    return root


def test_cub_takes_classes_by_number(tmp_path: Path) -> None:
    make_cub(tmp_path)
    data = load_images(card("cub", "CUB_200_2011", train=(6, 2), test=(6, 2)), tmp_path)
    assert data.train.names == ("7.Bird", "8.Bird")
    assert data.query.names == ("9.Bird", "10.Bird")
    assert names(data.train) == ["7_0.jpg", "7_1.jpg", "7_2.jpg", "8_0.jpg", "8_1.jpg", "8_2.jpg"]
    assert data.train.labels.tolist() == data.query.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert data.gallery is None


def test_data_folder_may_be_the_sets_own(tmp_path: Path) -> None:
    root = make_cub(tmp_path)
    assert (
        load_images(card("cub", "CUB_200_2011"), root).fingerprint
        == load_images(card("cub", "CUB_200_2011"), tmp_path).fingerprint
    )


def test_cars_official_layout_repeats_file_names(tmp_path: Path) -> None:
    root = tmp_path / "stanford_cars"
    train = [(2, "1.jpg"), (11, "2.jpg"), (1, "3.jpg"), (3, "4.jpg")]
    test = [(1, "1.jpg"), (2, "2.jpg"), (3, "3.jpg"), (11, "4.jpg")]
    annotations(root / "devkit" / "cars_train_annos.mat", "fname", train)
    annotations(root / "cars_test_annos_withlabels.mat", "fname", test)
    for folder in ("cars_train", "cars_test"):
        for i in range(1, 5):
            touch(root / folder / f"{i}.jpg")
    data = load_images(card("cars", "stanford_cars", train=(4, 2), test=(4, 2)), tmp_path)
    assert [path.relative_to(root).as_posix() for path in data.train.images] == [
        "cars_train/3.jpg",
        "cars_test/1.jpg",
        "cars_train/1.jpg",
        "cars_test/2.jpg",
    ]
    assert data.train.names == ("1", "2")
    assert data.query.names == ("3", "11")


@pytest.mark.parametrize("lying", ["stanford_cars", "."])
def test_cars_combined_layout(tmp_path: Path, lying: str) -> None:
    root = tmp_path / lying
    rows = [(c, f"car_ims/{c}{i}.jpg") for i in range(2) for c in (4, 2, 1, 3)]
    annotations(root / "cars_annos.mat", "relative_im_path", rows)
    for _, name in rows:
        touch(root / name)
    data = load_images(card("cars", "stanford_cars"), tmp_path)
    assert names(data.train) == ["10.jpg", "11.jpg", "20.jpg", "21.jpg"]
    assert names(data.query) == ["30.jpg", "31.jpg", "40.jpg", "41.jpg"]


def test_cars_annotations_that_are_none(tmp_path: Path) -> None:
    root = tmp_path / "stanford_cars"
    (root / "car_ims").mkdir(parents=True)
    touch(root / "cars_annos.mat", "no MATLAB file")
    with pytest.raises(DataError, match=r"cars_annos\.mat does not hold the annotations"):
        load_images(card("cars", "stanford_cars"), tmp_path)


@pytest.mark.skipif(
    not (SHARED / "stanford_cars").is_dir(),
    reason="the real Cars-196 images, not ours to ship, are not in ../shared/data",
)
def test_the_real_cars() -> None:
    data = load_images(cards.load_card("cars"), SHARED)
    assert (len(data.train), len(data.query)) == (8054, 8131)
    assert (len(data.train.names), len(data.query.names)) == (98, 98)
    assert len(set(data.train.images) | set(data.query.images)) == 16185
    # From the .mat files, which list these first: 00001.jpg is of class 14 in cars_train, of 181 in cars_test.
    train, test = (dict(zip(split.images, split.labels.tolist(), strict=True)) for split in (data.train, data.query))
    assert train[SHARED / "stanford_cars" / "cars_train" / "00001.jpg"] == 14 - 1
    assert test[SHARED / "stanford_cars" / "cars_test" / "00001.jpg"] == 181 - 1 - 98


def make_sop(data: Path, test_class: int = 3) -> Path:
    root = data / "sop"
    for split, classes in (("train", (1, 2)), ("test", (test_class, 4))):
        rows = [
            f"{n} {c} 1 bike_final/{split}{c}_{i}.JPG"
            for n, (c, i) in enumerate((c, i) for c in classes for i in range(2))
        ]
        touch(root / f"Ebay_{split}.txt", "\n".join(["image_id class_id super_class_id path", *rows]) + "\n")
        for row in rows:
            touch(root / row.split()[-1])
    return root


def test_sop(tmp_path: Path) -> None:
    make_sop(tmp_path)
    data = load_images(card("sop", "sop", train=(4, 2), test=(4, 2)), tmp_path)
    assert names(data.train) == ["train1_0.JPG", "train1_1.JPG", "train2_0.JPG", "train2_1.JPG"]
    assert data.query.names == ("3", "4")


def test_classes_must_be_disjoint(tmp_path: Path) -> None:
    make_sop(tmp_path, test_class=2)
    with pytest.raises(DataError, match="class '2' is trained on and tested"):
        load_images(card("sop", "sop"), tmp_path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    root = make_sop(tmp_path)
    touch(root / "Ebay_test.txt", "image_id class_id super_class_id path\n1 2 3\n")
    with pytest.raises(DataError, match=r"Ebay_test\.txt, line 2"):
        load_images(card("sop", "sop"), tmp_path)


def make_inshop(data: Path) -> Path:
    root = data / "inshop"
    sets = {"train": ["id_1"] * 2, "query": ["id_3", "id_20"], "gallery": ["id_20", "id_3", "id_3", "id_4"]}
    rows = [(f"img/{s}{n}.jpg", item, s) for s, items in sets.items() for n, item in enumerate(items)]
    lines = ["8", "image_name item_id evaluation_status", *(f"{name}      {item} {s}      " for name, item, s in rows)]
    touch(root / "list_eval_partition.txt", "\n".join(lines) + "\n")
    for name, _, _ in rows:
        touch(root / name)
    return root


def test_inshop_numbers_query_and_gallery_alike(tmp_path: Path) -> None:
    make_inshop(tmp_path)
    data = load_images(card("inshop", "inshop", train=(2, 1), query=(2, 2), gallery=(4, 3)), tmp_path)
    assert data.gallery is not None
    assert data.query.names == data.gallery.names == ("id_3", "id_4", "id_20")
    assert list(zip(names(data.query), data.query.labels.tolist(), strict=True)) == [
        ("query0.jpg", 0),
        ("query1.jpg", 2),
    ]
    assert data.gallery.labels.tolist() == [0, 0, 1, 2]


def test_inshop_subset_takes_the_same_classes(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for split, classes in (("train", "ab"), ("query", "cde"), ("gallery", "fed")):
        make_folder(root / split, dict.fromkeys(classes, 3))
    data = load_images(card("folder", str(root)), tmp_path, "2x2")
    assert data.gallery is not None
    assert data.query.names == data.gallery.names == ("d", "e")
    assert data.query.labels.tolist() == data.gallery.labels.tolist() == [0, 0, 1, 1]
    assert names(data.query) == ["0.jpg", "1.jpg"] * 2


def test_folder_in_natural_order(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own", {"c10": 2, "c2": 12, "c1": 2, "c9": 2, ".hidden": 2})
    touch(root / "c1" / ".0.jpg")
    touch(root / "c1" / "notes.txt")
    touch(root / "readme.jpg")
    (root / "empty").mkdir()
    (root / "c9" / "0.jpg").rename(root / "c9" / "0.PNG")
    data = load_images(card("folder", str(root)), tmp_path)
    assert data.train.names == ("c1", "c2")
    assert data.query.names == ("c9", "c10")
    assert names(data.train) == ["0.jpg", "1.jpg", *(f"{i}.jpg" for i in range(12))]
    assert names(data.query)[0] == "0.PNG"


def test_folder_with_train_and_test(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    make_folder(tmp_path / "test", {"d": 1})
    data = load_images(cards.load_card(str(tmp_path)), tmp_path)
    assert data.train.names == ("a", "b", "c")
    assert data.query.names == ("d",)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "no images of train in .*expected one sub-folder a class"),
        ({"a": 3}, "no images of train in .*expected one sub-folder a class, at least two"),
        ({"a": 1, "b": 1}, "training class 'a' has one image"),
        ({"train/a": 2, "val/b": 2}, "has train/, but neither test/ nor query/ and gallery/"),
        ({"train/a": 2, "test/a": 2}, "class 'a' is trained on and tested"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_images(card("folder", str(make_folder(tmp_path, classes))), tmp_path)


def test_one_image_is_enough_to_be_searched(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a": 2, "b": 1})
    assert len(load_images(card("folder", str(tmp_path)), tmp_path).query) == 1


def test_counts_are_asserted(tmp_path: Path) -> None:
    make_cub(tmp_path)
    with pytest.raises(DataError, match=r"test has 6 images of 2 classes in .*, its card says 7 of 2"):
        load_images(card("cub", "CUB_200_2011", test=(7, 2)), tmp_path)
    with pytest.raises(DataError, match=r"train has 6 images of 2 classes in .*, its card says 6 of 3"):
        load_images(card("cub", "CUB_200_2011", train=(6, 3)), tmp_path)


def test_missing_data_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load_images(cards.load_card("cub"), tmp_path)
    assert f"{tmp_path / 'CUB_200_2011' / 'image_class_labels.txt'} is missing" in str(error.value)
    assert f"python -m benchmark fetch --dataset cub --data {tmp_path}" in str(error.value)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    image = make_cub(tmp_path) / "images" / "9.Bird" / "9_1.jpg"
    image.unlink()
    with pytest.raises(DataError, match=f"{image} is missing"):
        load_images(card("cub", "CUB_200_2011"), tmp_path)


def test_an_image_without_class(tmp_path: Path) -> None:
    root = make_cub(tmp_path)
    touch(root / "image_class_labels.txt", "1 7\n")
    with pytest.raises(DataError, match="image 2 has no class"):
        load_images(card("cub", "CUB_200_2011"), tmp_path)


def test_subset(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own", {"a": 3, "b": 1 + 1, "c": 4, "d": 3, "e": 1, "f": 3})
    data = load_images(card("folder", str(root)), tmp_path, "2x3")
    assert data.train.names == ("a", "c")  # b has two
    assert data.query.names == ("d", "f")
    assert names(data.train) == ["0.jpg", "1.jpg", "2.jpg"] * 2
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UsageError, match=r"3x3 is more than there is: 2 classes of train have 3 images"):
        load_images(card("folder", str(root)), tmp_path, "3x3")
    with pytest.raises(UsageError, match="1 classes of train have 4 images"):
        load_images(card("folder", str(root)), tmp_path, "2x4")
    with pytest.raises(UsageError, match="one image a class"):
        load_images(card("folder", str(root)), tmp_path, "2x1")


def test_counts_hold_before_the_subset(tmp_path: Path) -> None:
    make_cub(tmp_path)
    assert len(load_images(card("cub", "CUB_200_2011", train=(6, 2)), tmp_path, "2x2").train) == 4


def test_fingerprint(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    root = make_cub(here)
    shutil.copytree(here, there)
    own = card("cub", "CUB_200_2011")
    before = load_images(own, here).fingerprint
    assert len(before) == 16 and int(before, 16) >= 0
    assert load_images(own, there).fingerprint == before
    assert load_images(own, here, "2x2").fingerprint != before
    touch(root / "images" / "7.Bird" / "7_0.jpg", "another size")
    resized = load_images(own, here).fingerprint
    assert resized != before


def test_labels_are_in_the_fingerprint(tmp_path: Path) -> None:
    file = make_sop(tmp_path) / "Ebay_test.txt"
    before = load_images(card("sop", "sop"), tmp_path)
    file.write_text(file.read_text().replace("2 4 1", "2 3 1"))
    after = load_images(card("sop", "sop"), tmp_path)
    assert after.query.images == before.query.images
    assert (before.query.labels.tolist(), after.query.labels.tolist()) == ([0, 0, 1, 1], [0, 0, 0, 1])
    assert after.fingerprint != before.fingerprint


def test_holdout_never_touches_test(tmp_path: Path) -> None:
    data = load_images(card("folder", str(make_folder(tmp_path, dict.fromkeys("abcdefghijklmnopqrst", 2)))), tmp_path)
    validation = holdout(data)
    assert validation.train.names == tuple("abcdefgh")
    assert validation.query.names == tuple("ij")
    assert validation.gallery is None
    assert {path.parent.name for path in validation.query.images} == set("ij")
    assert validation.query.labels.tolist() == [0, 0, 1, 1]
    assert {*validation.train.images, *validation.query.images} == set(data.train.images)


def test_folds_hold_out_each_class_once(tmp_path: Path) -> None:
    """Three parts of ten classes; the others train, and what is cached of all training images serves both."""
    data = load_images(card("folder", str(make_folder(tmp_path, dict.fromkeys("abcdefghijklmnopqrst", 2)))), tmp_path)
    held = []
    for fold in ("1/3", "2/3", "3/3"):
        validation = holdout(data, fold)
        held += validation.query.names
        assert sorted((*validation.train.names, *validation.query.names)) == list("abcdefghij")
        for split in (validation.train, validation.query):
            names = split.of_whole(lambda whole: np.array([path.parent.name for path in whole.images]))
            assert names.tolist() == [split.names[label] for label in split.labels]
    assert held == list("abcdefghij")


def test_a_fold_needs_two_classes_a_part(tmp_path: Path) -> None:
    data = load_images(card("folder", str(make_folder(tmp_path, dict.fromkeys("abcdefghij", 2)))), tmp_path)
    with pytest.raises(UsageError, match="5 training classes are too few to hold out 1/3 for validation; at least 6"):
        holdout(data, "1/3")


@pytest.mark.parametrize(("classes", "sides"), [(4, (2, 2)), (5, (3, 2)), (9, (7, 2)), (11, (8, 3))])
def test_holdout_leaves_two_classes_on_either_side(tmp_path: Path, classes: int, sides: tuple[int, int]) -> None:
    data = load_images(
        card("folder", str(make_folder(tmp_path, dict.fromkeys(map(str, range(2 * classes)), 2)))), tmp_path
    )
    validation = holdout(data)
    assert (len(validation.train.names), len(validation.query.names)) == sides


def test_holdout_of_too_few_classes(tmp_path: Path) -> None:
    data = load_images(card("folder", str(make_folder(tmp_path, dict.fromkeys("abcdef", 2)))), tmp_path)
    with pytest.raises(UsageError, match="3 training classes are too few"):
        holdout(data)


def test_a_replacing_card_beside_the_data_is_used(tmp_path: Path) -> None:
    root = make_cub(tmp_path)
    touch(root / cards.BESIDE, "name = 'cub'\ntitle = 'Birds'\nlayout = 'cub'\nfolder = 'CUB_200_2011'\n")
    data = load_images(cards.load_card("cub"), tmp_path)
    assert "reduced" in data.card.title
    assert not data.card.counts


def test_values_are_frozen(tmp_path: Path) -> None:
    data = load_images(card("folder", str(make_folder(tmp_path, {"a": 2, "b": 2}))), tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.gallery = data.query  # type: ignore[misc]
