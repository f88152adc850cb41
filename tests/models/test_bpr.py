"""BPR: pairs end up in order, and a user is the mean of the history, scaled as training scales its own users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.gpu import HAS_CUDA
from scipy import sparse

from core.errors import ArtifactCorrupt, ConfigurationError
from features.interactions import Interactions
from models import bpr
from models.bpr import BPR, BPRConfig
from models.recommender import UserBatch, load_model, save_model

CONFIG = BPRConfig(factors=6, iterations=150, history=5, recency=0.5)


def two_tastes() -> Interactions:
    """Users of one taste have most of items 0-9, those of the other most of 10-19; item 20 is had by nobody but for a dislike."""
    rng = np.random.default_rng(1)
    pairs = [(f"u{u:02d}", f"i{10 * (u % 2) + i:02d}") for u in range(40) for i in rng.permutation(10)[:7]]
    users, items = zip(*pairs, ("u00", "i20"), strict=True)
    return Interactions.from_columns(users, items, range(len(users)), ["like"] * len(pairs) + ["dislike"])


@pytest.fixture(scope="module")
def model() -> BPR:
    return BPR.fit(two_tastes(), CONFIG)


def asking(*walks: list[int]) -> UserBatch:
    return UserBatch.from_histories([(walk, np.arange(len(walk)), np.ones(len(walk))) for walk in walks])


def test_what_a_user_has_stands_above_what_the_other_taste_has(model):
    data = two_tastes().positives()
    scores = model.scores(UserBatch.from_sequences(data))
    own = np.arange(20) // 10 == np.arange(40)[:, None] % 2
    assert scores[:, :20][own].min() > scores[:, :20][~own].max()


def test_a_user_is_the_recent_part_of_the_history_scaled_by_the_gain(model):
    walk = [19, 3, 4, 12, 4, 7]  # the first is too long ago
    weight = 0.5 ** np.arange(5)[::-1]
    expected = model.gain[0] * weight @ model.factors[walk[1:]] / weight.sum()
    assert np.allclose(model.encode(asking(walk))[0], [*expected, 1], atol=1e-6)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.floats(0.1, 50))
def test_only_the_proportions_of_the_weights_count(model, walk, times):
    plain = [(walk, np.arange(len(walk)), np.ones(len(walk)))]
    scaled = [(walk, np.arange(len(walk)), np.full(len(walk), times))]
    alike = [model.encode(UserBatch.from_histories(one)) for one in (plain, scaled)]
    assert np.allclose(*alike, atol=1e-5)


def test_the_gain_is_the_least_squares_fit_of_the_users_of_training():
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(8, 3)).astype(np.float32)
    matrix = sparse.csr_matrix(rng.integers(0, 3, (12, 8)).astype(np.float32))
    means = (matrix.toarray() > 0) @ factors / np.maximum(np.count_nonzero(matrix.toarray(), axis=1), 1)[:, None]
    users = 2.5 * means + rng.normal(0, 0.1, means.shape)
    best, *_ = np.linalg.lstsq(means.reshape(-1, 1), users.ravel(), rcond=None)
    assert bpr._gain(users, factors, matrix) == pytest.approx(best, rel=1e-4)


def test_shares_of_the_history_and_the_bias_add_up_to_the_score_and_the_largest_is_named(model):
    walk = [1, 14, 3]
    users = asking(walk)
    share = model._weight(users) * (model.factors[walk] @ model.factors.T).T  # (n_items, 3)
    assert np.allclose(share.sum(axis=1) + model.bias, model.scores(users)[0], atol=1e-5)
    named = model.because(users, np.arange(21, dtype=np.int32)[None], 1)[0, :, 0]
    largest = np.where(share.max(axis=1) > 0, np.array(walk)[share.argmax(axis=1)], -1)
    assert np.array_equal(named, largest)


def test_an_item_that_nobody_wanted_stands_below_all_others_for_everyone(model):
    scores = model.scores(asking([1], [14], [1, 2, 14]))
    assert (scores[:, 20:] < scores[:, :20]).all()


def test_another_seed_gives_another_model():
    other = BPR.fit(two_tastes(), CONFIG, seed=1)
    assert not np.array_equal(other.factors, BPR.fit(two_tastes(), CONFIG).factors)


def test_arrays_that_do_not_fit_each_other_are_refused(model, tmp_path):
    model.save(tmp_path)
    arrays = load_model(tmp_path, "bpr", ()).arrays
    save_model(tmp_path, model, {**arrays, "bias": arrays["bias"][:-1]})
    with pytest.raises(ArtifactCorrupt, match="fit"):
        BPR.load(tmp_path)


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU, so asking for one is no error")
def test_asking_for_a_gpu_that_is_not_there_says_what_to_do():
    with pytest.raises(ConfigurationError, match="device auto or cpu"):
        BPR.fit(two_tastes(), BPRConfig(device="cuda"))


@pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU, or rmm is not installed")
def test_on_a_gpu_pairs_end_up_in_order_too():
    data = two_tastes()
    scores = BPR.fit(data, BPRConfig(factors=6, device="cuda")).scores(UserBatch.from_sequences(data))
    own = np.arange(20) // 10 == np.arange(40)[:, None] % 2
    assert scores[:, :20][own].min() > scores[:, :20][~own].max()
