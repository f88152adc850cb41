"""The training bench: what its figures are made of."""

from __future__ import annotations

import numpy as np
import pytest

from bench.train import Cases, Curve, Pair, Point, page, prepared
from features.interactions import Interactions
from models.recommender import UserBatch


def walks() -> Interactions:
    """40 users, each with 5 of 9 items in order."""
    rows = [(f"u{u:02d}", f"i{(u + step) % 9}", step) for u in range(40) for step in range(5)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def test_the_targets_are_the_last_but_one_which_nobody_learns_from():
    data, cases = prepared(walks(), 40, 100)
    assert len(data) == 40 * 3
    assert len(cases.target) == 40
    for row, target in zip(cases.users.rows, cases.target, strict=True):
        assert data.item_ids[target] == f"i{(int(data.user_ids[row][1:]) + 3) % 9}"
    assert np.diff(cases.users.indptr).tolist() == [3] * 40


def test_fewer_users_are_learned_from_and_fewer_asked_where_that_is_wanted():
    data, cases = prepared(walks(), 10, 4)
    assert data.n_users == 10
    assert len(cases.target) == 4
    assert (cases.users.rows >= 0).all()


def test_ndcg_looks_at_the_place_of_the_target_and_an_item_that_is_not_known_is_a_miss():
    users = UserBatch.from_histories([([0], [0.0], [1.0])] * 4)
    cases = Cases(users, np.array([7, 8, 3, -1], np.int32))
    lists = np.full((4, 10), -1)
    lists[0, 0], lists[1, 2], lists[2, 0] = 7, 8, 5
    assert cases.ndcg(lists) == pytest.approx((1 + 1 / 2) / 4)


def test_a_page_says_when_each_side_was_as_good_as_the_library_in_the_end_and_why_one_is_missing():
    users = UserBatch.from_histories([([0], [0.0], [1.0])])
    cases = Cases(users, np.array([0], np.int32))
    ours = Curve("ours", 100, (Point(1, 2.0, 0.1), Point(2, 4.0, 0.2), Point(4, 8.0, 0.201)))
    theirs = Curve("theirs", 100, (Point(1, 10.0, 0.05), Point(4, 40.0, 0.1)))
    text = page("some data", walks(), cases, [(Pair("a", (ours,), (theirs,)), 40), (Pair("b", (ours,), (), "none"), 9)])
    assert "| ours | 4 | 50 | 8.0 | 0.2010 | 4.0 | 2.0 |" in text
    assert "| theirs | 4 | 10 | 40.0 | 0.1000 | 40.0 | 40.0 |" in text
    assert "ours has 5.00 times the rate of theirs" in text
    assert "skipped, none" in text
