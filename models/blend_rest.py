"""What a blend says of all items by how near vectors are, searched together with what is the same for everyone.

The mean and deviation that standardise a member's scores follow from those of its vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.recommender import Mask

BLOCK = 64  # rows that are looked at together, or not at all
ROWS_AT_ONCE = 4_096  # of which doubles stay in the cache
TYPICAL = 1_000  # items whose vectors stand for those of users


class Near(NamedTuple):
    """Said to one user: the inner product of `query` (d,) float32 with each vector, what everyone is told, and `constant`.

    No inner product is larger than `reach`, the length of the query, times that of the vector: what could not come among the
    best is not computed (as in Fagin et al. 2003, "Optimal aggregation algorithms for middleware"). Of items without a vector
    `less` is said. The other fields are those of Vectors, in the order in which models.blend_kernel.best_near takes them.
    """

    constant: float
    bounds: NDArray[np.float32]
    vectors: NDArray[np.float32]
    own: NDArray[np.int32]
    order: NDArray[np.int32]
    norms: NDArray[np.float64]
    sames: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    levels: NDArray[np.float64]
    query: NDArray[np.float32]
    reach: float
    strange: NDArray[np.int32]
    told: NDArray[np.int32]
    less: float


@dataclass(frozen=True)
class Vectors:
    """The vectors (m, d) float32 of a member, that of item i of the blend in row `own`[i], own (n,) int32, and what bounds what
    may be said of an item: `bounds` (n, 2) float32, what everyone is told and the length of its vector.

    `order` has the rows of items with a vector by how much may be said of them at most to a user like most, in blocks, the last
    one filled with -1; `norms` and `sames` are the largest of each block. `kinds` (n,) uint8 are the bounds in one byte, 16 times
    the level of the first and that of the second, of which `levels` (2, 16) are the largest. `strange` are the rows of those
    without, whose `own` is -1: what members learned of since this one was trained. `told` are those of them that everyone is
    told something of.
    """

    vectors: NDArray[np.float32]
    own: NDArray[np.int32]
    bounds: NDArray[np.float32]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    order: NDArray[np.int32]
    norms: NDArray[np.float64]
    sames: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    levels: NDArray[np.float64]
    strange: NDArray[np.int32]
    told: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        vectors: NDArray[np.float32],
        own: NDArray[np.int32],
        same: NDArray[np.float64],
        told: NDArray[np.int32],
        weight: float,
    ) -> Self:
        """Of a member that counts `weight`. Everyone is told `same` (n,) of the items, but only of those in the rows `told` is
        anything spoken."""
        n, d = vectors.shape
        total, squares, length = np.zeros(d), np.zeros((d, d)), np.empty(n)
        for at in range(0, n, ROWS_AT_ONCE):
            part = vectors[at : at + ROWS_AT_ONCE].astype(np.float64)
            total += part.sum(axis=0)
            squares += part.T @ part
            length[at : at + ROWS_AT_ONCE] = np.sqrt(np.einsum("ij,ij->i", part, part))
        mean = total / n
        covariance = squares / n - np.outer(mean, mean)
        rows, norm = np.flatnonzero(own >= 0), np.zeros(len(own))
        norm[rows] = length[own[rows]]
        typical = vectors[:: -(-n // TYPICAL)].astype(np.float64)  # users are among items
        deviation = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", typical, covariance, typical), 1e-12))
        reach = weight * float(np.median(np.linalg.norm(typical, axis=1) / deviation))
        order = np.full(-(-n // BLOCK) * BLOCK, -1, np.int32)
        order[:n] = rows[np.argsort(-(reach * norm[rows] + same[rows]), kind="stable")]
        blocks = order.reshape(-1, BLOCK)
        norms, sames = (np.where(blocks < 0, -np.inf, values[blocks]).max(axis=1) for values in (norm, same))
        bounds = np.stack([same, norm], axis=1).astype(np.float32)  # their rounding is that of the products
        strange = np.flatnonzero(own < 0).astype(np.int32)
        ends = [_levels(bounds[:, side]) for side in (0, 1)]
        said, long = (end.searchsorted(bounds[:, side]).astype(np.uint8) for side, end in enumerate(ends))
        return cls(
            np.ascontiguousarray(vectors, np.float32), own, bounds, mean, covariance, order, np.maximum(norms, 0), sames,
            16 * said + long, np.array(ends, np.float64), strange, told[own[told] < 0],
        )  # fmt: skip

    def near(self, encoded: NDArray[np.float32], weight: float, lowest: float) -> Near:
        """What the member says to the user with this vector (d,), standardised and weighed, with what everyone is told. Items
        without a vector count as the `lowest` product of all, or 0 (see `standardised`)."""
        query, known = np.empty(len(encoded), np.float32), len(self.vectors) / len(self.own)
        constant, reach, less = self._spread(encoded, self.mean, self.covariance, known, weight, lowest, query)
        return Near(constant, *self._arrays, query, reach, self.strange, self.told, less)

    @cached_property
    def _arrays(self) -> _Arrays:
        """What of it each user's Near has."""
        return self.bounds, self.vectors, self.own, self.order, self.norms, self.sames, self.kinds, self.levels

    @cached_property
    def _spread(self) -> Callable[..., tuple[float, float, float]]:
        from models import blend_fold  # compiled: who asks for no user does without

        found: Callable[..., tuple[float, float, float]] = blend_fold.spread
        return found


_Arrays = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64],
    NDArray[np.uint8], NDArray[np.float64],
]  # fmt: skip


def _levels(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(16,), ascending: ends of as many ranges, the largest of them narrower the lower they lie, for most values are low."""
    least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
    ends: NDArray[np.float32] = (least + (most - least) * (np.arange(1, 17) / 16) ** 3).astype(np.float32)
    ends[-1] = most
    return ends


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
