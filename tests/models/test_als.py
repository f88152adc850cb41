"""ALS: folding in solves what it says it solves, and its explanations add up to its scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from implicit.gpu import HAS_CUDA
from scipy import sparse

from core.errors import ConfigurationError
from core.progress import Silent
from features.interactions import Interactions
from models import als
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


def test_a_user_never_seen_is_folded_in_by_the_closed_form(model):
    users = asking([1, 2, 7, 2])
    y = model.factors.astype(np.float64)
    c = np.zeros(len(y))
    np.add.at(c, users.items, CONFIG.alpha * users.weights * CONFIG.recency**users.age)
    x = np.linalg.inv(y.T @ y + y.T @ np.diag(c) @ y + CONFIG.regularization * np.eye(6)) @ y.T @ c
    assert np.allclose(model.encode(users)[0], x, atol=1e-4)


def ratings() -> sparse.csr_matrix:
    """Users have 1, 2, 4 or 8 items, items 2, 4 or 16 users or so: frequencies far apart, so each group holds one."""
    rng = np.random.default_rng(5)
    dense = np.zeros((60, 25), np.float32)
    for row in dense:
        row[rng.choice(25, 2 ** rng.integers(4), replace=False, p=np.r_[[0.15] * 5, [0.0125] * 20])] = rng.uniform(1, 3)
    return sparse.csr_matrix(dense)


def reference(matrix: np.ndarray, config: ALSConfig, seed: int) -> np.ndarray:
    """Alternating exact solutions, a row at a time, each with the regularisation that its own frequency asks for."""
    by_user, by_item = (np.argsort(np.count_nonzero(matrix, axis=axis), kind="stable") for axis in (1, 0))
    x, y = np.zeros((len(matrix), config.factors)), np.zeros((matrix.shape[1], config.factors))
    x[by_user] = als._random(len(x), config.factors, seed)
    y[by_item] = als._random(len(y), config.factors, seed + 1)
    for _ in range(config.iterations):
        for seen, solved, fixed in ((matrix, x, y), (matrix.T, y, x)):
            counts = np.count_nonzero(seen, axis=1)
            scale = (np.maximum(counts, 1) / np.maximum(counts, 1).mean()) ** config.frequency_power
            for row, entries in enumerate(seen):
                c = np.where(entries > 0, 1 + config.alpha * entries, 1)
                left = fixed.T @ np.diag(c) @ fixed + config.regularization * scale[row] * np.eye(config.factors)
                solved[row] = np.linalg.solve(left, fixed.T @ np.where(entries > 0, c, 0))
    return y


def test_training_solves_every_row_with_the_regularisation_of_its_frequency(monkeypatch):
    monkeypatch.setattr(als, "CG_STEPS", 30)  # exact
    monkeypatch.setattr(als, "GROUP_WIDTH", 1.0001)  # a group for each frequency
    config = ALSConfig(factors=4, regularization=2.0, frequency_power=1.0, alpha=3.0, iterations=5)
    found = als._train(ratings(), config, 3, Silent())
    assert np.allclose(found, reference(ratings().toarray(), config, 3), atol=1e-4)
    flat = ALSConfig(factors=4, regularization=2.0, frequency_power=0.0, alpha=3.0, iterations=5)
    assert not np.allclose(als._train(ratings(), flat, 3, Silent()), found, atol=1e-2)


def test_without_frequency_scaling_it_is_the_training_of_the_library():
    config = ALSConfig(factors=4, regularization=2.0, frequency_power=0.0, alpha=3.0, iterations=5)
    matrix = ratings()
    theirs = AlternatingLeastSquares(factors=4, regularization=2.0, alpha=1.0, iterations=5, num_threads=1)
    theirs.user_factors, theirs.item_factors = np.zeros((60, 4), np.float32), np.zeros((25, 4), np.float32)
    theirs.user_factors[als._by_frequency(matrix)] = als._random(60, 4, 3)
    theirs.item_factors[als._by_frequency(matrix.T.tocsr())] = als._random(25, 4, 4)
    confident = matrix.copy()
    confident.data = 1 + 3 * confident.data
    theirs.fit(confident, show_progress=False)
    assert np.allclose(als._train(matrix, config, 3, Silent()), theirs.item_factors, atol=1e-4)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.floats(0, 1.5))
def test_groups_cover_every_row_once_and_miss_its_regularisation_by_7_percent_at_most(counts, power):
    counts = sorted(counts)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([[*range(n)] for n in counts]).astype(np.int32)
    matrix = sparse.csr_matrix((np.ones(len(columns), np.float32), columns, indptr), shape=(len(counts), 40))
    config = ALSConfig(regularization=2.0, frequency_power=power)
    exact = 2.0 * als._scale(np.array(counts), config)
    groups = als._groups(matrix, config)
    assert [row for start, stop, _, _ in groups for row in range(start, stop)] == list(range(len(counts)))
    for start, stop, rows, regularization in groups:
        assert rows.shape[0] == stop - start
        assert np.all(np.abs(np.log(regularization / exact[start:stop])) <= np.log(1.0725))


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


@pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU, or rmm is not installed")
def test_a_gpu_finds_what_the_cpu_does():
    config = ALSConfig(factors=4, regularization=2.0, alpha=3.0, iterations=5)
    found = [als._train(ratings(), replace(config, device=device), 3, Silent()) for device in ("cpu", "cuda")]
    assert np.allclose(*found, atol=1e-3)


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
