"""What a blend asks of its members: few terms where the history leads somewhere, one order for all, or a vector folded in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.recommender import Recommender, UserBatch, VectorRecommender

NO_ROWS: NDArray[np.int32] = np.zeros(0, np.int32)


class Terms(NamedTuple):
    """What the h interactions of a user with `items` (h,) int32 say: interaction i of the items `columns`[starts[i]:stops[i]], of
    which one may be met several times, the `values` there, and it counts `weights`[i].

    `columns` int32 and `values` float32 may be a whole model's; `starts` and `stops` (h,) are int64, `weights` (h,) float32.
    """

    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    weights: NDArray[np.float32]
    items: NDArray[np.int32]


def newest(users: UserBatch, n: int) -> UserBatch:
    """As `users.newest(n)` for a batch of one, but as views: not to be given to scipy, which sorts."""
    size = len(users.items)
    if size <= n:
        return users
    last, indptr = slice(size - n, size), np.array([0, n], np.int64)
    return UserBatch(users.rows, indptr, users.items[last], users.times_s[last], users.weights[last], users.now_s)


def row_terms(matrix: sparse.csr_matrix, items: NDArray[np.int32], weights: NDArray[np.float32]) -> Terms:
    """The rows of a csr matrix for `items` (h,), which count `weights` (h,)."""
    columns, values = matrix.indices.astype(np.int32, copy=False), matrix.data.astype(np.float32, copy=False)
    starts, stops = matrix.indptr.take(items), matrix.indptr[1:].take(items)
    return Terms(columns, values, starts.astype(np.int64), stops.astype(np.int64), weights, items)


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


class Folded(Protocol):
    """One user in a vector space."""

    @property
    def vector(self) -> NDArray[np.float32]:
        """(d,): as `encode` gives it."""

    @property
    def items(self) -> NDArray[np.int32]:
        """(h,): the interactions that were folded in."""

    def shares(self, item_ix: NDArray[np.int32]) -> NDArray[np.float32]:
        """(k, h): how much of the score of each of these items each interaction carries; 0 for an item of -1."""


@runtime_checkable
class FoldingRecommender(VectorRecommender, Protocol):
    """A recommender of vectors whose scores are sums over the history."""

    def fold(self, users: UserBatch) -> Folded:
        """For a batch of one whose history is not empty."""


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
        named = self.model.because(self.users(users), self.known(item_ix), limit)
        return np.where(named >= 0, self.back[np.maximum(named, 0)], -1).astype(np.int32)

    def known(self, item_ix: NDArray[np.int32]) -> NDArray[np.int32]:
        """Its rows of items of the blend, -1 for none."""
        return item_ix if self.alike else np.where(item_ix >= 0, self.own[item_ix], -1).astype(np.int32)

    @cached_property
    def moved(self) -> NDArray[np.int32]:
        """`back`, or (0,) where the rows are the same."""
        return NO_ROWS if self.alike else self.back
