"""One user folded into a vector space, compiled: the normal equations of what was done last, their solution, and its parts.

d factors, h interactions. Used as models.blend_kernel is, and compiled as it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from models.blend_kernel import F32, F64, HISTORY, I32, OPTIONS, compiled, inner, oldest, piece, read

_LEFT, _VECTOR = types.float32[:, ::1], types.float32[::1]
_FOLDING = (read(types.float32, 2), read(types.float32, 2), F64)  # models.blend_terms.Folding
_quick = njit(fastmath={"reassoc", "contract", "nsz"}, no_cpython_wrapper=True, **OPTIONS)


# Rows are worked on whole, which is quicker than from the diagonal on; what lies below it means nothing until it is cleared.


@_quick
def _copy(row, into):  # type: ignore[no-untyped-def]
    for at in range(len(into)):  # what numpy would write in one line takes seconds to compile
        into[at] = row[at]


@_quick
def _along(left, right):  # type: ignore[no-untyped-def]
    total = 0.0
    for at in range(len(left)):
        total += left[at] * np.float64(right[at])
    return total


@_quick
def _add(into, times, row):  # type: ignore[no-untyped-def]
    for at in range(len(into)):
        into[at] += times * row[at]


@_quick
def _add_four(into, times, rows):  # type: ignore[no-untyped-def]
    a, b, c, d = rows[0], rows[1], rows[2], rows[3]
    ta, tb, tc, td = times[0], times[1], times[2], times[3]
    for at in range(len(into)):
        into[at] += ta * a[at] + tb * b[at] + tc * c[at] + td * d[at]


@piece
def _factorised(left):  # type: ignore[no-untyped-def]
    """Cholesky, in place, of a symmetric matrix whose upper half is given: left = U^T U. False where it is not positive."""
    d, times = len(left), np.empty(4, np.float32)
    for first in range(0, d, 4):
        last = min(first + 4, d)
        for pivot in range(first, last):
            row = left[pivot]
            for before in range(first, pivot):
                _add(row, -left[before, pivot], left[before])
            if not (row[pivot] > 0 and row[pivot] < np.inf):
                return False
            scale = 1 / np.sqrt(row[pivot])
            for at in range(d):
                row[at] *= scale
        for other in range(last, d):  # none behind the last few
            for at in range(4):
                times[at] = -left[first + at, other]
            _add_four(left[other], times, left[first:last])
    for row in range(d):
        for at in range(row):
            left[row, at] = 0
    return True


@piece
def _solve(left, vector, found):  # type: ignore[no-untyped-def]
    """Fill `found`: U^T U x = vector, which is spent."""
    for at in range(len(vector)):
        found[at] = vector[at] / left[at, at]
        _add(vector, -found[at], left[at])
    for at in range(len(vector)):
        vector[at] = 0
    for at in range(len(vector) - 1, -1, -1):
        vector[at] = (found[at] - inner(left[at], vector)) / left[at, at]
    _copy(vector, found)


@piece
def _read(items, weights, own, factors, counts):  # type: ignore[no-untyped-def]
    """What is folded in: the vectors (m, d), the confidence in each (m,), and where in the history it stands; m is a multiple of
    four, beyond the first `size` all is 0.
    """
    start, size = oldest(items, own, len(counts))
    vectors = np.zeros((-(-size // 4) * 4, factors.shape[1]), np.float32)
    times, place, known = np.zeros(len(vectors), np.float32), np.zeros(len(vectors), np.int32), 0
    for at in range(start, len(items)):
        row = own[items[at]] if len(own) > 0 else items[at]
        if row >= 0:
            _copy(factors[row], vectors[known])
            place[known] = at
            times[known] = counts[size - 1 - known] * weights[at]
            known += 1
    return size, vectors, times, place


@compiled(*HISTORY, *_FOLDING, _LEFT, _VECTOR)
def fold(items, weights, own, factors, gram, counts, left, vector):  # type: ignore[no-untyped-def]
    """Fill `vector` (d,) with the user's, and `left` (d, d) with the Cholesky factor of the system that it solves. Returns how
    many interactions count, of the arguments of `add` (models.blend_kernel); -1 where there is no solution.
    """
    size, vectors, times, _ = _read(items, weights, own, factors, counts)
    if size == 0:
        return 0
    for row in range(len(left)):
        _copy(gram[row], left[row])
    right, four = np.zeros(len(vector), np.float32), np.empty(4, np.float32)
    for at in range(0, len(vectors), 4):
        rows, count = vectors[at : at + 4], times[at : at + 4]
        for row in range(len(vector)):
            for one in range(4):
                four[one] = count[one] * rows[one, row]
            _add_four(left[row], four, rows)
        _add_four(right, count, rows)
    if not _factorised(left):
        return -1
    _solve(left, right, vector)
    return size


@compiled(*HISTORY, *_FOLDING, _LEFT, I32, I32, types.float64[:, ::1])
def carried(items, weights, own, factors, gram, counts, left, owner, asked, shared):  # type: ignore[no-untyped-def]
    """Add to `shared` (k, H) how much of the score of each of the items `asked` (k,), -1 for none, each distinct item of the
    history carries (the terms of the sum that the score is), as `fold` left it. The others are those of `shares`
    (models.blend_reasons).
    """
    size, vectors, times, place = _read(items, weights, own, factors, counts)
    right, solved = np.empty(len(gram), np.float32), np.empty(len(gram), np.float32)
    for one in range(len(asked)):
        row = own[asked[one]] if len(own) > 0 and asked[one] >= 0 else asked[one]
        if row >= 0:
            _copy(factors[row], right)
            _solve(left, right, solved)
            for at in range(size):
                shared[one, owner[place[at]]] += times[at] * inner(vectors[at], solved)


@compiled(F32, F64, read(types.float64, 2), types.float64, types.float64, types.float64, _VECTOR)
def spread(user, mean, covariance, known, weight, lowest, query):  # type: ignore[no-untyped-def]
    """Fill `query` (d,) with the `user`, scaled so that products with it are standardised and weighed (models.blend_rest.Near).
    Vectors have this `mean` (d,) and `covariance` (d, d); where only a share of items is `known`, others have the `lowest`
    product. Returns what is said besides, the length of the query, and what is said of those others.
    """
    middle, square, length = 0.0, 0.0, 0.0
    for row in range(len(user)):
        one = np.float64(user[row])
        middle += one * mean[row]
        square += one * _along(covariance[row], user)
        length += one * one
    apart = middle - lowest  # the variance within the two kinds of items, and between them
    square = known * square + known * (1 - known) * apart**2
    scale = weight / (np.sqrt(square) if square > 0 else 1.0)
    for row in range(len(user)):
        query[row] = np.float32(user[row] * scale)
    return -scale * (known * middle + (1 - known) * lowest), np.abs(scale) * np.sqrt(length), lowest * scale
