"""The page of a search: what is nearest, by the names and distances that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.gallery.search import search_page


def test_the_nearest_are_shown_but_the_query_itself(tmp_path: Path) -> None:
    """A gallery on a line at 0, 1, 3 and 7, and queries at 0 (an image of it) and at 6."""
    paths = [tmp_path / f"{place}.png" for place in (0, 1, 3, 7, 6)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    places = np.array([[0.0], [1.0], [3.0], [7.0], [6.0]], np.float32)
    gallery, queries = paths[:4], [paths[0], paths[4]]
    page = search_page("a <b>", queries, gallery, (places[[0, 4]], places[:4]), "l2", 2)
    shown = re.findall(r'alt="(?:query )?[^"/]*/(\d)\.png"', page)
    assert shown == ["0", "1", "3", "6", "7", "3"]
    assert re.findall(r"<br>(\S+)</p>", page) == ["1.000", "3.000", "1.000", "3.000"]
    assert "a &lt;b&gt;" in page and "Euclidean" in page


def test_similarities_of_directions(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in "abcq"]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    rows = np.array([[3, 0], [0, 2], [5, 5]], np.float32)
    page = search_page("n", paths[3:], paths[:3], (rows[:1], rows), "cosine", 3)
    assert re.findall(r"<br>(\S+)</p>", page) == ["1.000", "0.707", "0.000"]
