"""The blend for one user, compiled: terms are added up, standardised, weighed and searched without arrays in between.

Shapes: n items of the blend, P members that speak of few items, u items that any of these touches for the user, k wanted.
What is spoken of a touched item stands in a slot, numbered in the order in which items are met:

    place    (n,) int32      1 + the slot of an item, 0 for none. A thread keeps it, and it is left as it is found: all 0
    touched  (u,) int32      the item of each slot
    totals   (P, u) float32  what each member says of it in all. 0 before and after
    scores   (u,) float64    what they say together, standardised and weighed; 0 where none of them speaks for the item

The steps of a request are `add` for each member, `weigh`, `best_alike` or `best_near` (after `lowest`, where a member with
vectors does not know all items); models.blend_fold has those of a member that folds a history in, models.blend_reasons those
of reasons. The lock of the interpreter is kept: each takes some 5 us to 200 us, and to give it back and wait for it takes longer.

Compiled when this module is imported, from Numba's cache where one can be written: beside this file, else under the user's
home, or where NUMBA_CACHE_DIR says. Without one it takes some seconds at the start of each process.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numba import njit, types


def read(kind: Any, dimensions: int = 1) -> Any:
    """An array that is read, be it read-only or not."""
    return types.Array(kind, dimensions, "C", readonly=True)


def compiled(*arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For these argument types and no others, so that nothing is compiled in a request; a tuple is of any of its types."""
    signatures = list(product(*(one if isinstance(one, tuple) else (one,) for one in arguments)))

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = njit(signatures, cache=True, **OPTIONS)(function)
        except (RuntimeError, OSError):  # there is no folder to keep it in, or no room
            found = njit(signatures, **OPTIONS)(function)
        return found

    return made


OPTIONS: dict[str, Any] = {
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
}  # nothing is divided by zero, nor called from C
piece = njit(no_cpython_wrapper=True, **OPTIONS)

I32, I64, F32, F64, BOOL = (read(one) for one in (types.int32, types.int64, types.float32, types.float64, types.bool_))
_ROWS, _TOTALS, _SCORES = types.int32[::1], types.float32[:, ::1], types.float64[::1]
HISTORY = (I32, F32, I32)  # the items and weights of a user, in the rows of the blend, and a member's rows of those
TERMS = ((I32, I64), I32, F32, F64, types.boolean)  # models.blend_terms.Terms
_PASSES = (BOOL, I32)


@piece
def oldest(items, own, ages):  # type: ignore[no-untyped-def]
    """Where the newest `ages` of those of `items` begin that a member knows (see `add`), and how many of them there are."""
    at, known = len(items), 0
    while at > 0 and known < ages:
        at -= 1
        known += len(own) == 0 or own[items[at]] >= 0
    return at, known


@piece
def _put(item, value, own, place, touched, count):  # type: ignore[no-untyped-def]
    """Add to what is said of an item; returns how many slots then are taken."""
    slot = np.uint32(place[item])  # indices that are known not to be negative are not looked at twice
    new = slot == 0
    touched[count] = item  # in the next slot; it stays where it is `new`: nothing here has to be foreseen
    count = np.uint32(count + np.uint32(new))
    slot = count if new else slot
    place[item] = slot
    own[np.uint32(slot - np.uint32(1))] += value
    return count


@compiled(*HISTORY, I32, *TERMS, types.int64, _ROWS, _ROWS, _TOTALS, types.int64)
def add(  # type: ignore[no-untyped-def]
    items, weights, own, back, indptr, columns, values, counts, weighed, part, place, touched, totals, count
):  # fmt: skip
    """Add up in `totals` what member `part` says (models.blend_terms.Terms) for a history of `items` (h,), oldest first, which
    count `weights` (h,). Returns how many slots are taken; `count` were.

    `own` (n,) is the member's row of each item of the blend, -1 for none, and `back` (its n_items,) the reverse; both empty:
    the same.
    """
    mapped, said, count = len(own) > 0, totals[part], np.uint32(count)
    start, age = oldest(items, own, len(counts))
    for at in range(start, len(items)):
        row = own[items[at]] if mapped else items[at]
        if row < 0:
            continue
        age -= 1
        weight = np.float32(counts[age] * weights[at] if weighed else counts[age])
        if len(indptr) == 0:
            count = _put(np.uint32(items[at]), weight, said, place, touched, count)
            continue
        for term in range(np.uint64(indptr[row]), np.uint64(indptr[row + 1])):
            item = np.uint32(columns[term])
            if mapped:
                item = np.uint32(back[item])
            count = _put(item, values[term] * weight, said, place, touched, count)
    return count


@njit(fastmath={"reassoc", "contract", "nsz"}, no_cpython_wrapper=True, **OPTIONS)
def _sums(own, count):  # type: ignore[no-untyped-def]
    """Of what is above 0, and of its squares."""
    total, square = 0.0, 0.0
    for slot in range(count):
        one = np.float64(max(own[slot], np.float32(0)))
        total += one
        square += one * one
    return total, square


@compiled(_TOTALS, I32, types.int64, F64, types.float64, BOOL, _SCORES)
def weigh(totals, touched, count, weights, size, trained, scores):  # type: ignore[no-untyped-def]
    """Fill `scores`, and `totals` with zeros; returns what is said of every item besides.

    A member is silent where its total is not above 0, which counts as 0, so that the mean and deviation that standardise it
    over `size` items follow from its sums (models.blend_rest.standardised). `trained` (n,) are those items; empty: all.
    """
    constant = 0.0
    for slot in range(count):
        scores[slot] = 0.0
    for part in range(len(weights)):
        own, counted = totals[part], size
        total, square = _sums(own, count)
        if len(trained) > 0:
            for slot in range(count):
                if own[slot] > 0 and not trained[touched[slot]]:
                    counted += 1
        mean = total / counted
        variance = square / counted - mean * mean
        factor = weights[part] / np.sqrt(variance) if variance > 0 else weights[part]
        constant -= factor * mean
        for slot in range(count):
            scores[slot] += factor * max(own[slot], np.float32(0))
            own[slot] = 0
    return constant


@piece
def _worse(score, row, other, other_row):  # type: ignore[no-untyped-def]
    return score < other or (score == other and row > other_row)


@piece
def _sink(rows, scores, size, row, score):  # type: ignore[no-untyped-def]
    """Put a candidate in place of the worst of a heap of `size`, which is at its root."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _worse(scores[child + 1], rows[child + 1], scores[child], rows[child]):
            child += 1
        if not _worse(scores[child], rows[child], score, row):
            break
        rows[at], scores[at] = rows[child], scores[child]
        at = child
    rows[at], scores[at] = row, score


@piece
def _push(rows, scores, size, row, score):  # type: ignore[no-untyped-def]
    """Offer a candidate to the heap of the best so far, of which there are `size`; returns how many then are."""
    if size == len(rows):
        if _worse(scores[0], rows[0], score, row):
            _sink(rows, scores, size, row, score)
        return size
    at = size
    while at > 0 and _worse(score, row, scores[(at - 1) // 2], rows[(at - 1) // 2]):
        rows[at], scores[at] = rows[(at - 1) // 2], scores[(at - 1) // 2]
        at = (at - 1) // 2
    rows[at], scores[at] = row, score
    return size + 1


@piece
def _settle(rows, scores, size, touched, count, place):  # type: ignore[no-untyped-def]
    """The heap in order, best first, padded with -1 and -inf; `place` as it was found."""
    for left in range(size - 1, 0, -1):
        row, score = rows[left], scores[left]
        rows[left], scores[left] = rows[0], scores[0]
        _sink(rows, scores, left, row, score)
    rows[size:], scores[size:] = -1, -np.inf
    for slot in range(count):
        place[touched[slot]] = 0


@piece
def _known(scores, touched, count, constant, said, allowed, rows, place, found, best):  # type: ignore[no-untyped-def]
    """Add to `scores` what is `said` of the items besides, and put the best of what is touched into the heap; returns its size.

    What no member speaks for gives its `place` back, and has -inf.
    """
    k, size = len(found), 0
    for slot in range(count):
        item = touched[slot]
        if scores[slot] == 0:
            place[item], scores[slot] = 0, -np.inf
            continue
        scores[slot] += said[item] + constant
        score = np.float32(scores[slot])
        if (size < k or not _worse(score, item, best[0], found[0])) and allowed[rows[item]]:
            size = _push(found, best, size, item, score)
    return size


@compiled(_SCORES, I32, types.int64, types.float64, F64, I32, *_PASSES, _ROWS, _ROWS, types.float32[::1])
def best_alike(scores, touched, count, constant, said, order, allowed, rows, place, found, best):  # type: ignore[no-untyped-def]
    """Fill `found` (k,) and `best` (k,), best first: what is touched, and of all others the first of `order`, with what is `said`
    (n,) of everything besides. An item passes where `allowed`[`rows`[item]].
    """
    k = len(found)
    size = _known(scores, touched, count, constant, said, allowed, rows, place, found, best)
    others = 0
    for item in order:
        score = np.float32(said[item] + constant)
        if others == k or (size == k and score < best[0]):
            break
        if place[item] == 0 and allowed[rows[item]]:
            size = _push(found, best, size, item, score)
            others += 1
    _settle(found, best, size, touched, count, place)


@njit(fastmath=True, no_cpython_wrapper=True, **OPTIONS)
def inner(vector, query):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for at in range(len(query)):
        total += vector[at] * query[at]
    return total


@piece
def _near(vectors, own, item, query):  # type: ignore[no-untyped-def]
    """The product of an item, 0 without a vector."""
    at = own[item]
    return inner(vectors[at], query) if at >= 0 else np.float32(0)


@piece
def _less(score):  # type: ignore[no-untyped-def]
    """A little less, for the rounding of inner products beside their bounds."""
    return score - 1e-4 * (1 + abs(score))


_VECTORS = (read(types.float32, 2), read(types.float32, 2), I32, I32, F64)


@compiled(*_VECTORS, F32, types.float64)
def lowest(bounds, vectors, own, order, norms, user, length):  # type: ignore[no-untyped-def]
    """The lowest product of `user` (d,), of this `length`, with any vector, or 0 where none is below, and how many were
    multiplied. The arrays are those of `best_near`."""
    least, count, wide = np.float32(0), 0, len(order) // len(norms)
    for block in range(len(norms)):
        if length * norms[block] < -least:
            continue
        for at in range(block * wide, (block + 1) * wide):
            item = order[at]
            if item >= 0 and length * bounds[item, 1] >= -least:
                least = min(least, inner(vectors[own[item]], user))
                count += 1
    return least, count


@compiled(
    _SCORES, I32, types.int64, types.float64, *_VECTORS, F64, read(types.uint8), read(types.float64, 2), F32, types.float64,
    I32, I32, types.float64, *_PASSES, _ROWS, _ROWS, types.float32[::1],
)  # fmt: skip
def best_near(  # type: ignore[no-untyped-def]
    scores, touched, count, constant, bounds, vectors, own, order, norms, saids, kinds, levels, query, reach, strange, told,
    less, allowed, rows, place, found, best,
):  # fmt: skip
    """As `best_alike`, where `query` (d,) times the vector of each item is said as well: see models.blend_rest.Near. Returns how
    many were multiplied.

    `vectors` (m, d) hold that of an item in the row `own` (n,). `bounds` (n, 2) are what is said of everything besides, and the
    length of the vector: no product exceeds that times `reach`. Items come in blocks of `order` (blocks, b) whose longest and
    most spoken of are `norms` and `saids` (blocks,); what cannot come among the best is not multiplied. `bounds` are not read
    either of what cannot by its kind, `kinds` (n,): 16 times the level of what is said and that of the length, of which `levels`
    (2, 16) are the largest. Of the items `strange`, which have no vector, `less` is said instead; those of them that others
    speak of to everyone are `told`.
    """
    k = len(found)
    for item in strange:
        slot = place[item]
        if slot > 0 and scores[slot - 1] != 0:
            scores[slot - 1] += less
    size, most = 0, np.empty(256)
    for kind in range(256):
        most[kind] = constant + levels[0, kind >> 4] + 1e-6
    for slot in range(count):
        item = touched[slot]
        if scores[slot] == 0:
            place[item], scores[slot] = 0, -np.inf
        elif size < k or scores[slot] + most[kinds[item]] >= best[0]:
            score = np.float32(scores[slot] + bounds[item, 0] + constant)
            if (size < k or not _worse(score, item, best[0], found[0])) and allowed[rows[item]]:
                size = _push(found, best, size, item, score)
    edge = np.inf if size == k else -np.inf  # by what is known already: the k-th reaches so much at least
    for at in range(size if size == k else 0):
        edge = min(edge, _less(np.float64(best[at]) + _near(vectors, own, found[at], query)))
    for kind in range(256):
        most[kind] += reach * levels[1, kind & 15]
    multiplied, size = size, 0
    for slot in range(count):
        item = touched[slot]
        if scores[slot] + most[kinds[item]] < edge:
            continue
        known = scores[slot] + bounds[item, 0] + constant
        if known > -np.inf and known + reach * bounds[item, 1] >= edge and allowed[rows[item]]:
            size = _push(found, best, size, item, np.float32(known + _near(vectors, own, item, query)))
            edge = max(edge, _less(best[0])) if size == k else edge
            multiplied += 1
    wide = len(order) // len(norms)
    for block in range(len(norms)):
        if reach * norms[block] + saids[block] + constant < edge:
            continue
        for at in range(block * wide, (block + 1) * wide):
            item = order[at]
            if item < 0 or place[item] != 0 or bounds[item, 0] + constant + reach * bounds[item, 1] < edge:
                continue
            if allowed[rows[item]]:
                score = np.float32(bounds[item, 0] + constant + inner(vectors[own[item]], query))
                size = _push(found, best, size, item, score)
                edge = max(edge, _less(best[0])) if size == k else edge
                multiplied += 1
    for item in told:
        if place[item] == 0 and allowed[rows[item]]:
            size = _push(found, best, size, item, np.float32(bounds[item, 0] + constant + less))
    _settle(found, best, size, touched, count, place)
    return multiplied
