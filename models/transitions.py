"""Decayed transitions: what people do next after each item, read from where the user is now.

Item-to-item counts within a window, as in the session-based neighbourhood models of Ludewig and Jannach 2018
("Evaluation of session-based recommendation algorithms", their sequential rules), with an inverse power of the distance,
a share of the reverse direction, and powers of both items' totals taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ArtifactCorrupt
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.recommender import (
    Mask,
    Ranked,
    UserBatch,
    check_shape,
    load_model,
    positives_to_learn_from,
    ragged_top_k,
    save_model,
    strongest_terms,
)

PAIRS_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class TransitionsConfig:
    """How steps are counted and how the history is read. Defaults: a compromise over films, sessions and shops, by validation."""

    window: int = 15  # steps ahead that count as a transition
    distance_power: float = 0.8  # a step over d items counts d ** -distance_power
    reverse_share: float = 0.3  # how much the step backwards counts
    from_power: float = 0.6  # total weight out of an item, to this power, is divided out
    to_power: float = 0.2  # total weight into an item, to this power, is divided out
    neighbours: int = 300  # strongest successors kept of each item
    history: int = 50  # newest interactions that are read
    recency: float = 0.7  # each interaction back in the history counts this much less
    repeat: float = 0.0  # weight of the user's own recent items, relative to their strongest successor


@dataclass(frozen=True)
class Transitions:
    """`next_items` (n_items, n_items) float32 csr: row i scores what follows item i."""

    name: ClassVar[str] = "transitions"
    config_type: ClassVar[type[TransitionsConfig]] = TransitionsConfig

    config: TransitionsConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    next_items: sparse.csr_matrix

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: TransitionsConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
    ) -> Self:
        """Count, normalise, keep the strongest. Nothing here is random."""
        config = config or TransitionsConfig()
        kept = positives_to_learn_from(data)
        counts = sparse.csr_matrix((data.n_items, data.n_items), dtype=np.float32)
        runs = list(_runs(kept.indptr, config.window))
        with (reporter or Silent()).task("transitions", len(runs)) as task:
            for start, stop in runs:
                counts = counts + _count(kept, start, stop, config)
                task.advance(note=f"{counts.nnz:,} pairs")
        if config.reverse_share:
            counts = (counts + config.reverse_share * counts.T).tocsr()
        next_items = _strongest(_normalised(counts, config), config.neighbours)
        if config.repeat:
            next_items = (next_items + _repeats(next_items, config.repeat)).tocsr()
        next_items.sort_indices()
        return cls(config, data.item_ids, float(kept.time_s.max()), next_items.astype(np.float32))

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf where no item of the history leads."""
        dense: NDArray[np.float32] = self._reached(users).toarray()
        dense[dense == 0] = -np.inf
        return dense

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender. Costs what the history's successors cost, not what the catalogue does."""
        return _ranked(self._reached(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """What follows each item most."""
        rows = self.next_items[item_ix].tocoo()
        others = rows.col != np.asarray(item_ix)[rows.row]
        found = sparse.coo_matrix((rows.data[others], (rows.row[others], rows.col[others])), shape=rows.shape)
        return _ranked(found, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The items of the history whose successors include the recommended one, by their share of its score."""
        batch, k = item_ix.shape
        read = users.newest(self.config.history)
        if not len(read.items):
            return np.full((batch, k, limit), -1, np.int32)
        # each item of the history with each recommended item of its user
        pair = np.repeat(np.arange(len(read.items)), k)
        asked = item_ix[read.owner].ravel()
        share = np.asarray(self.next_items[read.items[pair], np.maximum(asked, 0)]).ravel() * self._weight(read)[pair]
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        named = strongest_terms(
            slot, read.items[pair], np.where(asked >= 0, share, 0), (batch * k, len(self.item_ids)), limit
        )
        return named.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        found = self.next_items
        arrays = {
            "indptr": found.indptr.astype(np.int64),
            "indices": found.indices.astype(np.int32),
            "data": found.data,
        }
        save_model(folder, self, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("indptr", "indices", "data"))
        n = len(saved.item_ids)
        indptr, indices, data = (saved.arrays[name] for name in ("indptr", "indices", "data"))
        check_shape(folder, indptr, n + 1)
        check_shape(folder, data, int(indptr[-1]))
        check_shape(folder, indices, int(indptr[-1]))
        if indptr[0] != 0 or np.any(np.diff(indptr) < 0) or np.any(indices < 0) or np.any(indices >= n):
            raise ArtifactCorrupt(
                f"{folder}: transitions point outside the {n} items; train and publish the model again"
            )
        next_items = sparse.csr_matrix((data, indices, indptr), shape=(n, n))
        return cls(saved.config_as(TransitionsConfig), saved.item_ids, saved.trained_until_s, next_items)

    def _weight(self, read: UserBatch) -> NDArray[np.float32]:
        """(m,) float32: how much each interaction of the history counts."""
        weight: NDArray[np.float32] = (self.config.recency**read.age * read.weights).astype(np.float32)
        return weight

    def _reached(self, users: UserBatch) -> sparse.csr_matrix:
        """(B, n_items) csr: the score of every item that the history leads to."""
        read = users.newest(self.config.history)
        shape = (len(users), len(self.item_ids))
        return sparse.csr_matrix((self._weight(read), read.items, read.indptr), shape=shape) @ self.next_items


def _runs(indptr: NDArray[np.int64], window: int) -> Iterator[tuple[int, int]]:
    """Runs of whole users, as ranges of interactions, that make a bounded number of pairs each."""
    start = 0
    while start < indptr[-1]:
        stop = int(indptr[np.searchsorted(indptr, start + PAIRS_AT_ONCE // window, side="right") - 1])
        if stop <= start:  # one user longer than a whole run
            stop = int(indptr[np.searchsorted(indptr, start, side="right")])
        yield start, stop
        start = stop


def _count(data: Interactions, start: int, stop: int, config: TransitionsConfig) -> sparse.csr_matrix:
    """(n_items, n_items) float32: the steps within interactions start:stop, whole users."""
    users, items, weight = data.user_ix[start:stop], data.item_ix[start:stop], data.weight[start:stop]
    sources, targets, steps = [], [], []
    for distance in range(1, min(config.window, stop - start - 1) + 1):
        same = (users[distance:] == users[:-distance]) & (items[distance:] != items[:-distance])
        sources.append(items[:-distance][same])
        targets.append(items[distance:][same])
        steps.append(weight[distance:][same] * np.float32(distance**-config.distance_power))
    if not sources:
        return sparse.csr_matrix((data.n_items, data.n_items), dtype=np.float32)
    triples = (np.concatenate(steps), (np.concatenate(sources), np.concatenate(targets)))
    return sparse.coo_matrix(triples, shape=(data.n_items, data.n_items), dtype=np.float32).tocsr()


def _normalised(counts: sparse.csr_matrix, config: TransitionsConfig) -> sparse.csr_matrix:
    """Divide out powers of each row's and column's total."""
    outgoing = np.asarray(counts.sum(axis=1)).ravel()
    incoming = np.asarray(counts.sum(axis=0)).ravel()
    left = sparse.diags(np.maximum(outgoing, 1e-6) ** -config.from_power)
    right = sparse.diags(np.maximum(incoming, 1e-6) ** -config.to_power)
    return sparse.csr_matrix(left @ counts @ right)


def _strongest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The n largest entries of each row; of equal ones those of lower column."""
    matrix.sort_indices()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, row))  # stable, so equal entries stay in column order
    place = np.arange(len(order)) - matrix.indptr[row]  # rows keep their extent under the sort
    kept = order[place < n]
    return sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)


def _repeats(next_items: sparse.csr_matrix, weight: float) -> sparse.dia_matrix:
    """A diagonal of `weight` times each item's strongest successor; items without one take the mean."""
    strongest = next_items.max(axis=1).toarray().ravel()
    usual = strongest[strongest > 0].mean() if (strongest > 0).any() else 1.0
    return sparse.diags(weight * np.where(strongest > 0, strongest, usual), dtype=np.float32)


def _ranked(scores: sparse.spmatrix, k: int, exclude: Mask | None) -> Ranked:
    """The k best entries of each row of a sparse matrix; entries not stored are not candidates."""
    found = scores.tocoo()
    row, column, score = found.row.astype(np.int64), found.col.astype(np.int32), found.data.astype(np.float32)
    if exclude is not None:
        kept = ~(exclude[column] if exclude.ndim == 1 else exclude[row, column])
        row, column, score = row[kept], column[kept], score[kept]
    return ragged_top_k(row, column, score, found.shape[0], k)
