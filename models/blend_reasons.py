"""Which items of a history carried the score of a blend: what its members name, the first of each counting most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.blend_terms import Terms


def share_of_places(terms: Terms, place: NDArray[np.int32], k: int, history: NDArray[np.int32]) -> NDArray[np.float64]:
    """(k, H) float64: what each of the distinct items `history` (H,), ascending, says for the items asked about.

    `place` (n,) is where an item stands among the k asked about, -1 for others.
    """
    at = (place.take(terms.columns) >= 0).nonzero()[0]
    owner = terms.indptr.searchsorted(at, side="right") - 1
    share = terms.values.take(at) * terms.weights.take(owner)
    slot = place.take(terms.columns.take(at)) * np.int64(len(history)) + history.searchsorted(terms.items).take(owner)
    found: NDArray[np.float64] = np.bincount(slot, np.maximum(share, 0), k * len(history)).astype(
        np.float64, copy=False
    )
    return found.reshape(k, len(history))


def named(
    shares: NDArray[np.float64], weights: Sequence[float], spoken: Sequence[tuple[float, NDArray[np.int32]]],
    history: NDArray[np.int32], limit: int,
) -> NDArray[np.int32]:  # fmt: skip
    """(k, limit) int32: the items that members name, by the members' weights, of equal ones those of lower row; padded with -1.

    `shares` (members, k, H) are those of each item of `history` (H,), ascending; `spoken` are weights and what members that do
    not share have named, (k, limit).
    """
    members, k, wide = shares.shape
    votes = np.zeros((k, wide))
    if wide == 0:
        return np.full((k, limit), -1, np.int32)
    weight = np.repeat(np.asarray(weights, np.float64), k)
    for place, best, there in _strongest(shares.reshape(members * k, wide), limit):
        np.add.at(votes, (np.flatnonzero(there) % k, best[there]), weight[there] / (1 + place))
    for counts, items in spoken:
        slot, at = np.nonzero(items >= 0)
        np.add.at(votes, (slot, np.searchsorted(history, items[slot, at])), counts / (1 + at))
    found = np.full((k, limit), -1, np.int32)
    for place, best, there in _strongest(votes, limit):
        found[there, place] = history[best[there]]
    return found


def _strongest(shares: NDArray[np.float64], limit: int) -> list[tuple[int, NDArray[np.int64], NDArray[np.bool_]]]:
    """For each place up to `limit`: the column of each row that takes it, and whether its share is above 0. Spends `shares`."""
    found, row = [], np.arange(len(shares))
    for place in range(min(limit, shares.shape[1])):
        best = shares.argmax(axis=1)
        found.append((place, best, shares[row, best] > 0))
        shares[row, best] = 0
    return found
