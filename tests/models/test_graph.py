"""Graph filters: against the formulas of both papers written out densely, and what the low-pass adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ArtifactCorrupt
from features.interactions import Interactions
from models.graph import Graph, GraphConfig, plateau_coefficients
from models.recommender import UserBatch

LINEAR = GraphConfig(low_pass=0.0)


def taste(users: int = 30, items: int = 16, seed: int = 0) -> Interactions:
    """Users of two tastes, some items of the other one too."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user:02d}", f"i{item:02d}", 0.0)
        for user in range(users)
        for item in range(items)
        if rng.random() < (0.5 if item % 2 == user % 2 else 0.05) or item == user % items
    ]
    return Interactions.from_columns(*zip(*rows, strict=True))


def normalised(data: Interactions) -> np.ndarray:
    seen = (data.matrix().toarray() > 0).astype(float)
    return seen / np.sqrt(seen.sum(1))[:, None] / np.sqrt(seen.sum(0))[None, :]


def signals(data: Interactions) -> np.ndarray:
    return (data.matrix().toarray() > 0).astype(float)


def test_the_linear_filter_is_the_normalised_item_graph():
    data = taste()
    graph = normalised(data)
    found = Graph.fit(data, LINEAR).scores(UserBatch.from_sequences(data))
    assert np.allclose(found, signals(data) @ graph.T @ graph, atol=1e-5)


def test_gf_cf_adds_the_ideal_low_pass_between_powers_of_the_degrees():
    data = taste()
    graph, config = normalised(data), GraphConfig(rank=4, low_pass=0.3)
    basis = np.linalg.svd(graph)[2][:4].T
    root = np.sqrt(signals(data).sum(0))
    expected = signals(data) @ graph.T @ graph + 0.3 * (signals(data) / root) @ basis @ basis.T * root
    found = Graph.fit(data, config).scores(UserBatch.from_sequences(data))
    assert np.allclose(found, expected, atol=1e-5)


def test_the_low_pass_is_the_same_where_arpack_fails(monkeypatch):
    def failing(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")  # as it does on a graph in many pieces

    users, config = UserBatch.from_sequences(taste()), GraphConfig(rank=4, low_pass=0.3)
    expected = Graph.fit(taste(), config).scores(users)
    monkeypatch.setattr("models.graph.svds", failing)
    assert np.allclose(Graph.fit(taste(), config).scores(users), expected, atol=1e-5)


def test_a_polynomial_filter_is_that_function_of_the_graphs_eigenvalues():
    data = taste()
    graph, config = normalised(data), GraphConfig(order=5, flatness=1.5, power=0.4, low_pass=0.0)
    values, vectors = np.linalg.eigh(graph.T @ graph)
    series = np.polynomial.chebyshev.chebval(1 - 2 * values, plateau_coefficients(5, 1.5))
    degrees = signals(data).sum(0)
    expected = (signals(data) / degrees**0.4) @ (vectors * series) @ vectors.T * degrees**0.4
    found = Graph.fit(data, config).scores(UserBatch.from_sequences(data))
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("order", [2, 5, 8, 9])
def test_the_plateau_falls_from_one_to_zero_with_frequency(order):
    coefficients = plateau_coefficients(order, 1.5)
    frequency = np.linspace(-1, 1, 21)
    kept = np.polynomial.chebyshev.chebval(frequency, coefficients)
    assert kept[0] > 0.9
    assert kept[-1] < 0.1
    assert kept[10] == pytest.approx(0.5, abs=0.02)


def test_no_filter_minds_how_much_an_interaction_weighs_or_how_often_it_came():
    rows = [("a", "x", 1, "view"), ("a", "y", 2, "view"), ("b", "y", 1, "view"), ("b", "z", 2, "view")]
    more = [*rows, ("a", "x", 3, "purchase")]
    models = [
        Graph.fit(Interactions.from_columns(u, i, t, k), LINEAR)
        for u, i, t, k in (zip(*these, strict=True) for these in (rows, more))
    ]
    assert np.array_equal(models[0].graph.toarray(), models[1].graph.toarray())


def test_a_low_pass_reaches_items_that_share_no_user_with_the_history():
    chain = [(f"u{n}", f"i{n + step}", 0) for n in range(9) for step in range(2)]
    data = Interactions.from_columns(*zip(*chain, strict=True))
    start = UserBatch.from_histories([(np.array([0]), np.zeros(1), np.ones(1))])
    linear = Graph.fit(data, LINEAR).scores(start)[0]
    smooth = Graph.fit(data, GraphConfig(rank=3, low_pass=1.0)).scores(start)[0]
    assert linear[2] == 0
    assert smooth[2] > 0


def test_what_makes_up_a_score_is_found_in_the_history():
    data = taste()
    model = Graph.fit(data, GraphConfig(rank=4))
    users = UserBatch.from_sequences(data)[3:5]
    found, _ = model.recommend(users, 2)
    named = model.because(users, found, 3)
    for row in range(2):
        own = users.items[users.indptr[row] : users.indptr[row + 1]]
        assert set(named[row][named[row] >= 0]) <= set(own)
        assert (named[row][:, 0] >= 0).all()


def test_a_graph_that_points_outside_the_items_is_refused(tmp_path):
    model = Graph.fit(taste(), LINEAR)
    broken = replace(model, graph=model.graph.copy())
    broken.graph.indices[0] = -1
    broken.save(tmp_path)
    with pytest.raises(ArtifactCorrupt, match="outside"):
        Graph.load(tmp_path)
