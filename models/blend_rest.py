"""What a blend says of the items that a user's history leads to nowhere near: the same to everyone, or by how near vectors are.

One member's vectors are searched together with what is the same for everyone. The mean and deviation that standardise its
scores follow from those of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from core.lazy import lazy
from models.recommender import Mask, top_k

BLOCK = 64  # rows that are looked at together, or not at all
FIRST_BLOCKS = 32
ROWS_AT_ONCE = 65_536
TYPICAL = 1_000  # items whose vectors stand for those of users

Passes = Callable[[NDArray[np.int64]], Mask]  # which of these rows may be answered


class Rest(Protocol):
    """Items by what is said of them; rows are those of the blend."""

    def best(self, size: int) -> NDArray[np.int64]:
        """The first `size` rows at most, best first."""

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(m,): what is said of these."""


@dataclass(frozen=True)
class Alike:
    """The same for everyone: `said` (n,) float64, finite also where nothing is, and `order`, the rows of which something is."""

    said: NDArray[np.float64]
    order: NDArray[np.int64]

    def best(self, size: int) -> NDArray[np.int64]:
        """See Rest."""
        return self.order[:size]

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See Rest."""
        return self.said[rows]


@dataclass(frozen=True)
class Dense:
    """Said to one user of every item: `said` (n,) float32; `spoken` (n,) bool: of which of them, or None for all."""

    said: NDArray[np.float32]
    spoken: NDArray[np.bool_] | None

    def best(self, size: int) -> NDArray[np.int64]:
        """See Rest."""
        rows, _ = top_k(self._ordered, min(size, len(self.said)))
        found: NDArray[np.int64] = rows[0][rows[0] >= 0].astype(np.int64)
        return found

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See Rest."""
        return self.said[rows].astype(np.float64)

    @lazy
    def _ordered(self) -> NDArray[np.float32]:
        return (self.said if self.spoken is None else np.where(self.spoken, self.said, np.float32(-np.inf)))[None]


@dataclass(frozen=True)
class Vectors:
    """The vectors (n, d) of a member, in the rows of the blend, and what bounds their inner products: their lengths `norm` (n,).

    `same` (n,) is what everyone is told. `order` has all rows by how much may be said of them at most to a user like most, in
    blocks, the last one filled with -1; `norms` and `sames` are the largest of each block.
    """

    vectors: NDArray[np.float32]
    norm: NDArray[np.float64]
    same: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    order: NDArray[np.int64]
    norms: NDArray[np.float64]
    sames: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], same: NDArray[np.float64], weight: float) -> Self:
        """Of a member that counts `weight`."""
        n, d = vectors.shape
        mean = vectors.mean(axis=0, dtype=np.float64)
        squares = np.zeros((d, d))
        for at in range(0, n, ROWS_AT_ONCE):
            part = vectors[at : at + ROWS_AT_ONCE].astype(np.float64)
            squares += part.T @ part
        covariance = squares / n - np.outer(mean, mean)
        norm = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        typical = vectors[:: -(-n // TYPICAL)].astype(np.float64)  # users are among items
        deviation = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", typical, covariance, typical), 1e-12))
        reach = weight * float(np.median(np.linalg.norm(typical, axis=1) / deviation))
        order = np.full(-(-n // BLOCK) * BLOCK, -1)
        order[:n] = np.argsort(-(reach * norm + same), kind="stable")
        blocks = order.reshape(-1, BLOCK)
        norms, sames = (np.where(blocks < 0, -np.inf, values[blocks]).max(axis=1) for values in (norm, same))
        return cls(vectors, norm, same, mean, covariance, order, np.maximum(norms, 0), sames)

    def near(self, encoded: NDArray[np.float32], weight: float) -> Near:
        """What the member says to the user with this vector (d,), standardised and weighed, with what everyone is told."""
        user = encoded.astype(np.float64)
        square = float(user @ self.covariance @ user)
        scale = weight / (square**0.5 if square > 0 else 1.0)
        query = user * scale
        return Near(self, query.astype(np.float32), -float(query @ self.mean), float(query @ query) ** 0.5)


@dataclass(frozen=True)
class Near:
    """Said to one user: the inner product of `query` (d,) with each vector, what everyone is told, and `constant`.

    No inner product is larger than `reach`, the length of the query, times that of the vector: what could not come among the
    best is not computed (as in Fagin et al. 2003, "Optimal aggregation algorithms for middleware").
    """

    of: Vectors
    query: NDArray[np.float32]
    constant: float
    reach: float

    def top(
        self, rows: NDArray[np.int64], said: NDArray[np.float64], k: int, passes: Passes, met: Mask
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows and scores, in no order, with the k best among them: of `rows` (u,), of which `said` (u,) is said besides, and of
        what else passes and is not `met` (n,)."""
        found, scores, edge = self._of_these(rows, said, k)
        bounds = self.reach * self.of.norms + self.of.sames
        worth = np.flatnonzero(bounds >= edge)
        worth = worth[np.argsort(-bounds[worth], kind="stable")]
        size = FIRST_BLOCKS
        while len(worth) and bounds[worth[0]] >= edge:
            others = self.of.order.reshape(-1, BLOCK)[worth[:size]].ravel()
            worth, size = worth[size:], size * 4
            others = others[(others >= 0) & ~met.take(others)]
            others = others[self.reach * self.of.norm.take(others) + self.of.same.take(others) >= edge]
            others = others[passes(others)]
            found = np.concatenate([found, others])
            scores = np.concatenate([scores, self.of.same.take(others) + self._products(others)])
            if len(scores) > k:
                edge = max(edge, _below(np.partition(scores, len(scores) - k)[len(scores) - k]))
        return found, scores + self.constant

    def _of_these(
        self, rows: NDArray[np.int64], said: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Those of `rows` that can be among the k best, their scores but for the constant, and what the k-th reaches at least."""
        known = said + self.of.same.take(rows)
        edge = -np.inf
        if len(rows) > k:
            first = np.argpartition(known, len(rows) - k)[len(rows) - k :]
            edge = _below((known[first] + self._products(rows[first])).min())
            close = np.flatnonzero(known + self.reach * self.of.norm.take(rows) >= edge)
            rows, known = rows[close], known[close]
        return rows, known + self._products(rows), edge

    def _products(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.of.vectors.take(rows, axis=0) @ self.query
        return found


def _below(value: float) -> float:
    """A little less, for the rounding of inner products."""
    return float(value) - 1e-4 * (1 + abs(float(value)))


def standardised(scores: NDArray[np.float32], trained: Mask | None = None) -> NDArray[np.float32]:
    """(B, n) float32 of mean 0 and deviation 1 in each row; -inf counts as 0, or as the lowest where that is below.

    With `trained` (n,), mean and deviation are those of the items in it and of the others that are spoken of; the rest is
    as low as the lowest of these.
    """
    spoken = scores > -np.inf
    found: NDArray[np.float32] = np.where(spoken, scores, np.float32(0))
    lowest = found.min(axis=1, keepdims=True, initial=0)
    if (lowest < 0).any():
        np.copyto(found, lowest, where=~spoken)
    if trained is None or trained.all():
        found -= found.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.mean(found**2, axis=1, keepdims=True))
    else:
        counted = spoken | trained
        found = np.where(counted, found, found.min(axis=1, keepdims=True, initial=np.inf, where=counted))
        found -= found.mean(axis=1, keepdims=True, where=counted)
        deviation = np.sqrt(np.mean(found**2, axis=1, keepdims=True, where=counted))
    found /= np.where(deviation > 0, deviation, 1)
    return found
