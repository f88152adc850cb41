"""The history of one user in the rows of a model, compiled: a dozen small steps of numpy in one, as models.blend_kernel is."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from models.blend_kernel import F32, F64, I32, compiled
from models.recommender import History


@compiled(I32, I32, F64, F32, types.int32[::1], types.float64[::1], types.float32[::1])
def _positives(own, rows, times_s, weights, items, times, kept):  # type: ignore[no-untyped-def]
    """Fill the last three (m,) as `positives` says; returns how much of them."""
    count = 0
    for at in range(len(rows) - 1, -1, -1):
        row = rows[at]
        item = own[row] if 0 <= row < len(own) else -1
        if item >= 0 and weights[at] > 0:
            items[count], times[count], kept[count] = item, times_s[at], weights[at]
            count += 1
    return count


def positives(
    own: NDArray[np.int32], rows: NDArray[np.int32], times_s: NDArray[np.float64], weights: NDArray[np.float32]
) -> History:
    """(items, times_s, weights), oldest first, of m things that were done, newest first, those that weigh more than 0 with items
    that a model knows: `own`[row] int32 is its row of the item in `rows` (m,) int32; -1 and rows beyond are of others."""
    m = len(rows)
    items, times, kept = np.empty(m, np.int32), np.empty(m, np.float64), np.empty(m, np.float32)
    count = _positives(own, rows, times_s, weights, items, times, kept)
    return (items, times, kept) if count == m else (items[:count], times[:count], kept[:count])
