"""Repeat: chances counted by hand, and that only one's own items come back."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ArtifactCorrupt, Conflict
from features.interactions import Interactions
from models.recommender import Recommender, UserBatch
from models.repeat import Repeat, RepeatConfig

PLAIN = RepeatConfig(history=3, prior=0.0)


def sequences(*walks: str) -> Interactions:
    rows = [(f"u{user}", item, time) for user, walk in enumerate(walks) for time, item in enumerate(walk)]
    return Interactions.from_columns(*zip(*rows, strict=True))


def asking(*walks: list[int]) -> UserBatch:
    return UserBatch.from_histories([(np.array(w, np.int32), np.arange(len(w)), np.ones(len(w))) for w in walks])


def test_the_chance_of_a_return_is_counted_by_how_long_ago():
    # one step back, 4 could and 1 did (bb); two back, 2 could and 1 did (a); three back, none could
    model = Repeat.fit(sequences("abb", "aca"), RepeatConfig(history=3, prior=1e-9))
    assert model.chance.tolist() == pytest.approx([1 / 4, 1 / 2, model.chance[2]])


def test_with_little_seen_a_chance_falls_with_time_by_the_prior():
    model = Repeat.fit(sequences("ab", "cdc"), RepeatConfig(history=5, prior=100.0))
    assert (np.diff(model.chance) < 0).all()


def test_only_ones_own_items_come_back_those_met_twice_with_both_chances():
    model = Repeat.fit(sequences("abcab", "cdcdc"), RepeatConfig(history=4))
    found, scores = model.recommend(asking([0, 1, 0], [], [3]), 3)
    assert found.tolist() == [[0, 1, -1], [-1, -1, -1], [3, -1, -1]]
    assert scores[0, 0] == pytest.approx(model.chance[0] + model.chance[2])
    assert (model.scores(asking([])) == -np.inf).all()


def test_what_lies_further_back_than_the_history_or_is_excluded_does_not_come_back():
    model = Repeat.fit(sequences("abcab"), RepeatConfig(history=2))
    assert sorted(model.recommend(asking([0, 1, 2]), 3)[0][0].tolist()) == [-1, 1, 2]
    assert model.recommend(asking([0, 1, 2]), 3, np.array([False, True, False]))[0].tolist() == [[2, -1, -1]]


def test_the_reason_is_the_item_itself_and_nothing_is_similar():
    model = Repeat.fit(sequences("abcab"))
    assert model.because(asking([0, 1]), np.array([[1, 2, -1]], np.int32), 1).tolist() == [[[1], [-1], [-1]]]
    assert (model.similar(np.array([0], np.int32), 2)[0] == -1).all()


def test_it_keeps_the_contract_and_comes_back_from_disk(tmp_path):
    model = Repeat.fit(sequences("abcab"), RepeatConfig(history=7))
    assert isinstance(model, Recommender)
    model.save(tmp_path)
    loaded = Repeat.load(tmp_path)
    assert np.array_equal(loaded.scores(asking([0, 1])), model.scores(asking([0, 1])))
    (tmp_path / "model.json").write_text('{"name":"repeat","config":{"history":9},"trained_until_s":1}')
    with pytest.raises(ArtifactCorrupt, match="does not fit"):
        Repeat.load(tmp_path)
    with pytest.raises(Conflict):
        Repeat.fit(Interactions.from_columns([], [], []))
