"""What a blend says of the items that a user's history leads to nowhere near: the same to everyone, or by how near vectors are.

One member's vectors can be searched together with what is the same for everyone: that is one more dimension, in which every
query has 1. The mean and deviation that standardise its scores follow from those of the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.index import EXACT_ROWS, VectorIndex
from models.recommender import Mask, top_k

SEARCHED = 2_000  # beyond so many, ordering all costs less than searching


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

    @cached_property
    def _ordered(self) -> NDArray[np.float32]:
        return (self.said if self.spoken is None else np.where(self.spoken, self.said, np.float32(-np.inf)))[None]


@dataclass(frozen=True)
class Vectors:
    """The vectors of a member (n, d), in the rows of the blend, with what is the same for everyone as their last dimension."""

    vectors: NDArray[np.float32]
    index: VectorIndex
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], same: NDArray[np.float64]) -> Self | None:
        """None where there are so many that an exact search is not the quickest way."""
        if len(vectors) > EXACT_ROWS:
            return None
        wide = np.hstack([vectors, same[:, None].astype(np.float32)])
        mean = vectors.mean(axis=0, dtype=np.float64)
        covariance = vectors.T.astype(np.float64) @ vectors / len(vectors) - np.outer(mean, mean)
        return cls(wide, VectorIndex.build(wide, "flat"), mean, covariance)

    def near(self, encoded: NDArray[np.float32], weight: float) -> Near:
        """What the member says to the user with this vector (d,), standardised and weighed, with what everyone is told."""
        user = encoded.astype(np.float64)
        square = float(user @ self.covariance @ user)
        scale = weight / (square**0.5 if square > 0 else 1.0)
        return Near(self, np.append(user * scale, 1.0).astype(np.float32), -scale * float(user @ self.mean))


@dataclass(frozen=True)
class Near:
    """Said to one user: the inner product of `query` (d + 1,) with each vector, and `constant`."""

    of: Vectors
    query: NDArray[np.float32]
    constant: float

    def best(self, size: int) -> NDArray[np.int64]:
        """See Rest."""
        if size > SEARCHED:
            return self._all.best(size)
        rows, _ = self.of.index.search(self.query[None], min(size, len(self.of.index)))
        found: NDArray[np.int64] = rows[0].astype(np.int64)
        return found

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See Rest."""
        near: NDArray[np.float64] = (self.of.vectors[rows] @ self.query).astype(np.float64)
        return near + self.constant

    @cached_property
    def _all(self) -> Dense:
        return Dense(self.of.vectors @ self.query, None)


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
