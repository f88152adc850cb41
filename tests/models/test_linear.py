"""Linear: against the closed forms written out, the sparse way against the exact one, and what text adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ArtifactCorrupt
from features.interactions import Interactions
from models import linear
from models.item_text import tfidf
from models.linear import Linear, LinearConfig
from models.recommender import UserBatch

EASE = LinearConfig(regularization=3.0, neighbours=1000, recency=1.0)
NEXT = replace(EASE, objective="next", window=3, train_recency=0.5)


def walks(users: int = 40, items: int = 12, length: int = 9, seed: int = 0) -> Interactions:
    """Users who mostly step on by one from a random start, now and then anywhere; no item comes twice."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        order = (rng.integers(items) + np.argsort(np.arange(items) + 2 * rng.random(items))) % items
        rows += [(f"u{user:02d}", f"i{item:02d}", time) for time, item in enumerate(order[:length])]
    return Interactions.from_columns(*zip(*rows, strict=True))


def matrix(data: Interactions) -> np.ndarray:
    return data.matrix().toarray().astype(float)


def test_autoencode_is_the_closed_form_of_the_paper():
    data = walks()
    found = Linear.fit(data, EASE).neighbours.weights.toarray()
    inverse = np.linalg.inv(matrix(data).T @ matrix(data) + 3.0 * np.eye(data.n_items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert np.allclose(found, expected, atol=1e-4)
    assert np.all(found.diagonal() == 0)


def test_next_is_ridge_regression_of_the_next_item_on_the_decayed_window_before_it():
    data = walks()
    windows, following = [], []
    for user in range(data.n_users):
        own = data.item_ix[data.indptr[user] : data.indptr[user + 1]]
        for at, item in enumerate(own):
            window = np.zeros(data.n_items)
            for distance in range(1, min(at, 3) + 1):
                window[own[at - distance]] += 0.5 ** (distance - 1)
            windows.append(window)
            following.append(np.eye(data.n_items)[item])
    h, y = np.array(windows), np.array(following)
    expected = np.linalg.solve(h.T @ h + 3.0 * np.eye(data.n_items), h.T @ y)
    assert np.allclose(Linear.fit(data, NEXT).neighbours.weights.toarray(), expected, atol=1e-4)


def test_next_is_the_same_when_the_interactions_are_taken_in_pieces(monkeypatch):
    data = walks()
    whole = Linear.fit(data, NEXT)
    monkeypatch.setattr("models.linear.ENTRIES_AT_ONCE", 20)
    assert np.allclose(
        whole.neighbours.weights.toarray(), Linear.fit(data, NEXT).neighbours.weights.toarray(), atol=1e-5
    )


@pytest.mark.parametrize("text_share", [0.0, 2.0])
def test_beyond_the_exact_size_a_support_of_everything_gives_the_exact_answer(text_share):
    data, texts = walks(), {f"i{item:02d}": f"all word{item % 3}" for item in range(12)}
    config = replace(EASE, text_share=text_share)
    exact = Linear.fit(data, config, texts=texts).neighbours.weights.toarray()
    sparse = Linear.fit(data, replace(config, dense_items=0, support=100), texts=texts).neighbours.weights.toarray()
    assert np.allclose(exact, sparse, atol=1e-3)


def test_beyond_the_exact_size_next_is_regressed_on_the_items_that_came_before():
    data = walks()
    gram, cross = (part.toarray() for part in linear._next_item(data, NEXT))
    found = Linear.fit(data, replace(NEXT, dense_items=0)).neighbours.weights.toarray()
    for item in range(data.n_items):
        came = np.flatnonzero(cross[:, item])
        expected = np.linalg.solve(gram[np.ix_(came, came)] + 3.0 * np.eye(len(came)), cross[came, item])
        assert np.allclose(found[came, item], expected, atol=1e-4)
        assert np.count_nonzero(found[:, item]) <= len(came)


def test_a_narrow_support_keeps_the_strongest_and_agrees_on_what_comes_first():
    data = walks(users=300)
    exact = Linear.fit(data, replace(EASE, recency=0.5))
    narrow = Linear.fit(data, replace(EASE, recency=0.5, dense_items=0, support=6))
    assert np.diff(narrow.neighbours.weights.tocsc().indptr).max() <= 6
    users = UserBatch.from_sequences(data)
    seen = np.zeros((len(users), data.n_items), bool)
    seen[users.owner, users.items] = True
    same = exact.recommend(users, 1, seen)[0] == narrow.recommend(users, 1, seen)[0]
    assert same.mean() > 0.7


def test_an_item_met_twice_counts_once_in_autoencode():
    once = Interactions.from_columns(["a", "a", "b", "b"], ["x", "y", "y", "z"], [1, 2, 3, 4])
    twice = Interactions.from_columns(["a", "a", "a", "b", "b"], ["x", "y", "y", "y", "z"], [1, 2, 2.5, 3, 4])
    weights = [Linear.fit(data, EASE).neighbours.weights.toarray() for data in (once, twice)]
    assert np.allclose(*weights)


def test_powers_of_totals_hold_back_what_is_popular():
    rows = [(f"u{n}", item, t) for n in range(20) for t, item in enumerate(["a", "hit"] + (["rare"] if n < 4 else []))]
    data = Interactions.from_columns(*zip(*rows, strict=True))
    plain = Linear.fit(data, EASE).neighbours.weights
    held = Linear.fit(data, replace(EASE, to_power=2.0)).neighbours.weights
    assert plain[0, 1] > plain[0, 2] > 0
    assert held[0, 1] < held[0, 2]


def test_text_connects_items_that_nobody_had_together():
    data = Interactions.from_columns(["a", "a", "b", "b"], ["x", "y", "z", "w"], [1, 2, 1, 2])
    texts = {"x": "red shoe", "z": "red shoe", "y": "hat", "w": "glove"}
    x, z = data.item_row("x"), data.item_row("z")
    assert Linear.fit(data, EASE, texts=texts).neighbours.weights[x, z] == 0
    assert Linear.fit(data, replace(EASE, text_share=1.0), texts=texts).neighbours.weights[x, z] > 0.1
    assert Linear.fit(data, replace(EASE, text_share=1.0)).neighbours.weights[x, z] == 0  # no texts given


def test_collective_ease_is_the_closed_form_with_the_words_as_further_rows():
    data = walks()
    texts = [f"word{item % 3} word{item % 4}" for item in range(12)]
    config = replace(EASE, text_share=0.7)
    found = Linear.fit(data, config, texts=dict(zip(data.item_ids, texts, strict=True))).neighbours.weights.toarray()
    rows = np.concatenate([matrix(data), 0.7**0.5 * tfidf(texts).toarray().T])
    inverse = np.linalg.inv(rows.T @ rows + 3.0 * np.eye(12))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert np.allclose(found, expected, atol=1e-4)


def test_weights_that_point_outside_the_items_are_refused(tmp_path):
    model = Linear.fit(walks(), EASE)
    broken = replace(model.neighbours, weights=model.neighbours.weights.copy())
    broken.weights.indices[0] = 99
    replace(model, neighbours=broken).save(tmp_path)
    with pytest.raises(ArtifactCorrupt, match="outside"):
        Linear.load(tmp_path)


@pytest.mark.parametrize("objective", ["autoencode", "next"])
def test_items_that_were_never_with_others_have_no_neighbours_exact_or_not(objective):
    data = Interactions.from_columns(["a", "a", "b"], ["x", "y", "alone"], [1, 2, 3])
    for dense_items in (0, 100):
        model = Linear.fit(data, replace(EASE, objective=objective, dense_items=dense_items))
        assert model.neighbours.weights[data.item_row("alone")].nnz == 0
        assert model.recommend(UserBatch.from_sequences(data), 1)[0].tolist() == [
            [2 if objective == "next" else 1],
            [-1],
        ]
