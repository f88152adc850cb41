"""The best of a blend for one user at a cost that follows the user's history, not the catalogue.

Most items are spoken of by no member but the impersonal ones, whose say is the same for everyone and can be ordered once. Where
a member is silent its score is 0, so that the mean and deviation that standardise it follow from the sums of what it does
say (see models.blend_rest.standardised). What comes out is what `top_k` of the blend's dense scores would be, to rounding.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.blend_rest import Alike, Dense, Rest, Vectors, standardised
from models.recommender import Mask, Ranked, Recommender, UserBatch, VectorRecommender, ragged_top_k

FIRST_LOOK = 256  # of the impersonal order, where a filter leaves most of it

Passes = Callable[[NDArray[np.int64]], Mask]  # which of these rows may be answered
_own = threading.local()


class Terms(NamedTuple):
    """m terms: `columns` (m,) int32, the items spoken of, one met several times, and `values` (m,) float32, what is said of each.

    They stand in the order of the h interactions that say it, `items` (h,) int32, each with as many as `sizes` (h,) has.
    """

    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    items: NDArray[np.int32]
    sizes: NDArray[np.int64]


@runtime_checkable
class SparseRecommender(Recommender, Protocol):
    """A recommender that says something of few items for each user, what the history leads to, and never speaks against one."""

    def terms(self, users: UserBatch) -> Terms:
        """What is said, for a batch of one. The sum over an item's terms is its score where it is above 0; of all others
        nothing is said."""


@runtime_checkable
class ImpersonalRecommender(Recommender, Protocol):
    """A recommender whose scores are the same for everyone."""

    def ranking(self) -> NDArray[np.float32]:
        """(n_items,) float32: the scores, -inf where it does not speak."""


@dataclass(frozen=True)
class Asked:
    """A member, asked and answering in the rows of the blend. `own` (n,) int32 is its row of each item of the blend, -1 for
    none, `back` (its n_items,) int32 the blend's row of each of its own."""

    model: Recommender
    weight: float
    own: NDArray[np.int32]
    back: NDArray[np.int32]

    @cached_property
    def alike(self) -> bool:
        """Whether the rows are the same."""
        return np.array_equal(self.own, np.arange(len(self.own))) and len(self.own) == len(self.back)

    def users(self, users: UserBatch) -> UserBatch:
        """The users as the member knows them."""
        if self.alike:
            return users
        items = self.own[users.items]
        mapped = UserBatch(users.rows, users.indptr, items, users.times_s, users.weights, users.now_s)
        return mapped if (items >= 0).all() else mapped.where(items >= 0)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n) float32: its scores, -inf for items that it does not know."""
        scores = self.model.scores(self.users(users))
        if len(self.back) == len(self.own):
            return scores
        spread = np.full((len(users), len(self.own)), -np.inf, np.float32)
        spread[:, self.back] = scores
        return spread

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        """See models.recommender.Recommender."""
        asked = np.where(item_ix >= 0, self.own[np.maximum(item_ix, 0)], -1).astype(np.int32)
        named = self.model.because(self.users(users), asked, limit)
        return np.where(named >= 0, self.back[np.maximum(named, 0)], -1).astype(np.int32)

    def terms(self, users: UserBatch) -> Terms:
        """See SparseRecommender."""
        said = cast(SparseRecommender, self.model).terms(self.users(users))
        columns, values, items, sizes = said
        return said if self.alike else Terms(self.back[columns], values, self.back[items], sizes)


@dataclass(frozen=True)
class Search:
    """`parts` say something of few items, `wholes` of all. What the others say together is the same for everyone: `same` (n,)
    float64, finite also for the items that they do not speak of; `order` are those that they speak of, best first.

    `trained` (n,) bool are the items that are standardised over beside those spoken of; None: all.
    """

    parts: tuple[Asked, ...]
    wholes: tuple[Asked, ...]
    same: NDArray[np.float64]
    order: NDArray[np.int64]
    trained: Mask | None

    @classmethod
    def of(cls, members: Sequence[Asked], trained: Mask | None) -> Self | None:
        """The quick way to ask these; None where none of them says something of few items only."""
        parts = tuple(one for one in members if isinstance(one.model, SparseRecommender))
        if not parts:
            return None
        wholes, same = [], np.zeros(len(parts[0].own))
        speaks = np.zeros(len(same), bool)
        for one in members:
            if isinstance(one.model, ImpersonalRecommender):
                ranking = np.full(len(same), -np.inf, np.float32)
                ranking[one.back] = one.model.ranking()
                speaks |= ranking > -np.inf
                same += one.weight * standardised(ranking[None], trained)[0]
            elif not isinstance(one.model, SparseRecommender):
                wholes.append(one)
        order = np.flatnonzero(speaks)
        order = order[np.argsort(-same[order].astype(np.float32), kind="stable")]
        return cls(parts, tuple(wholes), same, order, None if trained is None or trained.all() else trained)

    def best(self, users: UserBatch, k: int, passes: Passes) -> Ranked | None:
        """The k best of what passes, for a batch of one: rows (1, k) int32, scores (1, k) float32, padded as everywhere.

        None where the history leads to so much of the catalogue that the dense way is the right one.
        """
        said = self._said(users)
        touched = said.touched
        size = len(self.same) if self.trained is None else int(np.count_nonzero(self.trained))
        if len(touched) >= size:
            return None
        score, spoken, at, constant = np.zeros(len(touched)), np.zeros(len(touched), bool), 0, 0.0
        for part, (columns, values, _, _) in zip(self.parts, said.terms, strict=True):
            slot = said.slot[at : at + len(columns)]
            total = np.bincount(slot, values, len(touched)).astype(np.float64, copy=False)
            at += len(columns)
            positive = total > 0
            total *= positive
            mean, deviation = self._moments(total, touched, size)
            score += total * (part.weight / deviation)
            constant -= part.weight * mean / deviation
            spoken |= positive
        known = np.flatnonzero(spoken)
        known = known[passes(touched[known])]
        rest = self._rest(users)
        others = self._others(said, spoken, k, passes, rest)
        rows = np.concatenate([touched[known], others])
        scores = np.concatenate([score[known] + rest.values(touched[known]), rest.values(others)]) + constant
        if len(rows) > 4 * k:
            rows, scores = _upper(rows, scores, k)
        return ragged_top_k(np.zeros(len(rows), np.int64), rows.astype(np.int32), scores.astype(np.float32), 1, k)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        """As Blend.because, for a batch of one: (k, limit) int32 for items (k,)."""
        votes: list[dict[int, float]] = [defaultdict(float) for _ in item_ix]
        said, at = self._said(users), 0
        asked = said.asked(item_ix, len(self.same))
        for part, terms in zip(self.parts, said.terms, strict=True):
            own, at = asked[at : at + len(terms.columns)], at + len(terms.columns)
            if part.weight > 0:
                for slot, shares in _shares(terms, own).items():
                    for place, item in enumerate(_strongest(shares, limit)):
                        votes[slot][item] += part.weight / (1 + place)
        for whole in self.wholes:
            if whole.weight > 0:
                why = whole.because(users, item_ix[None], limit)[0]
                for slot, place in zip(*(at.tolist() for at in np.nonzero(why >= 0)), strict=True):
                    votes[slot][int(why[slot, place])] += whole.weight / (1 + place)
        named = [_strongest(votes_of, limit) for votes_of in votes]
        padded = [items + [-1] * (limit - len(items)) for items in named]
        return np.array(padded, np.int32).reshape(len(item_ix), limit)

    def _rest(self, users: UserBatch) -> Rest:
        """What is said to this user of every item by all but the parts."""
        if not self.wholes:
            return Alike(self.same, self.order)
        if self._vectors is not None and len(users.items):
            member = self.wholes[0]
            encoded = cast(VectorRecommender, member.model).encode(member.users(users))
            return self._vectors.near(encoded[0], member.weight)
        same, speaks = self.same.astype(np.float32), np.zeros(len(self.same), dtype=bool)
        speaks[self.order] = True
        for whole in self.wholes:
            scores = whole.scores(users)
            speaks |= scores[0] > -np.inf
            same += np.float32(whole.weight) * standardised(scores, self.trained)[0]
        return Dense(same, None if speaks.all() else speaks)

    @cached_property
    def _vectors(self) -> Vectors | None:
        """Of the whole, where there is one, it has vectors, and speaks of every item."""
        if len(self.wholes) != 1 or self.trained is not None:
            return None
        model, back = self.wholes[0].model, self.wholes[0].back
        if not isinstance(model, VectorRecommender) or len(back) != len(self.same):
            return None
        found = model.item_vectors()
        vectors = np.empty_like(found)
        vectors[back] = found
        return Vectors.of(vectors, self.same)

    def _said(self, users: UserBatch) -> _Said:
        """What the parts say to a user; kept for the last one, who is asked about first for items, then for reasons."""
        kept: tuple[Search, UserBatch, _Said] | None = getattr(_own, "said", None)
        if kept is None or kept[0] is not self or kept[1] is not users:
            terms = [part.terms(users) for part in self.parts]
            columns = np.concatenate([one.columns for one in terms], dtype=np.int64)
            kept = _own.said = (self, users, _Said(terms, *_distinct(columns, len(self.same))))
        return kept[2]

    def _moments(self, said: NDArray[np.float64], touched: NDArray[np.int64], size: int) -> tuple[float, float]:
        """Mean and deviation of a member's scores: `said` of the items `touched`, 0 of all others."""
        counted = size if self.trained is None else size + np.count_nonzero((said > 0) & ~self.trained[touched])
        mean = float(said.sum()) / counted
        square = float(said @ said) / counted - mean * mean
        return mean, square**0.5 if square > 0 else 1.0

    def _others(self, said: _Said, spoken: Mask, k: int, passes: Passes, rest: Rest) -> NDArray[np.int64]:
        """The first k of the rest that pass and are none of those that the history leads to."""
        found: list[NDArray[np.int64]] = []
        have, seen, size = 0, 0, max(4 * k, FIRST_LOOK)
        while have < k:
            rows = rest.best(size)[seen:]
            if len(rows) == 0:
                break
            seen += len(rows)
            rows = rows[passes(rows)]
            slot = said.slots(rows, len(self.same))
            if len(said.touched):
                rows = rows[(slot < 0) | ~spoken[slot]]
            found.append(rows)
            have, size = have + len(rows), size * 5
        return np.concatenate([*found, np.zeros(0, np.int64)])[:k]


@dataclass(frozen=True)
class _Said:
    """What all parts say to one user: their `terms`, the distinct items `touched` (u,) of these, and for each term, part after
    part, which of them it speaks of, `slot` (m,)."""

    terms: list[Terms]
    touched: NDArray[np.int64]
    slot: NDArray[np.int64]

    def slots(self, rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """Where these rows of n are among those touched, -1 for what is not."""
        if len(self.touched) == 0:
            return np.full(len(rows), -1)
        place = _places(n)
        if getattr(_own, "placed", None) is not self:
            place[self.touched] = np.arange(len(self.touched))
            _own.placed = self
        slot = np.minimum(place.take(rows), len(self.touched) - 1)
        return np.where(self.touched[slot] == rows, slot, -1)

    def asked(self, item_ix: NDArray[np.int32], n: int) -> NDArray[np.int64]:
        """(m,): for each term, where in `item_ix` (k,), rows of n or -1, the item is that it speaks of; -1 for no place there."""
        place = np.flatnonzero(item_ix >= 0)
        slot = self.slots(item_ix[place].astype(np.int64), n)
        wanted = np.full(len(self.touched), -1)
        wanted[slot[slot >= 0]] = place[slot >= 0]
        return wanted.take(self.slot)


def _shares(terms: Terms, asked: NDArray[np.int64]) -> dict[int, dict[int, float]]:
    """By place asked about: what each item of the history says for the item there. `asked` (m,) has the place of each term."""
    hits = np.flatnonzero(asked >= 0)
    hits = hits[terms.values[hits] > 0]
    owner = np.searchsorted(np.cumsum(terms.sizes), hits, side="right")
    shares: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for at, item, value in zip(
        asked[hits].tolist(), terms.items[owner].tolist(), terms.values[hits].tolist(), strict=True
    ):
        shares[at][item] += value
    return shares


def _strongest(shares: Mapping[int, float], limit: int) -> list[int]:
    """The items with the largest shares, of equal ones those of lower row."""
    if len(shares) <= 1:
        return list(shares)[:limit]
    return sorted(shares, key=lambda item: (-shares[item], item))[:limit]


def _distinct(columns: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ones of `columns` (m,), all below n, in no order, and which of them each is: (u,) and (m,).

    Without sorting: every one writes where it stands into its place, and who finds himself there afterwards stays. With the
    machine's own integers throughout: numpy takes twice as long with any other index.
    """
    _own.placed = None
    place, stand = _places(n), np.arange(len(columns))
    place[columns] = stand
    distinct = columns[place.take(columns) == stand]
    place[distinct] = np.arange(len(distinct))
    return distinct, place.take(columns)


def _places(n: int) -> NDArray[np.int64]:
    """(n,) or longer, non-negative: room to work in, this thread's own, kept from one request to the next."""
    kept: NDArray[np.int64] = getattr(_own, "places", np.zeros(0, np.int64))
    if len(kept) < n:
        kept = _own.places = np.zeros(n, np.int64)
    return kept


def _upper(
    rows: NDArray[np.int64], total: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Those that are among the k best, or as good as the last of them."""
    rounded = total.astype(np.float32)
    edge = np.partition(rounded, len(rounded) - k)[len(rounded) - k]
    kept = rounded >= edge
    return rows[kept], total[kept]
