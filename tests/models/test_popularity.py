"""Popularity: counts of all time, and trends that fade."""

from __future__ import annotations

import numpy as np
import pytest

from features.interactions import Interactions
from models.popularity import DAY_S, Popularity, PopularityConfig
from models.recommender import UserBatch

NOBODY = UserBatch.from_histories([([], [], [])])


def old_and_new() -> Interactions:
    """Item "old" was bought 3 times 14 days ago, "new" viewed twice today, "hated" only disliked."""
    users = ["a", "b", "c", "a", "b", "c"]
    items = ["old", "old", "old", "new", "new", "hated"]
    days = [0, 0, 0, 14, 14, 14]
    kinds = ["purchase"] * 3 + ["view"] * 2 + ["dislike"]
    return Interactions.from_columns(users, items, np.array(days) * DAY_S, kinds)


def test_popular_sums_weights_and_trending_halves_them_every_half_life():
    model = Popularity.fit(old_and_new(), PopularityConfig(half_life_days=7))
    assert dict(zip(model.item_ids, model.popular, strict=True)) == {"hated": 0, "new": 2, "old": 9}
    assert dict(zip(model.item_ids, model.trending, strict=True)) == {"hated": 0, "new": 2, "old": 9 / 4}


@pytest.mark.parametrize(
    ("ranking", "half_life_days", "first"), [("popular", 7, "old"), ("trending", 7, "old"), ("trending", 2, "new")]
)
def test_the_configured_ranking_answers_everyone_and_leaves_the_unwanted_out(ranking, half_life_days, first):
    model = Popularity.fit(old_and_new(), PopularityConfig(ranking, half_life_days))
    found, _ = model.recommend(NOBODY, 3)
    assert model.item_ids[found[0, 0]] == first
    assert found[0, 2] == -1
