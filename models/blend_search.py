"""The best of a blend for one user at a cost that follows the user's history, not the catalogue.

Most items are spoken of by no member but the impersonal ones, whose say is the same for everyone and can be ordered once. Where
a member is silent its score is 0, so that the mean and deviation that standardise it follow from the sums of what it does
say. What comes out is what `top_k` of the blend's dense scores would be, to rounding. The work is done by models.blend_kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from models import blend_fold
from models import blend_kernel as kernel
from models import blend_reasons as reasons
from models.blend_rest import Near, Vectors, standardised
from models.blend_terms import (
    Asked,
    Folding,
    FoldingRecommender,
    ImpersonalRecommender,
    SparseRecommender,
    Terms,
)
from models.recommender import Mask, Ranked, UserBatch, VectorRecommender, top_k

_own = threading.local()


@dataclass(frozen=True)
class Search:
    """`parts` say something of few items, `wholes` of all. What the others say together is the same for everyone: `same` (n,)
    float64, finite also for the items that they do not speak of; `order` int32 are those that they speak of, best first.

    `trained` (n,) bool are the items that are standardised over beside those spoken of; None: all. `size` is their number.
    """

    parts: tuple[Asked, ...]
    wholes: tuple[Asked, ...]
    same: NDArray[np.float64]
    order: NDArray[np.int32]
    trained: Mask | None
    size: int

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
        some = None if trained is None or trained.all() else trained
        size = len(same) if some is None else int(np.count_nonzero(some))
        return cls(parts, tuple(wholes), same, order.astype(np.int32), some, size)

    def best(self, users: UserBatch, k: int, allowed: Mask, rows: NDArray[np.int32]) -> Ranked | None:
        """The k best, for a batch of one, of the items for which `allowed` (N,) is true in their `rows` (n,) int32: rows (1, k)
        int32, scores (1, k) float32, padded as everywhere.

        None where the history leads to so much of the catalogue that the dense way is the right one.
        """
        room, (items, weighs) = self._room(), (users.items, users.weights)
        _own.room = None  # what fails on the way is to leave nothing behind
        found, best, count = np.empty(k, np.int32), np.empty(k, np.float32), 0
        for at, (asked, terms) in enumerate(self._terms):
            count = kernel.add(items, weighs, *asked.moved, *terms, at, room.place, room.touched, room.totals, count)
        if count >= self.size:
            return None
        trained = _ALL if self.trained is None else self.trained
        constant = kernel.weigh(room.totals, room.touched, count, self._weights, self.size, trained, room.scores)
        touched = (room.scores, room.touched, count, constant)
        into = (allowed, rows, room.place, found, best)
        near = self._near(users)
        if near is not None:
            kernel.best_near(*touched[:3], constant + near.constant, *near[1:], *into)
        elif not self.wholes or (self._vectors is not None and self._folding is not None):  # it has nothing to fold in
            kernel.best_alike(*touched, self.same, self.order, *into)
        else:
            whole, speaks = self._dense(users)
            passing = speaks & allowed[rows]
            passing[room.touched[:count][room.scores[:count] != 0]] = False
            first = top_k(whole[None], k, ~passing)[0][0]
            kernel.best_alike(*touched, whole.astype(np.float64), first[first >= 0], *into)
        _own.room = room
        return found[None], best[None]

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        """As Blend.because, for a batch of one: (k, limit) int32 for items (k,)."""
        items, weighs, k = users.items, users.weights, len(item_ix)
        folded = self._folded(users)
        others = self.wholes if folded is None else self.wholes[1:]
        history, owner = np.empty(len(items), np.int32), np.empty(len(items), np.int32)
        history = history[: reasons.distinct(items, self._room().place, history, owner)]
        shared = np.zeros((len(self.parts) + (folded is not None), k, len(history)))
        for at, (part, terms) in enumerate(self._terms):
            reasons.shares(items, weighs, part.moved[0], *terms, owner, item_ix, shared[at])
        weights = self._weights
        if folded is not None and self._folding is not None:
            left, whole = folded.left, self.wholes[0]
            blend_fold.carried(items, weighs, whole.moved[0], *self._folding, left, owner, item_ix, shared[-1])
            weights = self._all_weights
        votes = np.zeros((k, len(history)))
        for whole in others:
            slot, place = np.nonzero((spoken := whole.because(users, item_ix[None], limit)[0]) >= 0)
            if len(slot):  # an empty history has no largest
                where = (spoken[slot, place, None] == history).argmax(axis=1)
                np.add.at(votes, (slot, where), whole.weight / (1 + place))
        found = np.empty((k, limit), np.int32)
        reasons.named(shared, weights, votes, history, found)
        return found

    def _near(self, users: UserBatch) -> Near | None:
        """What the only whole says of every item, where it has vectors."""
        if self._vectors is None or not len(users.items):
            return None
        found, member = self._vectors, self.wholes[0]
        folded = self._folded(users)
        if folded is not None:
            user = folded.vector
        elif self._folding is None and len((own := member.users(users)).items):
            user = cast(VectorRecommender, member.model).encode(own)[0]
        else:
            return None
        lowest = 0.0
        if len(found.strange):
            arrays = (found.bounds, found.vectors, found.own, found.order, found.norms)
            lowest, _ = kernel.lowest(*arrays, user, float(np.linalg.norm(user)))
        return found.near(user, member.weight, lowest)

    def _dense(self, users: UserBatch) -> tuple[NDArray[np.float32], Mask]:
        """What is said to this user of every item (n,) by all but the parts, and bool (n,): of which anything is."""
        same, speaks = self.same.astype(np.float32), np.zeros(len(self.same), dtype=bool)
        speaks[self.order] = True
        for whole in self.wholes:
            scores = whole.scores(users)
            speaks |= scores[0] > -np.inf
            same += np.float32(whole.weight) * standardised(scores, self.trained)[0]
        return same, speaks

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """(parts,)."""
        return np.array([part.weight for part in self.parts])

    @cached_property
    def _all_weights(self) -> NDArray[np.float64]:
        """(parts + 1,): and of the first of the wholes."""
        return np.array([*self._weights, *(whole.weight for whole in self.wholes[:1])])

    @cached_property
    def _terms(self) -> list[tuple[Asked, Terms]]:
        """What each of the parts says."""
        return [(part, cast(SparseRecommender, part.model).terms) for part in self.parts]

    @cached_property
    def _folding(self) -> Folding | None:
        """Of the first of the wholes, where it folds a history in."""
        model = self.wholes[0].model if self.wholes else None
        return model.folding if isinstance(model, FoldingRecommender) else None

    @cached_property
    def _slots(self) -> int:
        """As many as the items of one user can take, and one more."""
        return min(len(self.same), sum(terms.most for _, terms in self._terms)) + 1

    @cached_property
    def _vectors(self) -> Vectors | None:
        """Of the whole, where there is one and it has vectors. It says something of each item that it knows."""
        if len(self.wholes) != 1 or self.trained is not None:
            return None
        whole = self.wholes[0]
        if not isinstance(whole.model, VectorRecommender):
            return None
        return Vectors.of(whole.model.item_vectors(), whole.own, self.same, self.order, whole.weight)

    def _folded(self, users: UserBatch) -> _Folded | None:
        """The user as the first of the wholes folds them in, None where there is nothing that it could; kept for the last one,
        who is asked about first for items, then for reasons."""
        if self._folding is None:
            return None
        kept: tuple[Search, UserBatch, _Folded | None] | None = getattr(_own, "folded", None)
        if kept is None or kept[0] is not self or kept[1] is not users:
            d = len(self._folding.gram)
            made = _Folded(np.empty((d, d), np.float32), np.empty(d, np.float32))
            size = blend_fold.fold(users.items, users.weights, self.wholes[0].moved[0], *self._folding, *made)
            if size < 0:
                raise np.linalg.LinAlgError("the factors of the items are not finite, or all zero")
            kept = _own.folded = (self, users, made if size else None)
        return kept[2]

    def _room(self) -> _Room:
        """This thread's, for this blend."""
        kept: _Room | None = getattr(_own, "room", None)
        if kept is None or kept.of is not self:
            totals = np.zeros((len(self.parts), self._slots), np.float32)
            place, touched = np.zeros(len(self.same), np.int32), np.empty(self._slots, np.int32)
            kept = _own.room = _Room(self, place, touched, totals, np.empty(self._slots))
        return kept


class _Folded(NamedTuple):
    """One user: the `vector` (d,), and what is `left` (d, d) of the system that it solves (models.blend_fold.fold)."""

    left: NDArray[np.float32]
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class _Room:
    """Room for one thread to work in, as models.blend_kernel names it: kept from one request to the next `of` the same."""

    of: Search
    place: NDArray[np.int32]
    touched: NDArray[np.int32]
    totals: NDArray[np.float32]
    scores: NDArray[np.float64]


_ALL = np.zeros(0, bool)
