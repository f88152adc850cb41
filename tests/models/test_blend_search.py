"""One user's best of a blend, found from the history alone: what the dense scores say, to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.progress import Silent
from features.interactions import Interactions
from models import blend_kernel, blend_reasons
from models.blend import Blend, BlendConfig, Member, fit_members
from models.blend_search import Search
from models.blend_terms import SparseRecommender
from models.linear import Linear, LinearConfig
from models.recommender import UserBatch, top_k
from models.repeat import Repeat
from models.transitions import Transitions

MEMBERS = (Member("transitions"), Member("linear", {"objective": "next"}), Member("repeat"), Member("popularity"))


def walks(items: int, users: int = 12, seed: int = 0, more: tuple[tuple[str, str, float], ...] = ()) -> Interactions:
    """Users who wander among neighbouring items, some of which nobody meets; and `more` steps."""
    rng = np.random.default_rng(seed)
    rows = list(more)
    for user in range(users):
        at = int(rng.integers(items))
        for step in range(int(rng.integers(2, 6))):
            at = (at + int(rng.integers(0, 3))) % items
            rows.append((f"u{user:02d}", f"i{at:03d}", float(user * 10 + step)))
    return Interactions.from_columns(*zip(*rows, strict=True))


def blend(items: int, seed: int, weights: tuple[float, ...], more: int = 0) -> Blend:
    made = Blend.of(fit_members(MEMBERS, walks(items, seed=seed), seed, Silent()), BlendConfig(MEMBERS, weights))
    return made.with_items(np.array([f"new{n}" for n in range(more)], np.object_)) if more else made


def one(items: list[int], n: int) -> UserBatch:
    rows = np.array([item % n for item in items], np.int32)
    return UserBatch.from_histories([(rows, np.arange(len(rows), dtype=float), np.ones(len(rows), np.float32))])


@settings(max_examples=80)
@given(
    st.integers(5, 60), st.integers(0, 5), st.lists(st.integers(0, 200), max_size=9), st.integers(1, 80),
    st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 4).filter(any), st.sampled_from([0, 3]), st.floats(0, 1),
)  # fmt: skip
def test_the_best_for_one_user_are_the_best_by_the_dense_scores(items, seed, history, k, weights, more, left_out):
    made = blend(items, seed, weights, more)
    n = len(made.item_ids)
    users, exclude = one(history, n), np.random.default_rng(seed).random(n) < left_out
    dense = made.scores(users)
    for hidden in (None, exclude, exclude[None]):
        rows, scores = made.recommend(users, k, hidden)
        _, expected = top_k(dense, k, hidden)
        assert (rows.dtype, scores.dtype, rows.shape) == (np.int32, np.float32, (1, k))
        assert np.allclose(scores, expected, atol=2e-5)
        found = rows[0][rows[0] >= 0]
        assert len(set(found.tolist())) == len(found)
        assert np.allclose(dense[0, found], scores[0, : len(found)], atol=2e-5)  # each has the score that it is given
        assert hidden is None or not exclude[found].any()


@settings(max_examples=40)
@given(st.integers(5, 60), st.integers(0, 5), st.lists(st.integers(0, 200), max_size=9))
def test_reasons_are_those_of_the_members_weighed_as_before(items, seed, history):
    made = blend(items, seed, (0.5, 0.3, 0.15, 0.05))
    users = one(history, len(made.item_ids))
    asked, _ = made.recommend(users, 6)
    quick = made.because(users, asked, 2)
    slow = made.because(_twice(users), np.repeat(asked, 2, axis=0), 2)  # of two users the members are asked
    assert quick.shape == (1, 6, 2)
    same = (quick[0] == slow[0]).all(axis=1)
    # where two items of the history speak as strongly, to rounding, either may come first
    assert all(same[at] or set(quick[0, at]) == set(slow[0, at]) for at in range(6))


def _twice(users: UserBatch) -> UserBatch:
    indptr = np.array([0, len(users.items), 2 * len(users.items)])
    columns = (np.tile(part, 2) for part in (users.items, users.times_s, users.weights, users.now_s))
    items, times, weights, now = columns
    return UserBatch(np.tile(users.rows, 2), indptr, items, times, weights, now)


@pytest.mark.parametrize(
    "model",
    [Transitions.fit(walks(30)), Linear.fit(walks(30), LinearConfig(objective="next")), Repeat.fit(walks(30))],
    ids=lambda model: model.name,
)
def test_the_terms_of_a_member_add_up_to_its_scores(model):
    assert isinstance(model, SparseRecommender)
    users = one([3, 9, 3, 17], len(model.item_ids))
    said, n = model.terms, len(model.item_ids)
    total = np.zeros(n, np.float32)
    for age, item in enumerate(users.items[::-1].tolist()[: len(said.counts)]):
        own = slice(*said.indptr[item : item + 2]) if len(said.indptr) else slice(0, 0)
        columns, values = (said.columns[own], said.values[own]) if len(said.indptr) else (np.array([item]), np.ones(1))
        np.add.at(total, columns, values * np.float32(said.counts[age]))  # each interaction here weighs 1
    assert said.most >= np.count_nonzero(total)
    assert np.allclose(np.where(total > 0, total, -np.inf), model.scores(users)[0], atol=1e-6)


@pytest.mark.parametrize("more", [0, 3])
def test_a_member_that_speaks_of_everything_to_each_user_in_its_own_way_is_added_whole(more):
    members = (*MEMBERS, Member("als", {"factors": 4, "iterations": 2}))
    data = walks(60, users=40)
    made = Blend.of(fit_members(members, data, 0, Silent()), BlendConfig(members, (0.4, 0.2, 0.1, 0.1, 0.2)))
    made = made.with_items(np.array([f"new{n}" for n in range(more)], np.object_)) if more else made
    n = len(made.item_ids)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        users, exclude = one(rng.integers(0, n, 4).tolist(), n), rng.random(n) < 0.5
        for hidden in (None, exclude):
            rows, scores = made.recommend(users, 20, hidden)
            expected, best = top_k(made.scores(users), 20, hidden)
            assert np.allclose(scores, best, atol=2e-5)
            assert (rows == expected).mean() > 0.8  # but for ties
            assert np.allclose(made.scores(users)[0, rows[rows >= 0]], scores[rows >= 0], atol=2e-5)
        named, slow = (
            made.because(users, rows[:, :5], 2)[0],
            made.because(_twice(users), np.repeat(rows[:, :5], 2, 0), 2)[0],
        )
        assert (np.sort(named) == np.sort(slow)).mean() > 0.8


@pytest.fixture(scope="module")
def updated() -> Blend:
    """A blend whose transitions and popularity have been brought up to date: they know items that its other members do not."""
    members = (*MEMBERS, Member("als", {"factors": 16, "iterations": 3}))
    more = (
        ("u7", "i010", 1e6),
        ("u7", "a-new", 1e6 + 1),
        ("u8", "m-new", 1e6),
        ("u8", "i020", 1e6 + 1),
        ("u9", "m-new", 1e6),
    )
    before, after = walks(900, users=700), walks(900, users=700, more=more)
    old, new = fit_members(members, before, 0, Silent()), fit_members(members, after, 0, Silent())
    models = [new[0], old[1], old[2], new[3], old[4]]
    return Blend.of(models, BlendConfig(members, (0.4, 0.25, 0.1, 0.1, 0.15)))


@pytest.mark.parametrize("seed", range(8))
def test_items_that_a_member_does_not_know_change_nothing_and_are_not_paid_for_by_all_others(
    updated, seed, monkeypatch
):
    n, rng = len(updated.item_ids), np.random.default_rng(seed)
    new = np.flatnonzero(np.char.endswith(updated.item_ids.astype(str), "new"))
    assert len(new) == 2
    multiplied: list[int] = []
    for name, count in (("best_near", lambda found: found), ("lowest", lambda found: found[1])):
        compiled = getattr(blend_kernel, name)

        def counted(*given, compiled=compiled, count=count):
            found = compiled(*given)
            multiplied.append(count(found))
            return found

        monkeypatch.setattr(blend_kernel, name, counted)
    monkeypatch.setattr(Search, "_dense", None)  # all of the catalogue is not scored
    beside, known = updated.item_ids.tolist().index("i010"), rng.integers(0, n, 4).tolist()
    for history in (known, [*known, int(new[0])], [*known, beside], [int(one) for one in new]):
        users, exclude = one(history, n), rng.random(n) < 0.3
        exclude[new] = False
        dense = updated.scores(users)
        for hidden in (None, exclude):
            rows, scores = updated.recommend(users, 20, hidden)
            assert np.allclose(scores, top_k(dense, 20, hidden)[1], atol=2e-5)
            assert np.allclose(dense[0, rows[0]], scores[0], atol=2e-5)  # each has the score that it is given
        before = len(multiplied)
        everything, scores = updated.recommend(users, n)
        assert set(new.tolist()) <= set(everything[0].tolist())
        assert np.allclose(dense[0, everything[0]], scores[0], atol=2e-5)
        del multiplied[before:]  # who asks for everything has everything looked at
    assert len(multiplied) == 3 * 2 * 2  # for three of the histories; the last one is nothing to ALS
    assert max(multiplied) < n / 2


@pytest.mark.parametrize("seed", range(8))
def test_reasons_are_as_before_where_members_know_different_items(updated, seed):
    n, rng = len(updated.item_ids), np.random.default_rng(seed)
    new = np.flatnonzero(np.char.endswith(updated.item_ids.astype(str), "new"))
    users = one([*rng.integers(0, n, 5).tolist(), int(new[seed % 2]), *rng.integers(0, n, 2).tolist()], n)
    asked = updated.recommend(users, 12)[0]
    asked[0, 4] = -1
    quick, slow = updated.because(users, asked, 2)[0], updated.because(_twice(users), np.repeat(asked, 2, 0), 2)[0]
    assert (quick[4] == -1).all()
    assert (quick[0] >= 0).any()
    assert (np.sort(quick) == np.sort(slow)).all(axis=1).mean() > 0.8  # but for ties


@pytest.mark.parametrize("seed", range(4))
def test_what_each_item_of_the_history_says_adds_up_to_what_a_member_says(updated, seed):
    n, rng = len(updated.item_ids), np.random.default_rng(seed)
    users = one(rng.integers(0, n, 60).tolist(), n)
    history, owner = np.unique(users.items, return_inverse=True)
    search = updated._search
    assert search is not None
    assert [part.alike for part in search.parts] == [True, False, False]  # the others have other rows
    for part in search.parts:
        scores, shared = part.scores(users)[0], np.zeros((13, len(history)))
        asked = np.append(np.argsort(-scores)[:12], -1).astype(np.int32)
        arguments = (users.items, users.weights, part.moved[0], *part.model.terms, owner.astype(np.int32), asked)
        blend_reasons.shares(*arguments, shared)
        assert np.allclose(shared.sum(axis=1)[:-1], np.maximum(scores[asked[:-1]], 0), atol=1e-5)
        assert shared[:-1].any()
        assert not shared[-1].any()


def test_only_what_passes_is_found_wherever_its_rows_are():
    members = fit_members(MEMBERS, walks(1500, users=600), 0, Silent())
    made = Blend.of(members, BlendConfig(MEMBERS, (0.5, 0.3, 0.15, 0.05)))
    n, rng = len(made.item_ids), np.random.default_rng(2)
    rows = rng.permutation(3 * n)[:n].astype(np.int32)  # of a catalogue that has more than the model, in another order
    users = one([3, 8, 8, 400], n)
    for share in (1.0, 0.3, 0.01, 0.0):
        allowed = rng.random(3 * n) < share
        allowed.flags.writeable = False
        found, scores = made.best(users, 20, allowed, rows)
        _, expected = top_k(made.scores(users), 20, ~allowed[rows])
        assert np.allclose(scores, expected, atol=2e-5)
        assert allowed[rows[found[found >= 0]]].all()


def test_what_one_user_leaves_behind_does_not_reach_the_next_even_if_a_member_fails(monkeypatch):
    made = blend(60, 1, (0.5, 0.3, 0.15, 0.05))
    n = len(made.item_ids)
    first, second = one([3, 9, 27], n), one([11, 5], n)
    expected = blend(60, 1, (0.5, 0.3, 0.15, 0.05)).recommend(second, 10)
    made.recommend(first, 10)
    with monkeypatch.context() as broken:
        broken.setattr(blend_kernel, "weigh", lambda *_: 1 / 0)  # when its terms are added up already
        with pytest.raises(ZeroDivisionError):
            made.recommend(first, 10)
    for found, wanted in zip(made.recommend(second, 10), expected, strict=True):
        assert np.array_equal(found, wanted)
