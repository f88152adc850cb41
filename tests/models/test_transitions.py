"""Transitions: counts by hand, by brute force, in pieces; and what each part of the configuration does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.interactions import Interactions
from models import step_counts, transitions
from models.recommender import UserBatch
from models.transitions import Transitions, TransitionsConfig

PLAIN = TransitionsConfig(
    window=2, distance_power=1.0, reverse_share=0.0, from_power=0.0, to_power=0.0, neighbours=100, recency=0.5
)


def sequences(*walks: str) -> Interactions:
    """One user a walk; every letter is an item."""
    rows = [(f"u{user}", item, time) for user, walk in enumerate(walks) for time, item in enumerate(walk)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def asking(model: Transitions, walk: str) -> UserBatch:
    rows = np.searchsorted(model.item_ids, list(walk)).astype(np.int32)
    return UserBatch.from_histories([(rows, np.arange(len(walk)), np.ones(len(walk)))])


def strength(model: Transitions) -> dict[str, float]:
    found = model.next_items.tocoo()
    return {
        model.item_ids[r] + model.item_ids[c]: float(v)
        for r, c, v in zip(found.row, found.col, found.data, strict=True)
    }


def test_a_step_counts_by_the_inverse_of_its_distance_within_the_window():
    assert strength(Transitions.fit(sequences("abcd", "ab"), PLAIN)) == {
        "ab": 2, "ac": 0.5, "bc": 1, "bd": 0.5, "cd": 1,
    }  # fmt: skip


def test_steps_do_not_cross_from_one_user_to_the_next_nor_lead_to_the_item_itself():
    assert strength(Transitions.fit(sequences("ab", "cd", "eef"), PLAIN)) == {"ab": 1, "cd": 1, "ef": 1.5}


def test_a_share_of_the_way_back_counts_too():
    found = strength(Transitions.fit(sequences("ab"), replace(PLAIN, reverse_share=0.25)))
    assert found == {"ab": 1, "ba": 0.25}


def test_powers_of_the_totals_out_of_and_into_an_item_are_divided_out():
    found = strength(
        Transitions.fit(sequences("ab", "ab", "ab", "ab", "cb"), replace(PLAIN, from_power=0.5, to_power=1.0))
    )
    assert found == pytest.approx({"ab": 4 / 2 / 5, "cb": 1 / 1 / 5})


def test_only_the_strongest_successors_are_kept_and_ties_go_to_the_lower_row():
    found = strength(Transitions.fit(sequences("ab", "ab", "ac", "ad"), replace(PLAIN, neighbours=2)))
    assert found == {"ab": 2, "ac": 1}


def test_an_interaction_of_more_weight_makes_a_stronger_step():
    data = Interactions.from_columns(
        ["u"] * 2 + ["v"] * 2, ["a", "b", "a", "c"], [1, 2, 1, 2], ["view", "purchase", "view", "view"]
    )
    assert strength(Transitions.fit(data, PLAIN)) == {"ab": 3, "ac": 1}


def test_the_history_counts_less_the_further_back_it_lies():
    model = Transitions.fit(sequences("ax", "by"), PLAIN)
    scores = dict(zip(model.item_ids, model.scores(asking(model, "ab"))[0], strict=True))
    assert (scores["x"], scores["y"], scores["a"]) == (0.5, 1, -np.inf)
    short = Transitions.fit(sequences("ax", "by"), replace(PLAIN, history=1))
    assert short.recommend(asking(short, "ab"), 2)[0].tolist() == [[3, -1]]


def test_repeat_brings_the_users_own_items_back_and_is_off_by_default():
    data = sequences("ab", "ab", "ca")
    assert TransitionsConfig().repeat == 0
    off, on = Transitions.fit(data, PLAIN), Transitions.fit(data, replace(PLAIN, repeat=2.0))
    assert off.recommend(asking(off, "a"), 2)[0].tolist() == [[1, -1]]
    assert on.recommend(asking(on, "a"), 2)[0].tolist() == [[0, 1]]
    assert on.because(asking(on, "a"), np.array([[0, 1]], np.int32), 1).tolist() == [[[0], [0]]]
    assert on.similar(np.array([0], np.int32), 2)[0].tolist() == [[1, -1]]


def test_because_is_ordered_by_what_each_item_gave_to_the_score():
    model = Transitions.fit(sequences("ax", "ax", "ax", "bx", "cy"), PLAIN)
    named = model.because(asking(model, "abc"), np.array([[3, 4]], np.int32), 3)  # a gives 3/4, b gives 1/2
    assert model.item_ids[named[0, 0, :2]].tolist() == ["a", "b"]
    assert named[0, 0, 2] == -1
    assert model.item_ids[named[0, 1, 0]] == "c"


WALKS = st.lists(st.text("abcdef", min_size=1, max_size=12), min_size=1, max_size=8)


@settings(max_examples=60)
@given(WALKS, st.integers(1, 5), st.integers(1, 12))
def test_counting_in_pieces_agrees_with_counting_pair_by_pair(walks, window, pairs_at_once):
    config = replace(PLAIN, window=window, distance_power=0.7)
    expected: dict[str, float] = {}
    for walk in walks:
        for at, item in enumerate(walk):
            for distance, after in enumerate(walk[at + 1 : at + 1 + window], 1):
                if after != item:
                    expected[item + after] = expected.get(item + after, 0) + distance**-0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_counts, "PAIRS_AT_ONCE", pairs_at_once)
        patch.setattr(transitions, "ENTRIES_AT_ONCE", pairs_at_once)
        found = strength(Transitions.fit(sequences(*walks), config))
    assert found == pytest.approx(expected)
