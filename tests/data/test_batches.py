"""Sampling and cropping are functions of stream and step, and fill every batch."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.batches import Batches, Sampler, centre_crop, check_batches
from benchmark.errors import UsageError
from benchmark.spec import Stream


def images(n: int, size: int = 6) -> np.ndarray:
    """Every pixel names its image, row and column."""
    image, row, column = np.meshgrid(np.arange(n), np.arange(size), np.arange(size), indexing="ij")
    return np.stack([image, row, column], axis=3).astype(np.uint8)


def stream(**changes: object) -> Stream:
    base = {"dataset": "x", "batch": 12, "per_class": 3, "resize": 6, "image": 4}
    return Stream.model_validate({**base, **changes})


LABELS = np.repeat(np.arange(8), 5)


@given(
    counts=st.lists(st.integers(2, 9), min_size=1, max_size=12),
    batch=st.integers(2, 24),
    per_class=st.integers(2, 6),
    step=st.integers(0, 1000),
)
@settings(deadline=None)
def test_a_batch_is_full_has_no_image_twice_and_few_of_a_class(
    counts: list[int], batch: int, per_class: int, step: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    if per_class > batch:
        return
    where = stream(batch=batch, per_class=per_class)
    if np.minimum(counts, per_class).sum() < batch:
        with pytest.raises(UsageError, match="a batch of") as raised:
            Batches(images(len(labels)), labels, where)
        advice = {key: int(value) for key, value in re.findall(r"--set (\w+)=(\d+)", str(raised.value))}
        check_batches(labels, stream(**{"batch": batch, "per_class": per_class, **advice}))
        return
    rows = Batches(images(len(labels)), labels, where).index(step)
    assert len(rows) == batch == len(set(rows))
    assert np.bincount(labels[rows]).max() <= per_class


def test_classes_come_in_groups_of_per_class() -> None:
    rows = Batches(images(40), LABELS, stream()).index(3)
    assert sorted(np.bincount(LABELS[rows])[np.unique(LABELS[rows])]) == [3, 3, 3, 3]


def test_equal_streams_draw_equal_batches_whatever_was_drawn_before() -> None:
    one, other = (Batches(images(40), LABELS, stream()) for _ in range(2))
    one(0), one(1)
    for mine, theirs in zip(one(7), other(7), strict=True):
        assert np.array_equal(mine, theirs)
    assert not np.array_equal(one(7)[2], one(8)[2])
    assert not np.array_equal(one(7)[2], Batches(images(40), LABELS, stream(seed=1))(7)[2])


def test_crops_are_windows_of_their_image_and_half_are_mirrored() -> None:
    mirrored, corners = [], set()
    draw = Batches(images(40), LABELS, stream())
    for step in range(100):
        pixels, labels, rows = draw(step)
        assert pixels.shape == (12, 4, 4, 3) and pixels.dtype == np.uint8
        assert np.array_equal(labels, LABELS[rows])
        for crop, row in zip(pixels, rows, strict=True):
            assert (crop[..., 0] == row).all()
            columns = crop[0, :, 2].astype(int)
            mirrored.append(columns[0] > columns[-1])
            assert (np.abs(np.diff(columns)) == 1).all() and (np.diff(crop[:, 0, 1].astype(int)) == 1).all()
            corners.add((int(crop[0, 0, 1]), int(columns.min())))
    assert 0.42 < np.mean(mirrored) < 0.58
    assert corners == {(top, left) for top in range(3) for left in range(3)}  # both edges are reached


def test_no_mirroring_where_it_is_switched_off() -> None:
    draw = Batches(images(40), LABELS, stream(flip=False))
    for step in range(20):
        assert (np.diff(draw(step)[0][..., 2].astype(int), axis=2) == 1).all()


def test_all_classes_and_images_are_drawn_evenly() -> None:
    draw = Batches(images(40), LABELS, stream())
    counts = np.bincount(np.concatenate([draw.index(step) for step in range(400)]), minlength=40)
    assert counts.min() > 80 and counts.max() < 165  # 120 expected, standard deviation about 9


def test_rows_without_labels_are_drawn_evenly_and_once() -> None:
    sampler = Sampler(np.arange(40), stream())
    rows = np.stack([sampler.index(step) for step in range(400)])
    assert rows.shape == (400, 12) and all(len(set(row)) == 12 for row in rows)
    counts = np.bincount(rows.ravel(), minlength=40)
    assert counts.min() > 80 and counts.max() < 165  # as with classes
    assert np.array_equal(Sampler(np.arange(40), stream()).index(7), rows[7])
    with pytest.raises(UsageError, match="9 of 9 classes: --set batch=9"):
        Sampler(np.arange(9), stream())


def test_a_batch_of_millions_of_rows_costs_nothing() -> None:
    sampler = Sampler(np.arange(20_000_000), stream())
    started = time.perf_counter()
    for step in range(100):
        sampler.index(step)
    assert time.perf_counter() - started < 2  # a permutation of all of them takes that long once


def test_the_centre_crop_is_the_centre() -> None:
    assert centre_crop(images(2), 4)[1, :, :, 1:].tolist() == images(2)[1, 1:5, 1:5, 1:].tolist()
