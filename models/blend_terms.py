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
    """What each item of a history says: item i of the items `columns`[indptr[i]:indptr[i + 1]], of which one may be met several
    times, the `values` there; where `indptr` is empty, of itself alone, and 1. An interaction that a more follow counts
    `counts`[a], where `weighed` times its weight; those that as many follow as there are counts say nothing.

    `indptr` (n_items + 1,) or (0,) is int32 or int64, `columns` int32, `values` float32, `counts` float64.
    """

    indptr: NDArray[np.int32] | NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    counts: NDArray[np.float64]
    weighed: bool

    @property
    def most(self) -> int:
        """Of how many items something is said to one user at most."""
        return len(self.counts) * (int(np.diff(self.indptr).max(initial=0)) if len(self.indptr) else 1)


def row_terms(matrix: sparse.csr_matrix, history: int, recency: float) -> Terms:
    """The rows of a csr matrix for the newest `history` interactions, each counting `recency` times the one after it."""
    columns, values = matrix.indices.astype(np.int32, copy=False), matrix.data.astype(np.float32, copy=False)
    return Terms(matrix.indptr, columns, values, faded(history, recency), True)


def faded(history: int, recency: float) -> NDArray[np.float64]:
    """(history,): how much interactions count, the newest first."""
    return recency ** np.arange(max(history, 0), dtype=np.float64)


@runtime_checkable
class SparseRecommender(Recommender, Protocol):
    """A recommender that says something of few items for each user, what the history leads to, and never speaks against one."""

    @property
    def terms(self) -> Terms:
        """What is said. The sum over an item's terms is its score where it is above 0; of all others nothing is said."""


@runtime_checkable
class ImpersonalRecommender(Recommender, Protocol):
    """A recommender whose scores are the same for everyone."""

    def ranking(self) -> NDArray[np.float32]:
        """(n_items,) float32: the scores, -inf where it does not speak."""


class Folding(NamedTuple):
    """How a history becomes a vector: the x that solves (gram + sum_j c_j y_j y_j^T) x = sum_j c_j y_j, y_j being the item's row
    of `factors` (n_items, d) and c_j its weight times `counts`[a], where a interactions follow; as `encode` gives it. What more
    follow than there are counts is left out. `gram` is (d, d), both float32, `counts` float64.
    """

    factors: NDArray[np.float32]
    gram: NDArray[np.float32]
    counts: NDArray[np.float64]


@runtime_checkable
class FoldingRecommender(VectorRecommender, Protocol):
    """A recommender of vectors whose scores are sums over the history."""

    @property
    def folding(self) -> Folding: ...


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
    def moved(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """`own` and `back`, both (0,) where the rows are the same."""
        return (NO_ROWS, NO_ROWS) if self.alike else (self.own, self.back)
