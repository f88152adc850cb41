"""What everyone is told and what vectors say, searched together: only what may come among the best is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models import blend_kernel
from models.blend_rest import BLOCK, Vectors, standardised

N, D, WEIGHT = 6000, 16, 0.4


def of(vectors: np.ndarray, same: np.ndarray) -> Vectors:
    """Everyone is told something of each item; those whose row is all NaN have no vector."""
    known = np.isfinite(vectors[:, 0])
    own = np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)
    return Vectors.of(vectors[known], own, same, np.arange(len(own), dtype=np.int32), WEIGHT)


def near(made: Vectors, user: np.ndarray, touched: np.ndarray, said: np.ndarray, k: int, allowed: np.ndarray) -> tuple:
    """The k best for a user: rows and scores, without what is missing. Of the rows `touched` so much is `said` besides."""
    found, best, place = np.empty(k, np.int32), np.empty(k, np.float32), np.zeros(N, np.int32)
    place[touched] = 1 + np.arange(len(touched))
    arrays = (made.bounds, made.vectors, made.own, made.order, made.norms)
    lowest, _ = blend_kernel.lowest(*arrays, user, float(np.linalg.norm(user)))
    constant, *rest = made.near(user, WEIGHT, lowest)
    rows = np.arange(N, dtype=np.int32)
    blend_kernel.best_near(
        said.astype(float), touched.astype(np.int32), len(touched), constant, *rest, allowed, rows, place, found, best
    )
    assert not place.any()  # as it was found
    return found[found >= 0], best[found >= 0]


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, Vectors]:
    """Vectors of which a few are long, and what everyone is told, of which most is little."""
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((N, D)) * rng.lognormal(-1, 0.8, (N, 1)) + 0.2).astype(np.float32)
    same = 0.1 * rng.pareto(2.0, N) - 0.05
    return vectors, same, of(vectors, same)


@pytest.mark.parametrize("seed", range(30))
def test_the_best_are_those_of_all_inner_products_whatever_is_said_besides_and_may_pass(world, seed: int) -> None:
    vectors, same, made = world
    rng = np.random.default_rng(seed)
    if strangers := (0, 3, 2000)[seed % 3]:  # items without a vector
        vectors = vectors.copy()
        vectors[rng.choice(N, strangers, replace=False)] = np.nan
        made = of(vectors, same)
    longest = np.argsort(-np.linalg.norm(vectors, axis=1))[
        :10
    ]  # no product is nearer to its bound than one of these with itself
    user = world[0][rng.choice(longest) if seed % 2 else rng.integers(N)]
    touched = rng.choice(N, rng.choice([0, 5, 400]), replace=False)
    said, allowed = (
        rng.pareto(1.5, len(touched)) * rng.choice([0.02, 1.0]),
        rng.random(N) < rng.choice([0.02, 0.5, 1.0]),
    )
    k = int(rng.choice([1, 10, 60]))
    products = np.nan_to_num(vectors @ user, nan=-np.inf)
    dense = WEIGHT * standardised(products[None])[0].astype(np.float64) + same
    dense[touched] += said
    expected = np.sort(dense[allowed])[::-1][:k]

    rows, scores = near(made, user, touched, said, k, allowed)
    assert len(set(rows.tolist())) == len(rows)
    assert allowed[rows].all()
    assert np.allclose(scores, dense[rows], atol=1e-4)
    assert (np.diff(scores) <= 0).all()
    assert np.allclose(scores, expected, atol=1e-4)


def test_an_item_that_comes_up_to_its_bound_is_found_behind_others_that_are_nearly_as_good(world) -> None:
    vectors, same = world[0], np.zeros(N)
    made = of(vectors, same)
    best = int(np.argmax(np.linalg.norm(vectors, axis=1)))  # with itself it has the product that is its bound
    dense = WEIGHT * standardised((vectors @ vectors[best])[None])[0].astype(np.float64) + same
    touched = np.flatnonzero(np.arange(N) != best)[:400]
    said = 0.8 * dense[best] - dense[touched]
    rows, _ = near(made, vectors[best], touched, said, 1, np.ones(N, bool))
    assert rows.tolist() == [best] == [np.argmax(dense)]


def test_most_vectors_are_not_looked_at_where_the_history_leads_to_enough(world) -> None:
    vectors, _, made = world
    touched, unread = np.arange(0, N, 5), made.vectors.copy()
    others = np.setdiff1d(np.arange(N), touched)
    unread[others] = np.nan  # who multiplies by one of these has no number any more
    blind = replace(made, vectors=unread)
    said = np.full(len(touched), 100.0)
    rows, scores = near(blind, vectors[7], touched, said, 10, np.ones(N, bool))
    assert np.isfinite(scores).all()
    assert set(rows.tolist()) <= set(touched.tolist())
    assert len(made.norms) == -(-N // BLOCK)


@pytest.mark.parametrize("seed", range(10))
def test_the_lowest_product_is_found_without_most_of_the_others(world, seed: int) -> None:
    vectors, _, made = world
    user = vectors[np.random.default_rng(seed).integers(N)]
    arrays = (made.bounds, made.vectors, made.own, made.order, made.norms)
    least, multiplied = blend_kernel.lowest(*arrays, user, float(np.linalg.norm(user)))
    assert least == pytest.approx(float((vectors @ user).min()), rel=1e-5)
    assert multiplied < N / 2
    upwards = of(np.abs(vectors), made.bounds[:, 0].astype(float))
    arrays = (upwards.bounds, upwards.vectors, upwards.own, upwards.order, upwards.norms)
    assert blend_kernel.lowest(*arrays, np.abs(user), float(np.linalg.norm(user)))[0] == 0


@pytest.mark.parametrize("strangers", [0, 2000])
def test_the_kind_of_an_item_bounds_what_may_be_said_of_it(world, strangers: int) -> None:
    vectors, same = world[0].copy(), world[1]
    vectors[np.random.default_rng(0).choice(N, strangers, replace=False)] = np.nan
    made = of(vectors, same)
    for side, level in enumerate((made.kinds >> 4, made.kinds & 15)):
        ends = made.levels[side]
        assert (made.bounds[:, side] <= ends[level]).all()
        assert (made.bounds[level > 0, side] > ends[level[level > 0] - 1]).all()  # and not by more than it has to
