"""The best of a blend for one user at a cost that follows the user's history, not the catalogue.

Most items are spoken of by no member but the impersonal ones, whose say is the same for everyone and can be ordered once. Where
a member is silent its score is 0, so that the mean and deviation that standardise it follow from the sums of what it does
say (see models.blend_rest.standardised). What comes out is what `top_k` of the blend's dense scores would be, to rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from models.blend_reasons import named, share_of_places
from models.blend_rest import Alike, Dense, Near, Passes, Rest, Vectors, standardised
from models.blend_terms import (
    Asked,
    Folded,
    FoldingRecommender,
    ImpersonalRecommender,
    SparseRecommender,
    Terms,
)
from models.recommender import Mask, Ranked, UserBatch, VectorRecommender, ragged_top_k

FIRST_LOOK = 256  # of the impersonal order, where a filter leaves most of it

A_TERM = 8  # items for each term up to which looking at all of them costs less than following the terms

_own = threading.local()


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
        score, spoken, constant = self._parts(said, size)
        known = np.flatnonzero(spoken & passes(touched))
        rows, score = touched.take(known), score.take(known)
        rest, met = self._rest(users, said), _room(len(self.same), len(self.parts)).met
        met[touched] = spoken
        try:
            if isinstance(rest, Near):
                rows, scores = rest.top(rows, score, k, passes, met)
            else:
                others = _others(met, k, passes, rest)
                scores = np.concatenate([score + rest.values(rows), rest.values(others)])
                rows = np.concatenate([rows, others])
        finally:
            met[touched] = False
        scores += constant
        if len(rows) > 2 * k:
            rows, scores = _upper(rows, scores, k)
        return ragged_top_k(np.zeros(len(rows), np.int64), rows.astype(np.int32), scores.astype(np.float32), 1, k)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        """As Blend.because, for a batch of one: (k, limit) int32 for items (k,)."""
        said, history = self._said(users), np.unique(users.items)
        place = _room(len(self.same), len(self.parts)).asked
        known = np.flatnonzero(item_ix >= 0)
        place[item_ix[known]] = known
        shares = [share_of_places(terms, place, len(item_ix), history) for terms in said.terms]
        place[item_ix[known]] = -1
        weights = [part.weight for part in self.parts]
        spoken: list[tuple[float, NDArray[np.int32]]] = []
        for whole in self.wholes:
            if (folded := said.folded if whole is self.wholes[0] else None) is not None:
                found = folded.shares(whole.known(item_ix))
                shares.append(_by_item(found, whole.back[folded.items], history))
                weights.append(whole.weight)
            else:
                spoken.append((whole.weight, whole.because(users, item_ix[None], limit)[0]))
        return named(np.stack(shares), weights, spoken, history, limit)

    def _parts(self, said: _Said, size: int) -> tuple[NDArray[np.float64], Mask, float]:
        """What the parts say together of the items touched, (u,) and bool (u,): of which any does, and what of all others."""
        own = np.maximum(said.totals, 0)
        counted = np.full(len(own), float(size))
        if self.trained is not None:
            counted += np.count_nonzero((own > 0) & ~self.trained[said.touched], axis=1)
        mean = own.sum(axis=1) / counted
        square = np.einsum("ij,ij->i", own, own) / counted - mean * mean
        factor = np.array([part.weight for part in self.parts]) / np.sqrt(np.where(square > 0, square, 1.0))
        spoken: Mask = np.asarray((own > 0).any(axis=0))
        return factor @ own, spoken, -float(factor @ mean)

    def _rest(self, users: UserBatch, said: _Said) -> Rest | Near:
        """What is said to this user of every item by all but the parts."""
        if not self.wholes:
            return Alike(self.same, self.order)
        if self._vectors is not None and len(users.items):
            member = self.wholes[0]
            if said.folded is not None:
                return self._vectors.near(said.folded.vector, member.weight)
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
    def _folds(self) -> FoldingRecommender | None:
        """The first of the wholes, where it folds a history in."""
        model = self.wholes[0].model if self.wholes else None
        return model if isinstance(model, FoldingRecommender) else None

    @cached_property
    def _vectors(self) -> Vectors | None:
        """Of the whole, where there is one, it has vectors, and speaks of every item."""
        if len(self.wholes) != 1 or self.trained is not None:
            return None
        whole = self.wholes[0]
        if not isinstance(whole.model, VectorRecommender) or len(whole.back) != len(self.same):
            return None
        found = whole.model.item_vectors()
        return Vectors.of(found if whole.alike else found[whole.own], self.same, whole.weight)

    def _said(self, users: UserBatch) -> _Said:
        """What the members say to a user; kept for the last one, who is asked about first for items, then for reasons."""
        kept: tuple[Search, UserBatch, _Said] | None = getattr(_own, "said", None)
        if kept is None or kept[0] is not self or kept[1] is not users:
            terms = [part.terms(users) for part in self.parts]
            folded = None
            if self._folds is not None:
                own = self.wholes[0].users(users)
                folded = self._folds.fold(own) if len(own.items) else None
            kept = _own.said = (self, users, _Said(terms, *_summed(terms, len(self.same)), folded))
        return kept[2]


@dataclass(frozen=True)
class _Said:
    """What is said to one user: the `terms` of each part, the distinct items `touched` (u,) of these, what each part says of
    them in all, `totals` (parts, u), and the user as the first of the wholes has folded them in, where it does."""

    terms: list[Terms]
    touched: NDArray[np.int64]
    totals: NDArray[np.float64]
    folded: Folded | None


@dataclass(frozen=True)
class _Room:
    """Room to work in, (n,) or longer: one thread's own, kept from one request to the next, and left as it is found.

    `place` holds anything, `totals` (parts, n) 0, `asked` -1, and `met` False.
    """

    place: NDArray[np.int64]
    totals: NDArray[np.float32]
    asked: NDArray[np.int32]
    met: Mask


def _room(n: int, parts: int) -> _Room:
    kept: _Room | None = getattr(_own, "room", None)
    if kept is None or kept.totals.shape != (parts, n):
        totals = np.zeros((parts, n), np.float32)
        kept = _own.room = _Room(np.zeros(n, np.int64), totals, np.full(n, -1, np.int32), np.zeros(n, bool))
    return kept


def _summed(terms: Sequence[Terms], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The distinct items of terms, (u,), and the sums of the terms of each part, (parts, u)."""
    room = _room(n, len(terms))
    _own.room = None  # what fails on the way is to leave nothing behind
    for one, total in zip(terms, room.totals, strict=True):
        one.add_to(total)
    few = n > A_TERM * sum(len(one.columns) for one in terms)
    touched: NDArray[np.int64] = _distinct(terms, room.place) if few else np.flatnonzero(room.totals.any(axis=0))
    found = room.totals.take(touched, axis=1).astype(np.float64)
    if few:
        room.totals[:, touched] = 0
    else:
        room.totals[:] = 0
    _own.room = room
    return touched, found


def _distinct(terms: Sequence[Terms], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """(u,): the distinct items of terms, in no order.

    Without sorting: every one writes where it stands into its place, and who finds himself there afterwards stays. With the
    machine's own integers throughout: numpy takes twice as long with any other index.
    """
    columns = np.concatenate([one.columns for one in terms], dtype=np.int64)
    stand = np.arange(len(columns))
    place[columns] = stand
    return columns.compress(place.take(columns) == stand)


def _others(met: Mask, k: int, passes: Passes, rest: Rest) -> NDArray[np.int64]:
    """The first k of the rest that pass and are not met already."""
    found: list[NDArray[np.int64]] = []
    have, seen, size = 0, 0, max(4 * k, FIRST_LOOK)
    while have < k:
        rows = rest.best(size)[seen:]
        if len(rows) == 0:
            break
        seen += len(rows)
        rows = rows[passes(rows)]
        rows = rows[~met[rows]]
        found.append(rows)
        have, size = have + len(rows), size * 5
    return np.concatenate([*found, np.zeros(0, np.int64)])[:k]


def _by_item(shares: NDArray[np.float32], items: NDArray[np.int32], history: NDArray[np.int32]) -> NDArray[np.float64]:
    """Shares (k, h) of interactions with `items` (h,) as those of the distinct items `history` (H,): (k, H)."""
    k, wide = len(shares), len(history)
    column = np.arange(k)[:, None] * wide + np.searchsorted(history, items)
    found: NDArray[np.float64] = np.bincount(column.ravel(), shares.ravel(), k * wide).astype(np.float64, copy=False)
    return found.reshape(k, wide)


def _upper(
    rows: NDArray[np.int64], total: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Those that are among the k best, or as good as the last of them."""
    rounded = total.astype(np.float32)
    edge = np.partition(rounded, len(rounded) - k)[len(rounded) - k]
    kept = rounded >= edge
    return rows[kept], total[kept]
