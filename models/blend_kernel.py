"""The blend for one user, compiled: terms are added up, standardised, weighed and searched without arrays in between.

Shapes: n items of the blend, P members that speak of few items, u items that any of these touches for the user, k wanted.
What is spoken of a touched item stands in a slot, numbered in the order in which items are met:

    place    (n,) int32      1 + the slot of an item, 0 for none. A thread keeps it, and it is left as it is found: all 0
    touched  (u,) int32      the item of each slot
    totals   (P, u) float32  what each member says of it in all. 0 before and after
    scores   (u,) float64    what they say together, standardised and weighed; 0 where none of them speaks for the item

The four steps of a request are `add` for each member, `weigh`, `best_alike` or `best_near` (after `lowest`, where a member with
vectors does not know all items), and `shares` for each member with `named`. The lock of the interpreter is kept: each takes some
10 us to 200 us, and to give it back and wait for it takes longer.

Compiled when this module is imported, from Numba's cache where one can be written: beside this file, else under the user's
home, or where NUMBA_CACHE_DIR says. Without one it takes some seconds at the start of each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

FILTER = 4096  # a power of two: what tells most terms of other items from those asked about, in the fastest memory


def _read(kind: Any, dimensions: int = 1) -> Any:
    """An array that is read, be it read-only or not."""
    return types.Array(kind, dimensions, "C", readonly=True)


def _compiled(*arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For these argument types and no others, so that nothing is compiled in a request."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = njit(arguments, cache=True, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # there is no folder to keep it in, or no room
            found = njit(arguments, **_OPTIONS)(function)
        return found

    return compiled


_OPTIONS: dict[str, Any] = {
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
}  # nothing is divided by zero, nor called from C
_part = njit(no_cpython_wrapper=True, **_OPTIONS)

_I32, _I64, _F32, _F64, _BOOL = (
    _read(one) for one in (types.int32, types.int64, types.float32, types.float64, types.bool_)
)
_ROWS, _TOTALS, _SCORES = types.int32[::1], types.float32[:, ::1], types.float64[::1]
_TERMS = (_I32, _F32, _I64, _I64, _F32, _I32)
_PASSES = (_BOOL, _I32)


@_compiled(*_TERMS, types.int64, _ROWS, _ROWS, _TOTALS, types.int64)
def add(columns, values, starts, stops, weights, back, part, place, touched, totals, count):  # type: ignore[no-untyped-def]
    """Add up the terms of member `part` (models.blend_terms.Terms) in `totals`. Returns how many slots are taken; `count` were.

    `back` (its n_items,) is the blend's row of each of the member's items; empty: the same.
    """
    mapped, own = len(back) > 0, totals[part]
    for at in range(len(starts)):
        weight = weights[at]
        for term in range(starts[at], stops[at]):
            item = np.uint32(columns[term])  # an index below 0 is not looked for where there can be none
            if mapped:
                item = np.uint32(back[item])
            slot = place[item]
            new = slot == 0
            touched[count] = item  # in the next slot; it stays where it is `new`: nothing here has to be foreseen
            count += new
            slot = count if new else slot
            place[item] = slot
            own[slot - 1] += values[term] * weight
    return count


@njit(fastmath={"reassoc", "contract", "nsz"}, no_cpython_wrapper=True, **_OPTIONS)
def _sums(own, count):  # type: ignore[no-untyped-def]
    """Of what is above 0, and of its squares."""
    total, square = 0.0, 0.0
    for slot in range(count):
        one = np.float64(max(own[slot], np.float32(0)))
        total += one
        square += one * one
    return total, square


@_compiled(_TOTALS, _I32, types.int64, _F64, types.float64, _BOOL, _SCORES)
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


@_part
def _worse(score, row, other, other_row):  # type: ignore[no-untyped-def]
    return score < other or (score == other and row > other_row)


@_part
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


@_part
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


@_part
def _settle(rows, scores, size, touched, count, place):  # type: ignore[no-untyped-def]
    """The heap in order, best first, padded with -1 and -inf; `place` as it was found."""
    for left in range(size - 1, 0, -1):
        row, score = rows[left], scores[left]
        rows[left], scores[left] = rows[0], scores[0]
        _sink(rows, scores, left, row, score)
    rows[size:], scores[size:] = -1, -np.inf
    for slot in range(count):
        place[touched[slot]] = 0


@_part
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


@_compiled(_SCORES, _I32, types.int64, types.float64, _F64, _I32, *_PASSES, _ROWS, _ROWS, types.float32[::1])
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


@njit(fastmath=True, no_cpython_wrapper=True, **_OPTIONS)
def _product(vector, query):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for at in range(len(query)):
        total += vector[at] * query[at]
    return total


@_part
def _near(vectors, own, item, query):  # type: ignore[no-untyped-def]
    """The product of an item, 0 without a vector."""
    at = own[item]
    return _product(vectors[at], query) if at >= 0 else np.float32(0)


@_part
def _less(score):  # type: ignore[no-untyped-def]
    """A little less, for the rounding of inner products beside their bounds."""
    return score - 1e-4 * (1 + abs(score))


_VECTORS = (_read(types.float32, 2), _read(types.float32, 2), _I32, _I32, _F64)


@_compiled(*_VECTORS, _F32, types.float64)
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
                least = min(least, _product(vectors[own[item]], user))
                count += 1
    return least, count


@_compiled(
    _SCORES, _I32, types.int64, types.float64, *_VECTORS, _F64, _F32, types.float64, _I32, _I32, types.float64, *_PASSES,
    _ROWS, _ROWS, types.float32[::1],
)  # fmt: skip
def best_near(  # type: ignore[no-untyped-def]
    scores, touched, count, constant, bounds, vectors, own, order, norms, saids, query, reach, strange, told, less,
    allowed, rows, place, found, best,
):  # fmt: skip
    """As `best_alike`, where `query` (d,) times the vector of each item is said as well: see models.blend_rest.Near. Returns how
    many were multiplied.

    `vectors` (m, d) hold that of an item in the row `own` (n,). `bounds` (n, 2) are what is said of everything besides, and the
    length of the vector: no product exceeds that times `reach`. Items come in blocks of `order` (blocks, b) whose longest and
    most spoken of are `norms` and `saids` (blocks,); what cannot come among the best is not multiplied. Of the items `strange`,
    which have no vector, `less` is said instead; those of them that others speak of to everyone are `told`.
    """
    k = len(found)
    for item in strange:
        slot = place[item]
        if slot > 0 and scores[slot - 1] != 0:
            scores[slot - 1] += less
    size = _known(scores, touched, count, constant, bounds[:, 0], allowed, rows, place, found, best)
    edge = np.inf if size == k else -np.inf  # by what is known already: the k-th reaches so much at least
    for at in range(size if size == k else 0):
        edge = min(edge, _less(np.float64(best[at]) + _near(vectors, own, found[at], query)))
    multiplied, size = size, 0
    for slot in range(count):
        item = touched[slot]
        if scores[slot] > -np.inf and scores[slot] + reach * bounds[item, 1] >= edge and allowed[rows[item]]:
            size = _push(found, best, size, item, np.float32(scores[slot] + _near(vectors, own, item, query)))
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
                score = np.float32(bounds[item, 0] + constant + _product(vectors[own[item]], query))
                size = _push(found, best, size, item, score)
                edge = max(edge, _less(best[0])) if size == k else edge
                multiplied += 1
    for item in told:
        if place[item] == 0 and allowed[rows[item]]:
            size = _push(found, best, size, item, np.float32(bounds[item, 0] + constant + less))
    _settle(found, best, size, touched, count, place)
    return multiplied


@_compiled(*_TERMS, _I64, _I32, types.float64[:, ::1])
def shares(columns, values, starts, stops, weights, back, owner, asked, shared):  # type: ignore[no-untyped-def]
    """Add to `shared` (k, H) what the terms of a member (see `add`) say for the items `asked` (k,), -1 for none, by the one of H
    distinct items of the history that says it: `owner` (h,) is that of each interaction.
    """
    mapped = len(back) > 0
    near = np.zeros(FILTER, np.bool_)
    for item in asked:
        near[item & (FILTER - 1)] |= item >= 0
    for at in range(len(starts)):
        for term in range(starts[at], stops[at]):
            item = back[columns[term]] if mapped else columns[term]
            if near[item & (FILTER - 1)]:
                for one in range(len(asked)):
                    if asked[one] == item:
                        shared[one, owner[at]] += values[term] * weights[at]


@_part
def _vote(shared, votes, weight, limit):  # type: ignore[no-untyped-def]
    """Spend `shared` (H,): the largest, the second, and so on up to `limit`, as far as they are above 0, count `weight` less."""
    for place in range(min(limit, len(shared))):
        best = np.argmax(shared)
        if not shared[best] > 0:
            break
        votes[best] += weight / (1 + place)
        shared[best] = 0


@_compiled(types.float64[:, :, ::1], _F64, types.float64[:, ::1], _I32, types.int32[:, ::1])
def named(shared, weights, votes, history, found):  # type: ignore[no-untyped-def]
    """Fill `found` (k, limit): the items of `history` (H,), ascending, that members name for each of k items, by the members'
    `weights`, of equal ones the first; padded with -1. `shared` (members, k, H) and `votes` (k, H), what is voted for already,
    are spent.
    """
    limit = found.shape[1]
    found[:] = -1
    for item in range(len(votes)):
        for member in range(len(weights)):
            _vote(shared[member, item], votes[item], weights[member], limit)
        for place in range(min(limit, len(history))):
            best = np.argmax(votes[item])
            if not votes[item, best] > 0:
                break
            found[item, place] = history[best]
            votes[item, best] = 0
