"""What lists are made of, against figures computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.interactions import Interactions
from models.evaluation import evaluate
from models.item_features import ItemFeatures
from models.list_quality import STECK_ALPHA, ListMeter, divergence
from models.popularity import Popularity
from models.protocols import split_at
from models.recommender import UserBatch

# 8 users; a is had by 8 of them, b by 4, c by 2, d by 1, e by 1
HOLDERS = {"a": 8, "b": 4, "c": 2, "d": 1, "e": 1}


FEATURES = ItemFeatures(categories={"x": ("g",), "y": ("g",)})


def train() -> Interactions:
    pairs = [(f"u{user}", item) for item, n in HOLDERS.items() for user in range(n)]
    users, items = zip(*pairs, strict=True)
    return Interactions.from_columns(users, items, range(len(pairs)))


def batch(*histories: list[int]) -> UserBatch:
    return UserBatch.from_histories([(np.array(h, np.int32), np.arange(len(h)), np.ones(len(h))) for h in histories])


def measured(histories: list[list[int]], lists: list[list[int]], features: ItemFeatures | None = None):
    meter = ListMeter(train().item_ids, train(), features)
    meter.add(batch(*histories), np.array(lists, np.int32))
    return meter.quality(5)


def test_novelty_is_the_bits_of_how_rare_an_entry_is_and_coverage_what_anyone_is_shown():
    found = measured([[0], [0]], [[0, 1], [2, 3]])
    assert found.novelty_bits == pytest.approx((0 + 1 + 2 + 3) / 4)
    assert found.coverage == 4 / 5
    assert found.miscalibration is None


def test_an_item_had_twice_by_one_user_has_one_holder():
    twice = Interactions.from_columns(["u", "u", "v"], ["x", "x", "y"], [0, 1, 2])
    meter = ListMeter(twice.item_ids, twice)
    meter.add(batch([0]), np.array([[0]], np.int32))
    assert meter.quality(2).novelty_bits == pytest.approx(1.0)


def test_popularity_lift_is_how_much_more_popular_the_lists_are_than_the_histories():
    # lists: (8 + 4) / 2 = 6 and 2; histories: 2 and (4 + 2) / 2 = 3; lift = (4 - 2.5) / 2.5
    assert measured([[2], [1, 2]], [[0, 1], [2, -1]]).popularity_lift == pytest.approx(0.6)
    assert measured([[0]], [[0]]).popularity_lift == 0
    # a user without a history cannot be compared and is left out
    assert measured([[0], []], [[0], [4]]).popularity_lift == 0
    assert measured([[]], [[0]]).popularity_lift is None


def test_the_tail_is_all_but_the_most_popular_fifth():
    assert measured([[0], [0]], [[0, 1], [0, 4]]).tail_share == 0.5  # a alone is the head of five items


def test_calibration_is_the_divergence_of_the_categories_shown_from_those_of_the_history():
    features = ItemFeatures(categories={"a": ("red",), "b": ("blue",), "c": ("red", "blue")})
    # history a and b: half red, half blue. shown a and c: 3/4 red, 1/4 blue
    red, blue = 0.99 * 0.75 + 0.01 * 0.5, 0.99 * 0.25 + 0.01 * 0.5
    expected = 0.5 * math.log(0.5 / red) + 0.5 * math.log(0.5 / blue)
    found = measured([[0, 1], [], [0]], [[0, 2], [0, 1], [3, 4]], features)  # the others have nothing to compare
    assert found.miscalibration == pytest.approx(expected)
    same = measured([[0, 1]], [[2, -1]], features).miscalibration
    assert same == pytest.approx(0, abs=1e-12)


def test_a_list_without_any_category_of_the_history_is_as_far_off_as_can_be():
    shown, had = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert divergence(had, shown)[0] == pytest.approx(-math.log(STECK_ALPHA))


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=2, max_size=2))
def test_divergence_is_never_negative_and_nothing_for_the_same_mixture(rows):
    had, shown = (np.array([row]) / sum(row) for row in rows)
    assert divergence(had, shown)[0] >= -1e-12
    assert divergence(had, had)[0] == pytest.approx(0, abs=1e-12)


def test_nothing_shown_is_nothing_measured():
    found = measured([[0]], [[-1, -1]])
    assert (found.coverage, found.novelty_bits, found.popularity_lift, found.tail_share) == (0, None, None, None)


def test_cold_and_warm_users_and_items_are_told_apart_in_a_row():
    users = ["a", "a", "b", "a", "b", "c", "c"]
    items = ["x", "y", "x", "new", "y", "x", "y"]
    split = split_at(Interactions.from_columns(users, items, range(7)), 3)
    row = evaluate({"popularity": Popularity.fit}, split, ("hr@2",), features=FEATURES)[0]
    found = {label: (part.cases, part.targets, part.metrics["hr@2"]) for label, part in row.segments.items()}
    assert found == {
        "cold users": (2, 2, 1.0), "warm users": (2, 2, 0.5), "cold items": (1, 1, 0.0), "warm items": (3, 3, 1.0),
    }  # fmt: skip
    assert row.lists is not None
    assert row.as_json()["lists"]["miscalibration"] is not None
    assert row.as_json()["segments"]["cold items"] == {"cases": 1, "targets": 1, "metrics": {"hr@2": 0.0}}
