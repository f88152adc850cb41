"""Reasons for one user, compiled: how much each item of the history carried of what a blend says.

Shapes: h interactions with H distinct items, k items asked about. Used as models.blend_kernel is, and compiled as it is.
"""

from __future__ import annotations

import numpy as np
from numba import types

from models.blend_kernel import F64, HISTORY, I32, TERMS, compiled, oldest, piece

_ROWS, _SHARED = types.int32[::1], types.float64[:, ::1]
FILTER = 4096  # a power of two: what tells most terms of other items from those asked about, in the fastest memory


@compiled(I32, _ROWS, _ROWS, _ROWS)
def distinct(items, place, history, owner):  # type: ignore[no-untyped-def]
    """Fill `history` with the distinct ones of `items` (h,), and `owner` (h,) with which of these each is; returns how many
    there are. `place` (n,) is that of models.blend_kernel.
    """
    count = 0
    for at in range(len(items)):
        item = items[at]
        if place[item] == 0:
            history[count] = item
            count += 1
            place[item] = count
        owner[at] = place[item] - 1
    for at in range(count):
        place[history[at]] = 0
    return count


@compiled(*HISTORY, *TERMS, I32, I32, _SHARED)
def shares(  # type: ignore[no-untyped-def]
    items, weights, own, indptr, columns, values, counts, weighed, owner, asked, shared
):  # fmt: skip
    """Add to `shared` (k, H) what a member says (see `add` of models.blend_kernel) of the items `asked` (k,), -1 for none, by the
    distinct item of the history that says it: `owner` (h,) is that of each interaction.
    """
    mapped = len(own) > 0
    wanted, near = asked.copy(), np.zeros(FILTER, np.bool_)
    for one in range(len(asked)):
        if asked[one] >= 0:
            wanted[one] = own[asked[one]] if mapped else asked[one]
            near[wanted[one] & (FILTER - 1)] |= wanted[one] >= 0
    start, age = oldest(items, own, len(counts))
    for at in range(start, len(items)):
        row = own[items[at]] if mapped else items[at]
        if row < 0:
            continue
        age -= 1
        weight, by = np.float32(counts[age] * weights[at] if weighed else counts[age]), owner[at]
        if len(indptr) == 0:
            for one in range(len(wanted)):
                if wanted[one] == row:
                    shared[one, by] += weight
            continue
        for term in range(np.uint64(indptr[row]), np.uint64(indptr[row + 1])):
            item = columns[term]
            if near[item & (FILTER - 1)]:
                for one in range(len(wanted)):
                    if wanted[one] == item:
                        shared[one, by] += values[term] * weight


@piece
def _vote(shared, history, votes, weight, limit):  # type: ignore[no-untyped-def]
    """Spend `shared` (H,): the largest, the second, and so on up to `limit`, as far as they are above 0, count `weight` less."""
    for place in range(limit):
        best = _largest(shared, history)
        if best < 0:
            break
        votes[best] += weight / (1 + place)
        shared[best] = 0


@piece
def _largest(given, history):  # type: ignore[no-untyped-def]
    """Where the largest above 0 is, of equal ones that of the lowest row; -1 for none."""
    best, most = -1, 0.0
    for at in range(len(history)):
        if given[at] > most or (given[at] == most and best >= 0 and history[at] < history[best]):
            best, most = at, given[at]
    return best


@compiled(types.float64[:, :, ::1], F64, _SHARED, I32, types.int32[:, ::1])
def named(shared, weights, votes, history, found):  # type: ignore[no-untyped-def]
    """Fill `found` (k, limit): the items of `history` (H,) that members name for each of k items, by the members' `weights`, of
    equal ones that of the lowest row; padded with -1. `shared` (members, k, H) and `votes` (k, H), what is voted for already,
    are spent.
    """
    limit = found.shape[1]
    for item in range(len(votes)):
        for member in range(len(weights)):
            _vote(shared[member, item], history, votes[item], weights[member], limit)
        for place in range(limit):
            best = _largest(votes[item], history)
            found[item, place] = history[best] if best >= 0 else -1
            if best >= 0:
                votes[item, best] = 0
