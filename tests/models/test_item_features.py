"""Item features: read from a folder, dated, and categories as shares."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidRequest
from models.item_features import ItemFeatures


def folder(path: Path, lines: str) -> Path:
    with gzip.open(path / "items.csv.gz", "wt") as file:
        file.write(lines)
    return path


def test_texts_and_categories_are_read_and_a_line_without_a_date_was_always_known(tmp_path):
    lines = "item,title,categories,timestamp\n1,Red silk,a|b|a,5\n2,Blue,,\n"
    found = ItemFeatures.from_folder(folder(tmp_path, lines))
    assert found.texts["1"].split() == ["Red", "silk", "a", "b", "a"]
    assert found.categories == {"1": ("a", "b"), "2": ()}
    assert found.since_s == {"1": 5.0}


def test_as_of_a_time_nothing_later_is_left():
    features = ItemFeatures({"x": "x", "y": "y", "z": "z"}, {"x": ("a",), "y": ("b",)}, {"x": 1.0, "y": 2.0})
    known = features.as_of(2.0)
    assert (set(known.texts), set(known.categories), known.later_than(2.0)) == ({"x", "z"}, {"x"}, set())
    assert features.as_of(None) is features
    assert features.as_of(3.0) is features


def test_an_item_in_several_categories_counts_in_each_by_its_share():
    features = ItemFeatures(categories={"x": ("a", "b"), "y": ("b",)})
    found = features.memberships(np.array(["w", "x", "y"], dtype=np.object_)).toarray()
    assert found.tolist() == [[0, 0], [0.5, 0.5], [0, 1]]


def test_a_folder_without_items_knows_nothing_and_one_that_cannot_be_read_says_why(tmp_path):
    assert ItemFeatures.from_folder(tmp_path) == ItemFeatures()
    with pytest.raises(InvalidRequest, match="no column item"):
        ItemFeatures.from_folder(folder(tmp_path, "id,title\n1,x\n"))
    with pytest.raises(InvalidRequest, match="number of seconds"):
        ItemFeatures.from_folder(folder(tmp_path, "item,timestamp\n1,yesterday\n"))
