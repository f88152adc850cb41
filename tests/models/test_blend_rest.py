"""What everyone is told and what vectors say, searched together: only what may come among the best is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from models.blend_rest import BLOCK, Vectors, standardised

N, D, WEIGHT = 6000, 16, 0.4


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, Vectors]:
    """Vectors of which a few are long, and what everyone is told, of which most is little."""
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((N, D)) * rng.lognormal(-1, 0.8, (N, 1)) + 0.2).astype(np.float32)
    same = 0.1 * rng.pareto(2.0, N) - 0.05
    return vectors, same, Vectors.of(vectors, same, WEIGHT)


@pytest.mark.parametrize("seed", range(30))
def test_the_best_are_those_of_all_inner_products_whatever_is_said_besides_and_may_pass(world, seed: int) -> None:
    vectors, same, made = world
    rng = np.random.default_rng(seed)
    longest = np.argsort(-np.linalg.norm(vectors, axis=1))[
        :10
    ]  # no product is nearer to its bound than one of these with itself
    user = vectors[rng.choice(longest) if seed % 2 else rng.integers(N)]
    touched = rng.choice(N, rng.choice([0, 5, 400]), replace=False)
    said, allowed = (
        rng.pareto(1.5, len(touched)) * rng.choice([0.02, 1.0]),
        rng.random(N) < rng.choice([0.02, 0.5, 1.0]),
    )
    k = int(rng.choice([1, 10, 60]))
    dense = WEIGHT * standardised((vectors @ user)[None])[0].astype(np.float64) + same
    dense[touched] += said
    expected = np.sort(dense[allowed])[::-1][:k]

    met = np.zeros(N, bool)
    met[touched] = True
    known = allowed[touched]
    rows, scores = made.near(user, WEIGHT).top(touched[known], said[known], k, lambda rows: allowed[rows], met)
    assert len(set(rows.tolist())) == len(rows)
    assert allowed[rows].all()
    assert np.allclose(scores, dense[rows], atol=1e-4)
    assert np.allclose(np.sort(scores)[::-1][:k], expected, atol=1e-4)


def test_an_item_that_comes_up_to_its_bound_is_found_behind_others_that_are_nearly_as_good(world) -> None:
    vectors, same = world[0], np.zeros(N)
    made = Vectors.of(vectors, same, WEIGHT)
    best = int(np.argmax(np.linalg.norm(vectors, axis=1)))  # with itself it has the product that is its bound
    dense = WEIGHT * standardised((vectors @ vectors[best])[None])[0].astype(np.float64) + same
    touched = np.flatnonzero(np.arange(N) != best)[:400]
    said = 0.8 * dense[best] - dense[touched]
    met = np.zeros(N, bool)
    met[touched] = True
    rows, scores = made.near(vectors[best], WEIGHT).top(touched, said, 1, lambda rows: np.ones(len(rows), bool), met)
    assert rows[np.argmax(scores)] == best == np.argmax(dense)


def test_most_vectors_are_not_looked_at_where_the_history_leads_to_enough(world) -> None:
    vectors, _, made = world
    asked: list[int] = []

    def passes(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return np.ones(len(rows), bool)

    touched = np.arange(0, N, 5)
    met = np.zeros(N, bool)
    met[touched] = True
    rows, _ = made.near(vectors[7], WEIGHT).top(touched, np.full(len(touched), 100.0), 10, passes, met)
    assert set(rows.tolist()) <= set(touched.tolist())
    assert sum(asked) < 2 * BLOCK
