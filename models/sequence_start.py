"""Where the item vectors of the sequence recommender begin: near those that they are met with.

The leading eigenvectors of the positive pointwise mutual information of items met within a window, which is what skip-gram
with negative sampling approaches (Levy and Goldberg 2014, "Neural word embedding as implicit matrix factorization"). On one
core it spares the network the epochs in which it would find out no more than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.sequence_batches import Histories
from models.spectrum import leading

WINDOW = 10
CONTEXT_POWER = 0.75  # smooths the counts of contexts, as word2vec does
ITERATIONS = 6  # few: it is a beginning only
MOST_ITEMS = 100_000  # beyond, the counts would outgrow memory and the vectors begin at random
NOISE = 0.1


def start_vectors(data: Histories, n_items: int, d: int, seed: int) -> NDArray[np.float32]:
    """(n_items, d) float32 of length about 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_items, d)) * d**-0.5
    if not d < n_items <= MOST_ITEMS:
        return np.asarray(noise, np.float32)
    matrix = _information(data, n_items)
    values, vectors = leading(lambda block: matrix @ block, n_items, d, rng, ITERATIONS)
    found = vectors * np.sqrt(np.maximum(values, 0))
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(length, 1e-9) + NOISE * noise, np.float32)


def _information(data: Histories, n_items: int) -> sparse.csr_matrix:
    """(n_items, n_items): max(0, ln p(i, j) / (p(i) p(j))), smoothed,, pairs counted by 1 / distance."""
    counts = sparse.csr_matrix((n_items, n_items))
    for gap in range(1, min(WINDOW, len(data.items) - 1) + 1):
        same = data.ends[gap:] == data.ends[:-gap]
        pairs = (data.items[:-gap][same], data.items[gap:][same])
        counts = counts + sparse.csr_matrix((np.full(len(pairs[0]), 1 / gap), pairs), shape=(n_items, n_items))
    both = (counts + counts.T).tocoo()
    share = np.maximum(np.asarray(both.sum(axis=0)).ravel(), 1e-12) / max(both.sum(), 1e-12)
    context = share**CONTEXT_POWER / (share**CONTEXT_POWER).sum()
    expected = np.sqrt(share * context)  # of an item met as either side of a pair
    information = np.log(both.data / both.data.sum()) - np.log(expected[both.row] * expected[both.col])
    return sparse.csr_matrix((np.maximum(information, 0), (both.row, both.col)), shape=(n_items, n_items))
