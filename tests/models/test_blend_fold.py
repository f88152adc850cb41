"""One user folded into a vector space by compiled code: the vector that `encode` gives, and what each interaction carried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import blend_fold
from models.als import ALS, ALSConfig, _gram
from models.blend_terms import NO_ROWS
from models.recommender import UserBatch

N = 40


def als(factors: int, history: int = 6, recency: float = 0.8) -> ALS:
    config = ALSConfig(factors=factors, history=history, recency=recency, regularization=0.3)
    vectors = np.random.default_rng(factors).normal(0, 0.5, (N, factors)).astype(np.float32)
    ids = np.array([f"i{row:02d}" for row in range(N)], np.object_)
    return ALS(config, ids, 0.0, vectors, _gram(vectors, config))


def folded(model: ALS, items: np.ndarray, weights: np.ndarray, own: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    d = model.config.factors
    left, vector = np.full((d, d), np.nan, np.float32), np.full(d, np.nan, np.float32)
    return blend_fold.fold(items, weights, own, *model.folding, left, vector), left, vector


@settings(max_examples=60)
@given(
    st.sampled_from([1, 3, 4, 6, 16, 33, 64]), st.lists(st.integers(0, N + 9), max_size=15), st.integers(1, 8), st.booleans(),
)  # fmt: skip
def test_a_history_becomes_the_vector_that_encode_gives_and_its_parts_add_up_to_the_score(d, history, newest, known):
    model, rng = als(d, newest), np.random.default_rng(len(history))
    own = np.full(N + 10, -1, np.int32)  # in a blend of more items, in another order, ten of which it does not know
    own[rng.permutation(N + 10)[:N]] = rng.permutation(N)
    items = np.array([one % N if known else one for one in history], np.int32)
    weights = rng.choice([0.5, 1.0, 3.0], len(items)).astype(np.float32)
    own = NO_ROWS if known else own
    rows = items if known else own[items]
    users = UserBatch.from_histories([(rows, np.arange(len(rows), dtype=float), weights)])
    size, left, vector = folded(model, items, weights, own)
    assert size == min(newest, np.count_nonzero(rows >= 0))
    if size == 0:
        return
    expected = model.encode(users)[0]
    assert np.allclose(vector, expected, atol=1e-4 * max(1, np.abs(expected).max()))

    asked = np.array([0, -1, *range(3, 9), N - 1 if known else N + 9], np.int32)
    history_ix, owner = np.unique(items, return_inverse=True)
    shared = np.zeros((len(asked), len(history_ix)))
    blend_fold.carried(items, weights, own, *model.folding, left, owner.astype(np.int32), asked, shared)
    there = asked if known else np.where(asked >= 0, own[asked], -1)
    scores = np.where(there >= 0, model.factors[there] @ expected, 0)
    assert np.allclose(shared.sum(axis=1), scores, atol=1e-3 * max(1, np.abs(scores).max()))
    read = np.isin(history_ix, items[rows >= 0][-newest:])
    assert not shared[:, ~read].any()  # what is too long ago, or not known, carries nothing


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_factors_that_have_no_solution_are_told_of(wrong: float) -> None:
    model = als(8)
    model.factors[:], model.gram[:] = wrong, wrong
    assert folded(model, np.array([1, 2], np.int32), np.ones(2, np.float32), NO_ROWS)[0] == -1


@pytest.mark.parametrize("known", [1.0, 0.7])
def test_products_are_standardised_over_all_items_from_their_mean_and_covariance(known: float) -> None:
    model = als(16)
    vectors, user = model.factors.astype(np.float64), model.factors[3]
    mean, covariance = vectors.mean(axis=0), np.cov(vectors.T, bias=True)
    products = vectors @ user
    lowest, query = float(products.min()), np.empty(16, np.float32)
    constant, reach, less = blend_fold.spread(user, mean, covariance, known, 0.4, lowest, query)
    others = round(N / known) - N
    every = np.concatenate([products, np.full(others, lowest)])
    said = np.concatenate([vectors @ query, np.full(others, less)]) + constant
    assert np.allclose(said, 0.4 * (every - every.mean()) / every.std(), atol=0.02 if others else 1e-5)
    assert reach == pytest.approx(np.linalg.norm(query), rel=1e-6)
