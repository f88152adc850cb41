"""What is written like that which someone chose, compiled: from the words of what was chosen over the texts that have them.

Shapes and meanings are those of models.text_vectors. Compiled at import and kept, as models.blend_kernel is.
"""

from __future__ import annotations

import numpy as np
from numba import types

from models.blend_kernel import compiled, piece, read

_I32, _F32, _BOOL = read(types.int32), read(types.float32), read(types.bool_)
_TEXTS = (_I32, read(types.int32, 2), read(types.float32, 2))
_CHOSEN = (_I32, _F32, types.int64, types.int64, types.float64)
_INDEX = (_I32, _I32, _I32, _I32, _F32)


@piece
def _newest(rows, weights, n, most, recency, slots, chosen, whose, counts):  # type: ignore[no-untyped-def]
    """Fill `chosen` with the slots of the newest items that count, `whose` with their rows, and `counts` with how much. Returns
    how many there are, -1 where one has no slot."""
    m = 0
    for at in range(len(rows)):
        row = rows[at]
        if m == most:
            break
        if 0 <= row < n and weights[at] > 0:
            slot = slots[row] if row < len(slots) else -1
            if slot < 0:
                return -1
            new = True
            for before in range(m):
                new = new and chosen[before] != slot
            if new:
                chosen[m], whose[m], counts[m] = slot, row, np.float32(weights[at] * recency**m)
                m += 1
    return m


@piece
def _asked(chosen, counts, sizes, buckets, weights):  # type: ignore[no-untyped-def]
    """The direction of the weighted sum of these texts: buckets, ascending, and weights."""
    keys = np.empty(chosen.size * buckets.shape[1], np.int64)
    values = np.empty(keys.size, np.float32)
    entries = 0
    for at in range(len(chosen)):
        text = chosen[at]
        for word in range(sizes[text]):
            keys[entries] = (np.int64(buckets[text, word]) << 32) | entries
            values[entries] = weights[text, word] * counts[at]
            entries += 1
    keys = np.sort(keys[:entries])
    found, total, m = np.empty(entries, np.int32), np.empty(entries, np.float32), 0
    for key in keys:
        bucket = np.int32(key >> 32)
        if m == 0 or found[m - 1] != bucket:
            found[m], total[m] = bucket, 0.0
            m += 1
        total[m - 1] += values[key & 0xFFFFFFFF]
    square = 0.0
    for at in range(m):
        square += np.float64(total[at]) * total[at]
    length = np.float32(np.sqrt(square)) if square > 0 else np.float32(1)
    for at in range(m):
        total[at] /= length
    return found[:m], total[:m]


@compiled(
    *_CHOSEN, _I32, *_TEXTS, *_INDEX, _BOOL, _BOOL, types.float64, types.int32[::1], types.float32[::1]
)  # fmt: skip
def best(  # type: ignore[no-untyped-def]
    rows, weights, n, most, recency, slots, sizes, buckets, text_weights,
    items, column, starts, places, its, allowed, only, least, found, scores,
):  # fmt: skip
    """Fill `found` and `scores`, both (k,), as models.text_vectors.TextIndex.best says. Returns how many, -1 where a chosen item
    has no slot. Equal scores are ordered by place."""
    chosen, whose, counts = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    m = _newest(rows, weights, n, most, recency, slots, chosen, whose, counts)
    if m <= 0:
        return m
    asked, share = _asked(chosen[:m], counts[:m], sizes, buckets, text_weights)
    alike = np.zeros(len(items), np.float32)
    for at in range(len(asked)):
        standing = column[asked[at]]
        if standing >= 0:
            for entry in range(starts[standing], starts[standing + 1]):
                alike[places[entry]] += its[entry] * share[at]
    size, limit = 0, len(found)
    for place in range(len(items)):
        score = alike[place]
        if score < least or (len(only) > 0 and not only[place]) or not allowed[items[place]]:
            continue
        if size == limit and (limit == 0 or score <= scores[size - 1]):
            continue
        size = min(size + 1, limit)
        at = size - 1
        while at > 0 and scores[at - 1] < score:
            scores[at], found[at] = scores[at - 1], found[at - 1]
            at -= 1
        scores[at], found[at] = score, items[place]
    return size


@piece
def _product(one, other, sizes, buckets, weights):  # type: ignore[no-untyped-def]
    """The inner product of two texts."""
    at, total = 0, np.float32(0)
    for word in range(sizes[one]):
        bucket = buckets[one, word]
        while at < sizes[other] and buckets[other, at] < bucket:
            at += 1
        if at < sizes[other] and buckets[other, at] == bucket:
            total += weights[one, word] * weights[other, at]
    return total


@compiled(*_CHOSEN, _I32, *_TEXTS, _I32, types.int32[:, ::1])
def carriers(  # type: ignore[no-untyped-def]
    rows, weights, n, most, recency, slots, sizes, buckets, text_weights, asked, found,
):  # fmt: skip
    """Fill `found` (k, limit) as models.text_vectors.carriers says. Returns -1 where an item has no slot."""
    chosen, whose, counts = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    m = _newest(rows, weights, n, most, recency, slots, chosen, whose, counts)
    best, limit = np.empty(found.shape[1], np.float32), found.shape[1]
    for item in range(len(asked)):
        text = slots[asked[item]] if asked[item] < len(slots) else -1
        if text < 0 or m < 0:
            return -1
        for place in range(limit):
            best[place], found[item, place] = 0, -1
        for one in range(m):
            share = _product(chosen[one], text, sizes, buckets, text_weights) * counts[one]
            at = limit
            while at > 0 and share > best[at - 1]:
                at -= 1
                if at + 1 < limit:
                    best[at + 1], found[item, at + 1] = best[at], found[item, at]
            if at < limit:
                best[at], found[item, at] = share, whose[one]
    return m
