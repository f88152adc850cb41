"""The blend: a planted best mixture is found, a useless member is left out, and nothing later than the split is touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from core.errors import ArtifactCorrupt, ConfigurationError
from core.progress import Silent
from features.interactions import Interactions
from models import blend_weights
from models.blend import Blend, BlendConfig, Member, fit_members, standardised
from models.blend_weights import learn_weights
from models.evaluation import evaluate
from models.metrics import MISS
from models.popularity import Popularity
from models.protocols import Split, held_out_share, split_at
from models.recommender import Recommender, UserBatch
from models.transitions import Transitions

TWO = (Member("transitions"), Member("popularity"))


def walks(users: int = 60, items: int = 25, length: int = 8, seed: int = 0) -> Interactions:
    """Users step from a start of their own along a ring, all over the same 400 seconds."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        start, began = rng.integers(items), rng.uniform(0, 200)
        rows += [(f"u{user:02d}", f"i{(start + step) % items:02d}", began + 25 * step) for step in range(length)]
    return Interactions.from_columns(*zip(*rows, strict=True))


@dataclass
class Panel:
    """Cases with made-up parts: `quality` says how well each member tells the target."""

    split: Split
    quality: Sequence[float]

    def parts(self, users: UserBatch) -> list[np.ndarray]:
        rng = np.random.default_rng(int(users.now_s.sum() * 1000) % 2**32)
        shape = (len(users), self.split.train.n_items)
        right = np.zeros(shape, np.float32)
        for row in range(len(users)):
            right[row, self.right(users, row)] = 1
        return [(q * right + rng.standard_normal(shape)).astype(np.float32) for q in self.quality]

    def right(self, users: UserBatch, row: int) -> int:
        last = users.items[users.indptr[row + 1] - 1]
        return int((last + 1) % self.split.train.n_items)


def panel(*quality: float) -> tuple[Panel, Split]:
    split = split_at(walks(), 250, 400, mask_seen=False)
    return Panel(split, quality), split


def learned(made: Panel, split: Split):
    return learn_weights(made.parts, split.train.item_ids, split, 10, 10_000, 0, Silent())


def test_two_members_that_know_different_things_both_get_weight_and_beat_the_better_one():
    found = learned(*panel(1.5, 1.2, 0.0))
    assert found.best == 0
    assert found.weights[0] > found.weights[1] > found.weights[2]
    assert sum(found.weights) == pytest.approx(1, abs=1e-3)
    assert found.gain.difference > 0


def test_where_no_mixture_helps_on_other_users_the_best_member_stands_alone():
    found = learned(*panel(6.0, 0.0))
    assert found.weights == (1.0, 0.0)
    assert found.gain.difference <= 0


def test_the_same_seed_finds_the_same_weights_also_from_a_sample_of_the_cases():
    made, split = panel(1.0, 1.0)
    weights = [learn_weights(made.parts, split.train.item_ids, split, 10, 60, 3, Silent()) for _ in range(2)]
    assert weights[0].weights == weights[1].weights


def test_standardised_scores_have_no_scale_of_their_own_and_what_is_not_spoken_of_counts_as_nothing():
    scores = np.array([[1, 2, -np.inf, 3], [-np.inf] * 4, [5, 5, 5, 5], [-2, 1, -np.inf, 0]], np.float32)
    found = standardised(scores)
    assert np.allclose(found, standardised(scores * 100), atol=1e-5)
    assert np.allclose(found[0], standardised(np.array([[1, 2, 0, 3]], np.float32))[0])
    assert (found[1:3] == 0).all()
    assert found[3, 2] == found[3, 0]
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_scores_are_the_weighted_sum_of_the_standardised_members():
    data = walks()
    models = fit_members(TWO, data, 0, Silent())
    blend = Blend.of(models, BlendConfig(TWO, (0.75, 0.25)))
    users = UserBatch.from_sequences(data)[:5]
    expected = 0.75 * standardised(models[0].scores(users)) + 0.25 * standardised(models[1].scores(users))
    assert np.allclose(blend.scores(users), expected, atol=1e-5)
    assert isinstance(blend, Recommender)


def test_members_of_different_items_are_asked_in_their_own_rows():
    left = Transitions.fit(Interactions.from_columns(["u", "u"], ["b", "c"], [1, 2]))
    right = Popularity.fit(Interactions.from_columns(["u", "v", "w"], ["a", "a", "c"], [1, 2, 3]))
    blend = Blend.of([left, right], BlendConfig(TWO, (0.5, 0.5)))
    assert blend.item_ids.tolist() == ["a", "b", "c"]
    users = UserBatch.from_histories([(np.array([0, 1]), np.arange(2), np.ones(2)), (np.zeros(0), [], [])])
    scores = blend.scores(users)
    assert scores[0, 2] > scores[0, 0] > -np.inf  # c follows b and is known to both, a is popular
    assert scores[0, 1] == -np.inf  # nobody speaks for b
    assert scores[1, 0] > scores[1, 2] > -np.inf  # without a history popularity answers
    assert blend.because(users[:1], np.array([[2, 0]], np.int32), 1).tolist() == [[[1], [-1]]]
    found, _ = blend.similar(np.array([0, 1], np.int32), 2)
    assert found.tolist() == [[-1, -1], [2, -1]]
    assert (blend.similar(np.array([1], np.int32), 2, np.array([False, False, True]))[0] == -1).all()


def test_weights_are_learned_from_the_end_of_what_may_be_learned_from_and_members_fitted_on_all_of_it():
    data = walks(users=200)
    blend = Blend.fit(data, BlendConfig(TWO))
    assert blend.weights[0] > 0.5  # who steps along a ring is not led by popularity
    assert blend.config.weights == pytest.approx(blend.weights.tolist())
    whole = Transitions.fit(data)
    assert np.array_equal(blend.models[0].next_items.toarray(), whole.next_items.toarray())
    again = Blend.fit(data, BlendConfig(TWO))
    assert again.config == blend.config


@pytest.mark.parametrize("validation", ["leave-last-out", "held-out"])
def test_data_without_a_clock_is_held_out_in_other_ways(validation):
    data = walks()
    assert Blend.fit(data, BlendConfig(TWO, validation=validation)).weights.sum() == pytest.approx(1, abs=1e-3)


def test_data_too_small_to_be_split_leaves_the_weights_equal_and_given_weights_stand():
    tiny = Interactions.from_columns(["a"], ["x"], [1])
    assert Blend.fit(tiny, BlendConfig(TWO)).weights.tolist() == [1, 1]
    given = Blend.fit(walks(), BlendConfig(TWO, (0.3, 0.7)))
    assert given.weights.tolist() == pytest.approx([0.3, 0.7])


def test_texts_reach_the_members_that_read_them():
    members = (Member("transitions"), Member("content"))
    texts = {"i01": "red silk", "new": "red silk"}
    blend = Blend.fit(walks(), BlendConfig(members, (0.5, 0.5)), texts=texts)
    assert "new" in blend.item_ids
    row = np.searchsorted(blend.item_ids, "i01")
    users = UserBatch.from_histories([(np.array([row]), np.zeros(1), np.ones(1))])
    assert blend.scores(users)[0, np.searchsorted(blend.item_ids, "new")] > 0


def test_a_member_that_does_not_exist_or_is_set_up_wrongly_is_refused_with_what_to_do():
    data = walks()
    with pytest.raises(ConfigurationError, match="choose from"):
        Blend.fit(data, BlendConfig((Member("oracle"),), (1.0,)))
    with pytest.raises(ConfigurationError, match="member transitions"):
        Blend.fit(data, BlendConfig((Member("transitions", {"window": "wide"}),), (1.0,)))
    with pytest.raises(ConfigurationError, match="give one each"):
        Blend.fit(data, BlendConfig(TWO, (1.0,)))


def test_a_saved_blend_comes_back_with_its_members_and_their_weights(tmp_path):
    blend = Blend.fit(walks(), BlendConfig((Member("transitions", {"window": 3}), Member("repeat")), (0.6, 0.4)))
    blend.save(tmp_path)
    loaded = Blend.load(tmp_path)
    users = UserBatch.from_sequences(walks())[:4]
    assert np.array_equal(loaded.scores(users), blend.scores(users))
    assert loaded.config == blend.config
    assert loaded.models[0].config.window == 3


def test_a_folder_with_a_member_missing_or_another_number_of_weights_is_refused(tmp_path):
    blend = Blend.fit(walks(), BlendConfig(TWO, (0.6, 0.4)))
    blend.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_bytes())
    about["config"]["members"].pop()
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactCorrupt, match="does not fit"):
        Blend.load(tmp_path)
    blend.save(tmp_path)
    (tmp_path / "member-1" / "model.json").unlink()
    with pytest.raises(ArtifactCorrupt, match="member-1"):
        Blend.load(tmp_path)


def test_candidates_rank_a_target_as_the_whole_list_does():
    split = split_at(walks(users=200, items=150), 250, 400, mask_seen=True)
    models = fit_members(TWO, split.train, 0, Silent())
    blend = Blend.of(models, BlendConfig(TWO))
    board = blend_weights._board(blend.parts, blend.item_ids, split, 10_000, 0, Silent())
    for at, row in enumerate(evaluate({"transitions": models[0], "popularity": models[1]}, split)):
        known = row.ranks < MISS  # a target that no member knows is left out
        assert board.values(np.eye(2)[at], 10).sum() == pytest.approx(row.values["ndcg@10"][known].sum(), abs=0.02)
    weighted = Blend.of(models, BlendConfig(TWO, (0.3, 0.7)))
    row = evaluate({"blend": weighted}, split)[0]
    assert board.values(np.array([0.3, 0.7]), 10).sum() == pytest.approx(row.values["ndcg@10"].sum(), abs=0.02)


def test_with_several_targets_a_case_each_is_ranked_and_none_hides_another():
    split = held_out_share(walks(users=100), 0.5)
    models = fit_members(TWO, split.train, 0, Silent())
    blend = Blend.of(models, BlendConfig(TWO))
    board = blend_weights._board(blend.parts, blend.item_ids, split, 10_000, 0, Silent())
    row = evaluate({"transitions": models[0]}, split, ("ndcg@10",))[0]
    assert board.values(np.array([1.0, 0.0]), 10).mean() == pytest.approx(row.metrics["ndcg@10"], abs=0.01)


def test_what_members_say_of_trained_items_does_not_change_with_items_that_nobody_speaks_of():
    scores = np.array([[3, 1, -np.inf, 2], [-1, -2, -3, -4]], np.float32)
    before = standardised(scores)
    wider = np.insert(scores, 2, -np.inf, axis=1)
    trained = np.array([True, True, False, True, True])
    after = standardised(wider, trained)
    assert np.allclose(after[:, trained], before, atol=1e-6)
    assert np.allclose(after[:, 2], before.min(axis=1), atol=1e-6)


def test_a_blend_given_items_it_was_not_trained_on_names_them_from_the_history_and_keeps_its_weights():
    data = Interactions.from_columns([*"aabb"], [*"xyxy"], range(4))
    blend = Blend.fit(data, BlendConfig((Member("transitions"), Member("repeat")), (0.5, 0.5)))
    grown = blend.with_items(np.array(["new", "y"], dtype=np.object_))
    assert grown.item_ids.tolist() == ["new", "x", "y"]
    assert grown.weights.tolist() == [0.5, 0.5]
    users = UserBatch.from_histories([(np.array([1, 0]), np.arange(2), np.ones(2))])
    assert np.isfinite(grown.scores(users)[0, 0])
    assert grown.recommend(users, 1)[0].tolist() == [[0]]
    assert grown.scores(UserBatch.from_histories([(np.array([1]), np.zeros(1), np.ones(1))]))[0, 0] == -np.inf
