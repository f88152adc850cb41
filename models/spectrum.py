"""The leading eigenvectors of a large symmetric operator, by subspace iteration.

Halko, Martinsson and Tropp 2011, "Finding structure with randomness: probabilistic algorithms for constructing approximate
matrix decompositions". Unlike ARPACK it keeps no state between calls and cannot fail: what is not yet apart then stays mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERSAMPLED = 16

Product = Callable[[NDArray[Any]], NDArray[Any]]


def leading(
    product: Product, n: int, k: int, rng: np.random.Generator, iterations: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """About the k largest eigenvalues (k,) of a symmetric (n, n), largest first, and their vectors (n, k).

    `product` multiplies the matrix by a block (n, m), whose type it keeps or widens.
    """
    basis = np.linalg.qr(rng.normal(size=(n, min(n, k + OVERSAMPLED))))[0]
    for _ in range(iterations):
        basis = np.linalg.qr(product(basis))[0]
    values, inner = np.linalg.eigh(basis.T @ product(basis))
    return values[::-1][:k], (basis @ inner)[:, ::-1][:, :k]
