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
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from models import blend_kernel as kernel
from models.blend_rest import Near, Vectors, standardised
from models.blend_terms import (
    Asked,
    Folded,
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
        said = self._said(users)
        terms = int(sum((one.stops - one.starts).sum() for one in said.terms))
        room = _room(len(self.same), len(self.parts), terms)
        _own.room = None  # what fails on the way is to leave nothing behind
        found, best, count = np.empty(k, np.int32), np.empty(k, np.float32), 0
        for part, (asked, one) in enumerate(zip(self.parts, said.terms, strict=True)):
            count = kernel.add(*one[:5], asked.moved, part, room.place, room.touched, room.totals, count)
        if count >= self.size:
            return None
        trained, weights = _ALL if self.trained is None else self.trained, self._weights
        constant = kernel.weigh(room.totals, room.touched, count, weights, self.size, trained, room.scores)
        touched = (room.scores, room.touched, count, constant)
        into = (allowed, rows, room.place, found, best)
        near = self._near(users, said)
        if near is not None:
            kernel.best_near(*touched[:3], constant + near.constant, *near[1:], *into)
        elif not self.wholes or (self._vectors is not None and self._folds is not None):  # it has nothing to fold in
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
        said, history = self._said(users), np.unique(users.items)
        k, folded = len(item_ix), said.folded
        others = self.wholes if folded is None else self.wholes[1:]
        shared = np.zeros((len(self.parts) + (folded is not None), k, len(history)))
        for at, (part, one) in enumerate(zip(self.parts, said.terms, strict=True)):
            kernel.shares(*one[:5], part.moved, history.searchsorted(part.back[one.items]), item_ix, shared[at])
        weights = self._weights
        if folded is not None:
            whole = self.wholes[0]
            shared[-1] = _by_item(folded.shares(whole.known(item_ix)), whole.back[folded.items], history)
            weights = np.append(weights, whole.weight)
        votes = np.zeros((k, len(history)))
        for whole in others:
            slot, place = np.nonzero((spoken := whole.because(users, item_ix[None], limit)[0]) >= 0)
            np.add.at(votes, (slot, history.searchsorted(spoken[slot, place])), whole.weight / (1 + place))
        found = np.empty((k, limit), np.int32)
        kernel.named(shared, weights, votes, history, found)
        return found

    def _near(self, users: UserBatch, said: _Said) -> Near | None:
        """What the only whole says of every item, where it has vectors."""
        if self._vectors is None or not len(users.items):
            return None
        found, member = self._vectors, self.wholes[0]
        if said.folded is not None:
            user = said.folded.vector
        elif self._folds is None and len((own := member.users(users)).items):
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
    def _folds(self) -> FoldingRecommender | None:
        """The first of the wholes, where it folds a history in."""
        model = self.wholes[0].model if self.wholes else None
        return model if isinstance(model, FoldingRecommender) else None

    @cached_property
    def _vectors(self) -> Vectors | None:
        """Of the whole, where there is one and it has vectors. It says something of each item that it knows."""
        if len(self.wholes) != 1 or self.trained is not None:
            return None
        whole = self.wholes[0]
        if not isinstance(whole.model, VectorRecommender):
            return None
        return Vectors.of(whole.model.item_vectors(), whole.own, self.same, self.order, whole.weight)

    def _said(self, users: UserBatch) -> _Said:
        """What the members say to a user; kept for the last one, who is asked about first for items, then for reasons."""
        kept: tuple[Search, UserBatch, _Said] | None = getattr(_own, "said", None)
        if kept is None or kept[0] is not self or kept[1] is not users:
            folded = None
            if self._folds is not None:
                own = self.wholes[0].users(users)
                folded = self._folds.fold(own) if len(own.items) else None
            terms = [cast(SparseRecommender, part.model).terms(part.users(users)) for part in self.parts]
            kept = _own.said = (self, users, _Said(terms, folded))
        return kept[2]


@dataclass(frozen=True)
class _Said:
    """What is said to one user: the `terms` of each part, in its rows, and the user as the first of the wholes has folded them
    in, where it does."""

    terms: list[Terms]
    folded: Folded | None


@dataclass(frozen=True)
class _Room:
    """Room for one thread to work in, as models.blend_kernel names it: kept from one request to the next."""

    place: NDArray[np.int32]
    touched: NDArray[np.int32]
    totals: NDArray[np.float32]
    scores: NDArray[np.float64]


def _room(n: int, parts: int, terms: int) -> _Room:
    kept: _Room | None = getattr(_own, "room", None)
    slots = min(n, terms) + 1
    if kept is None or len(kept.place) < n or len(kept.touched) < slots or len(kept.totals) != parts:
        slots = min(n, 2 * terms) + 1
        totals = np.zeros((parts, slots), np.float32)
        kept = _Room(np.zeros(n, np.int32), np.empty(slots, np.int32), totals, np.empty(slots))
    return kept


_ALL = np.zeros(0, bool)


def _by_item(shares: NDArray[np.float32], items: NDArray[np.int32], history: NDArray[np.int32]) -> NDArray[np.float64]:
    """Shares (k, h) of interactions with `items` (h,) as those of the distinct items `history` (H,): (k, H)."""
    k, wide = len(shares), len(history)
    column = np.arange(k)[:, None] * wide + np.searchsorted(history, items)
    found: NDArray[np.float64] = np.bincount(column.ravel(), shares.ravel(), k * wide).astype(np.float64, copy=False)
    return found.reshape(k, wide)
