"""Linear item-to-item models in closed form: the reference that is hard to beat with anything larger.

`autoencode` is EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data"): each item from all the others of
the same user, whatever the order. `next` is its session-aware form (SLIT of Choi et al. 2021, "Session-aware linear item-item
models"): the next item from a decayed window before it. Item text enters as further rows of the data (collective EASE,
Jeunen et al. 2020, "Closed-form models for collaborative filtering with side-information").

Up to `dense_items` the solution is exact. Beyond, each item is regressed on its nearest neighbours alone (fsSLIM, Ning and
Karypis 2011), which is what sparse approximate inverses such as SANSA (Spisak et al. 2023) come to: a fixed pattern and
one small system an item, in memory that grows with the catalogue and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.blend_terms import Terms
from models.item_text import Texts, texts_of, tfidf
from models.neighbours import ARRAYS, Neighbours, strongest
from models.recommender import Mask, Ranked, UserBatch, load_model, positives_to_learn_from, save_model

ENTRIES_AT_ONCE = 4_000_000
COLUMNS_AT_ONCE = 512


@dataclass(frozen=True)
class LinearConfig:
    """What is predicted from what, and how a history is read. Totals are an item's diagonal of the Gram matrix."""

    objective: Literal["autoencode", "next"] = "autoencode"
    regularization: float = 100.0
    frequency_power: float = 0.0  # the regularization of an item grows with its total to this power
    to_power: float = 0.0  # the total of the predicted item, to this power, is divided out
    user_power: float = 0.0  # autoencode: the length of a history, to this power, is divided out of its say
    train_recency: float = 1.0  # each step back counts this much less, in training
    window: int = 20  # next: how many interactions back the next one is predicted from
    text_share: float = 0.0  # weight of item text, against interactions
    dense_items: int = 20_000  # exact up to here; 30,000 take 8 GB and, on one core, half an hour
    support: int = 300  # beyond: neighbours that an item is regressed on
    neighbours: int = 500  # strongest weights kept of each item
    history: int = 50  # newest interactions that are read
    recency: float = 0.8  # each interaction back in the history counts this much less


@dataclass(frozen=True)
class Linear:
    """A square of weights, negative ones included: see models.neighbours."""

    name: ClassVar[str] = "linear"
    config_type: ClassVar[type[LinearConfig]] = LinearConfig
    reads_texts: ClassVar[bool] = True

    config: LinearConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    neighbours: Neighbours

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: LinearConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        texts: Texts | None = None,
    ) -> Self:
        """Solve. Nothing here is random. An interaction counts once in `autoencode`, by its weight in `next`."""
        config = config or LinearConfig()
        kept = positives_to_learn_from(data)
        gram, cross = _next_item(kept, config) if config.objective == "next" else _autoencoder(kept, config)
        words = tfidf(texts_of(data.item_ids, texts if config.text_share else None))
        words = words * np.float32(config.text_share**0.5)
        totals = np.maximum(gram.diagonal(), 1e-6)
        penalty = config.regularization * (totals / totals.mean()) ** config.frequency_power
        solve = _exact if data.n_items <= config.dense_items else _on_neighbours
        with (reporter or Silent()).task("linear", data.n_items) as task:
            columns = []
            for part in solve(gram, cross, words, penalty.astype(np.float32), config):
                columns.append(part)
                task.advance(part.shape[1])
        weights = sparse.hstack(columns, format="csr") @ sparse.diags((totals**-config.to_power).astype(np.float32))
        weights = strongest(weights.tocsr(), config.neighbours).astype(np.float32)
        return cls(config, data.item_ids, float(kept.time_s.max()), Neighbours(weights, config.history, config.recency))

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf where no more speaks for the item than against."""
        return self.neighbours.scores(users)

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return self.neighbours.recommend(users, k, exclude)

    @property
    def terms(self) -> Terms:
        """See models.blend_terms.SparseRecommender."""
        return self.neighbours.terms

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """The items that each speaks for most."""
        return self.neighbours.similar(item_ix, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The items of the history by their share of the score."""
        return self.neighbours.because(users, item_ix, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, self.neighbours.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ARRAYS)
        config, n = saved.config_as(LinearConfig), len(saved.item_ids)
        neighbours = Neighbours.from_arrays(folder, saved.arrays, n, config.history, config.recency)
        return cls(config, saved.item_ids, saved.trained_until_s, neighbours)


def _autoencoder(data: Interactions, config: LinearConfig) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """The Gram matrix (n_items, n_items) of the histories, and the same without its diagonal: what is predicted."""
    size = np.diff(data.indptr)
    age = data.indptr[1:][data.user_ix] - 1 - np.arange(len(data))
    entries = (config.train_recency**age).astype(np.float32)
    histories = sparse.csr_matrix((entries, data.item_ix, data.indptr), shape=(data.n_users, data.n_items))
    histories = _largest_of_duplicates(histories)
    say = sparse.diags((np.maximum(size, 1) ** (-config.user_power / 2)).astype(np.float32))
    gram = sparse.csr_matrix((say @ histories).T @ (say @ histories))
    return gram, (gram - sparse.diags(gram.diagonal())).tocsr()


def _largest_of_duplicates(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with an item met several times counting once, as its newest (largest) entry."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, matrix.indices, row))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(row[order]) != 0) | (np.diff(matrix.indices[order]) != 0)
    kept = order[first]
    return sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)


def _next_item(data: Interactions, config: LinearConfig) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Sums over all interactions t of h_t h_t^T and h_t e_t^T, for the decayed window h_t before t. Both (n_items, n_items)."""
    n = data.n_items
    gram, cross = sparse.csr_matrix((n, n), dtype=np.float32), sparse.csr_matrix((n, n), dtype=np.float32)
    step = max(1, ENTRIES_AT_ONCE // config.window)
    for start in range(0, len(data), step):
        at = np.arange(start, min(start + step, len(data)))
        rows, columns, entries = [], [], []
        for distance in range(1, config.window + 1):
            before = at - distance
            inside = before >= data.indptr[data.user_ix[at]]
            rows.append(at[inside] - start)
            columns.append(data.item_ix[before[inside]])
            entries.append(np.full(len(rows[-1]), config.train_recency ** (distance - 1), np.float32))
        place = (np.concatenate(rows), np.concatenate(columns))
        window = sparse.csr_matrix((np.concatenate(entries), place), shape=(len(at), n))
        weight = sparse.diags(data.weight[at])
        following = sparse.csr_matrix((data.weight[at], data.item_ix[at], np.arange(len(at) + 1)), shape=(len(at), n))
        gram = gram + window.T @ (weight @ window)
        cross = cross + window.T @ following
    return gram.tocsr(), cross.tocsr()


def _exact(
    gram: sparse.csr_matrix,
    cross: sparse.csr_matrix,
    words: sparse.csr_matrix,
    penalty: NDArray[np.float32],
    config: LinearConfig,
) -> Iterator[sparse.csr_matrix]:
    """Columns of the solution on all items, a block at a time, pruned."""
    n = gram.shape[0]
    system = gram.toarray()
    if words.nnz:
        system += (words @ words.T).toarray()
    system[np.diag_indices(n)] += penalty
    factor = linalg.cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    by_column = cross.tocsc()
    for at in range(0, n, COLUMNS_AT_ONCE):
        own = np.arange(at, min(at + COLUMNS_AT_ONCE, n))
        wanted = np.zeros((n, len(own)), np.float32)
        if config.objective == "autoencode":
            wanted[own, own - at] = 1
        else:
            wanted = by_column[:, own].toarray()
            if words.nnz:
                wanted += (words @ words[own].T).toarray()
        solved = linalg.cho_solve(factor, wanted, overwrite_b=True, check_finite=False)
        if config.objective == "autoencode":
            solved = -solved / solved[own, own - at]
            solved[own, own - at] = 0
        yield _pruned(solved, config.neighbours)


def _pruned(block: NDArray[np.float32], n: int) -> sparse.csr_matrix:
    """The n entries of each column that are largest in size."""
    if block.shape[0] > n:
        edge = np.partition(np.abs(block), block.shape[0] - n, axis=0)[block.shape[0] - n]
        block = np.where(np.abs(block) >= edge, block, 0)
    return sparse.csr_matrix(block)


def _on_neighbours(
    gram: sparse.csr_matrix,
    cross: sparse.csr_matrix,
    words: sparse.csr_matrix,
    penalty: NDArray[np.float32],
    config: LinearConfig,
) -> Iterator[sparse.csr_matrix]:
    """As `_exact`, with each column restricted to the rows that go with it most."""
    n = gram.shape[0]
    by_column = cross.tocsc()
    scale = 1 / np.sqrt(gram.diagonal() + penalty)
    for at in range(0, n, COLUMNS_AT_ONCE):
        rows, columns, entries = [], [], []
        for column in range(at, min(at + COLUMNS_AT_ONCE, n)):
            low, high = by_column.indptr[column : column + 2]
            near, value = by_column.indices[low:high], by_column.data[low:high]
            if len(near) > config.support:
                best = np.argpartition(-value * scale[near], config.support)[: config.support]
                near, value = near[best], value[best]
            system = gram[near][:, near].toarray()
            if words.nnz:
                system += (words[near] @ words[near].T).toarray()
                value = value + (words[near] @ words[column].T).toarray().ravel()
            system[np.diag_indices(len(near))] += penalty[near]
            rows.append(near)
            columns.append(np.full(len(near), column - at))
            entries.append(linalg.solve(system, value, assume_a="pos", overwrite_a=True, check_finite=False))
        place = (np.concatenate(rows), np.concatenate(columns))
        shape = (n, min(COLUMNS_AT_ONCE, n - at))
        yield sparse.csr_matrix((np.concatenate(entries).astype(np.float32), place), shape=shape)
