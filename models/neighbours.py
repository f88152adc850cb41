"""Item-to-item weights and how a history is read through them: the serving half of every linear and neighbourhood model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ArtifactCorrupt
from models.arrays import rows_fit
from models.blend_terms import Terms, row_terms
from models.recommender import Mask, Ranked, UserBatch, check_shape, ragged_top_k, strongest_terms, top_k

ARRAYS = ("indptr", "indices", "data")


@dataclass(frozen=True)
class Neighbours:
    """`weights` (n_items, n_items) float32 csr: how much item i of the history speaks for item j.

    Of a history the `history` newest interactions are read, each counting `recency` times the one after it.
    """

    weights: sparse.csr_matrix
    history: int
    recency: float

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf for what no item of the history speaks for, or more against than for."""
        dense: NDArray[np.float32] = self._reached(users).toarray()
        dense[dense <= 0] = -np.inf
        return dense

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """The top of `scores`; costs what the neighbours of the history cost, not what the catalogue does."""
        return _ranked(self._reached(users), k, exclude)

    @cached_property
    def terms(self) -> Terms:
        """See models.blend_terms.SparseRecommender."""
        return row_terms(self.weights, self.history, self.recency)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """The strongest neighbours of each item, itself left out."""
        rows = self.weights[item_ix].tocoo()
        others = rows.col != np.asarray(item_ix)[rows.row]
        found = sparse.coo_matrix((rows.data[others], (rows.row[others], rows.col[others])), shape=rows.shape)
        return _ranked(found, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        """(B, k, limit) int32: the items of the history by their share of the score of `item_ix` (B, k)."""
        batch, k = item_ix.shape
        read = users.newest(self.history)
        pair = np.repeat(np.arange(len(read.items)), k)  # each item of the history with each recommended item
        asked = item_ix[read.owner].ravel()
        found = np.asarray(self.weights[read.items[pair], np.maximum(asked, 0)]).ravel()
        share = np.where(asked >= 0, found * counts(read, self.recency)[pair], 0)
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        named = strongest_terms(slot, read.items[pair], share, (batch * k, self.weights.shape[0]), limit)
        return named.reshape(batch, k, limit)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights as named arrays, to be saved."""
        found = self.weights
        return {
            "indptr": found.indptr.astype(np.int64), "indices": found.indices.astype(np.int32), "data": found.data,
        }  # fmt: skip

    @classmethod
    def from_arrays(
        cls, folder: Path, arrays: dict[str, NDArray[Any]], n_items: int, history: int, recency: float
    ) -> Self:
        """The reverse of `arrays`. Raises ArtifactCorrupt, naming `folder`, when they do not make (n_items, n_items)."""
        indptr, indices, data = (arrays[name] for name in ARRAYS)
        check_shape(folder, indptr, n_items + 1)
        check_shape(folder, data, int(indptr[-1]))
        check_shape(folder, indices, int(indptr[-1]))
        if not rows_fit(indptr, indices, n_items):
            raise ArtifactCorrupt(f"{folder}: weights point outside the {n_items} items; train and publish again")
        return cls(sparse.csr_matrix((data, indices, indptr), shape=(n_items, n_items)), history, recency)

    def _reached(self, users: UserBatch) -> sparse.csr_matrix:
        return history_matrix(users, self.weights.shape[0], self.history, self.recency) @ self.weights


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) float32: the length of each of `vectors` (n, d), no less than lets a zero vector be divided by it."""
    squared = np.einsum("ij,ij->i", vectors, vectors)  # without a second such matrix
    found: NDArray[np.float32] = np.maximum(np.sqrt(squared), np.float32(1e-12))
    return found


def most_alike(
    vectors: NDArray[np.float32],
    length: NDArray[np.float32],
    item_ix: NDArray[np.int32],
    k: int,
    exclude: Mask | None = None,
) -> Ranked:
    """The k items of the largest cosine with each of `item_ix`, itself left out. `vectors` (n_items, d) are as long as `length`
    (n_items,) says."""
    directions: NDArray[np.float32] = vectors[item_ix] / length[item_ix, None]
    scores: NDArray[np.float32] = directions @ vectors.T
    scores /= length
    scores[np.arange(len(item_ix)), item_ix] = -np.inf
    return top_k(scores, k, exclude)


def counts(read: UserBatch, recency: float) -> NDArray[np.float32]:
    """(m,) float32: how much each interaction of the histories counts."""
    counted: NDArray[np.float32] = (recency**read.age * read.weights).astype(np.float32)
    return counted


def history_matrix(users: UserBatch, n_items: int, history: int, recency: float) -> sparse.csr_matrix:
    """(B, n_items) float32 csr: the newest `history` interactions of each user; an item met twice is summed."""
    read = users.newest(history)
    found = sparse.csr_matrix((counts(read, recency), read.items, read.indptr), shape=(len(users), n_items))
    found.sum_duplicates()
    return found


def strongest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The n entries of each row that are largest in size; of equal ones those of lower column."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    size, n = np.diff(matrix.indptr), max(n, 0)
    kept = np.ones(len(matrix.data), dtype=bool)
    for row in np.flatnonzero(size > n).tolist():  # a partition each: sorting them all takes four times as long
        part = np.abs(matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]])
        least = np.partition(part, len(part) - n)[len(part) - n] if n else np.inf
        above = part > least
        above[np.flatnonzero(part == least)[: n - np.count_nonzero(above)]] = True
        kept[matrix.indptr[row] : matrix.indptr[row + 1]] = above
    indptr = np.concatenate([[0], np.cumsum(np.minimum(size, n))])
    return sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def strongest_product(left: sparse.csr_matrix, right: sparse.csr_matrix, n: int, rows: int = 1024) -> sparse.csr_matrix:
    """The n strongest entries of each row of left @ right, which is never held whole."""
    right = right.tocsr()
    parts = [strongest(left[at : at + rows] @ right, n) for at in range(0, left.shape[0], rows)]
    return sparse.vstack(parts, format="csr")


def _ranked(scores: sparse.spmatrix, k: int, exclude: Mask | None) -> Ranked:
    """The k best entries of each row; those not stored, or not positive, are no candidates."""
    found = scores.tocoo()
    kept = found.data > 0
    if exclude is not None:
        kept &= ~(exclude[found.col] if exclude.ndim == 1 else exclude[found.row, found.col])
    row, column = found.row[kept].astype(np.int64), found.col[kept].astype(np.int32)
    return ragged_top_k(row, column, found.data[kept].astype(np.float32), found.shape[0], k)
