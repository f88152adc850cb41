"""ALS: folding in solves what it says it solves, and its explanations add up to its scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from implicit.gpu import HAS_CUDA

from core.errors import ConfigurationError
from features.interactions import Interactions
from models.als import ALS, ALSConfig
from models.recommender import UserBatch

CONFIG = ALSConfig(factors=6, regularization=0.5, alpha=3.0, iterations=4, recency=0.8, history=8)


@pytest.fixture(scope="module")
def model() -> ALS:
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 40, 600), rng.zipf(1.5, 600) % 30
    return ALS.fit(Interactions.from_columns(users.astype(str), items.astype(str), np.arange(600)), CONFIG)


def asking(*walks: list[int]) -> UserBatch:
    rng = np.random.default_rng(2)
    return UserBatch.from_histories([(walk, np.arange(len(walk)), rng.uniform(0.5, 3, len(walk))) for walk in walks])


def objective(model: ALS, users: UserBatch, x: np.ndarray) -> float:
    """The loss that `encode` names, of one user's vector."""
    y = model.factors.astype(np.float64)
    newest = users.newest(CONFIG.history)
    confidence = CONFIG.alpha * newest.weights * CONFIG.recency**newest.age
    fit = confidence @ (1 - y[newest.items] @ x) ** 2
    return float(fit + np.sum((y @ x) ** 2) + CONFIG.regularization * x @ x)


def test_encode_minimises_its_objective_also_over_a_long_history_with_repeats(model):
    rng = np.random.default_rng(3)
    for walk in ([3], [1, 2, 1, 5], list(range(20))):
        users = asking(walk)
        x = model.encode(users)[0].astype(np.float64)
        best = objective(model, users, x)
        for _ in range(20):
            assert objective(model, users, x + rng.normal(0, 0.05, len(x))) > best


def test_many_users_are_solved_as_one_by_one(model):
    walks = [list(np.random.default_rng(n).integers(0, model.factors.shape[0], n % 12)) for n in range(600)]
    together = model.encode(asking(*walks))
    assert together.shape == (600, 6)
    ones = [(walk, np.arange(len(walk)), np.ones(len(walk))) for walk in walks]
    whole = model.encode(UserBatch.from_histories(ones))
    alone = np.concatenate([model.encode(UserBatch.from_histories([one])) for one in ones])
    assert np.allclose(whole, alone, atol=1e-5)


def test_terms_of_the_history_add_up_to_the_score_and_name_the_largest(model):
    users = asking([1, 2, 7, 2])
    every = np.arange(model.factors.shape[0], dtype=np.int32)[None]
    items, confidence = model._padded(users)
    left, _ = model._system(items, confidence)
    y = model.factors
    terms = (y @ np.linalg.inv(left[0]) @ y[items[0]].T) * confidence[0]  # (n_items, L)
    assert np.allclose(terms.sum(axis=1), model.scores(users)[0], atol=1e-4)
    by_item = np.stack([terms[:, 0], terms[:, 1] + terms[:, 3], terms[:, 2]], axis=1)
    named = model.because(users, every, 1)[0, :, 0]
    largest = np.array([1, 2, 7])[by_item.argmax(axis=1)]
    sure = by_item.max(axis=1) > 1e-4
    assert sure.any()
    assert np.array_equal(named[sure], largest[sure])


def test_what_was_done_last_counts_most(model):
    first, last = model.scores(asking([4, 9]))[0], model.scores(asking([9, 4]))[0]
    assert last[4] > first[4]
    assert first[9] > last[9]


def test_another_seed_gives_another_model(model):
    data = Interactions.from_columns(["a", "a", "b"], ["x", "y", "y"], [1, 2, 3])
    assert not np.array_equal(ALS.fit(data, CONFIG, seed=1).factors, ALS.fit(data, CONFIG, seed=2).factors)


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU, so asking for one is no error")
def test_asking_for_a_gpu_that_is_not_there_says_what_to_do():
    data = Interactions.from_columns(["a"], ["x"], [1])
    with pytest.raises(ConfigurationError, match="device auto or cpu"):
        ALS.fit(data, ALSConfig(device="cuda"))


def test_every_pass_is_reported():
    class Watch:
        steps = 0.0

        def advance(self, steps: float = 1, note: str = "") -> None:
            self.steps += steps

        @contextmanager
        def task(self, label: str, total: float) -> Iterator[Watch]:
            self.total = total
            yield self

    watch = Watch()
    ALS.fit(Interactions.from_columns(["a", "b"], ["x", "y"], [1, 2]), CONFIG, reporter=watch)
    assert watch.steps == watch.total == CONFIG.iterations
