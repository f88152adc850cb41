"""Leading eigenvectors: against a dense decomposition, and where eigenvalues are many times the same."""

from __future__ import annotations

import numpy as np

from models.spectrum import leading


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_largest_eigenvalues_come_first_with_their_vectors():
    turned = np.linalg.qr(rng().normal(size=(60, 60)))[0]
    values = 0.8 ** np.arange(60)
    matrix = (turned * values) @ turned.T
    found, vectors = leading(lambda block: matrix @ block, 60, 5, rng(), 10)
    assert np.allclose(found, values[:5], atol=1e-6)
    assert np.allclose(np.abs(np.sum(vectors * turned[:, :5], axis=0)), 1, atol=1e-5)


def test_vectors_are_orthonormal_where_all_eigenvalues_are_alike():
    found, vectors = leading(lambda block: block, 40, 8, rng(), 3)
    assert np.allclose(found, 1)
    assert np.allclose(vectors.T @ vectors, np.eye(8), atol=1e-9)
