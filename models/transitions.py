"""Decayed transitions: what people do next after each item, read from where the user is now.

Item-to-item counts within a window, as in the session-based neighbourhood models of Ludewig and Jannach 2018
("Evaluation of session-based recommendation algorithms", their sequential rules), with an inverse power of the distance,
a share of the reverse direction, and powers of both items' totals taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ArtifactCorrupt
from core.progress import Reporter
from features.interactions import Interactions
from models.arrays import rows_fit
from models.blend_terms import Terms, row_terms
from models.neighbours import strongest
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
from models.step_counts import StepCounts

ENTRIES_AT_ONCE = 8_000_000


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
    """`next_items` (n_items, n_items) float32 csr: row i scores what follows item i.

    `counts`, what these were made from, is there after fitting and is not saved with the model.
    """

    name: ClassVar[str] = "transitions"
    config_type: ClassVar[type[TransitionsConfig]] = TransitionsConfig

    config: TransitionsConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    next_items: sparse.csr_matrix
    counts: StepCounts | None = None

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
        counts = StepCounts.of(kept, config.window, config.distance_power, reporter)
        return cls.of_counts(counts, config, float(kept.time_s.max()))

    @classmethod
    def of_counts(cls, counts: StepCounts, config: TransitionsConfig, trained_until_s: float) -> Self:
        """The model of counts made with the window and the distance power of `config`."""
        next_items = _successors(counts.steps, config)
        if config.repeat:
            next_items = (next_items + _repeats(next_items, config.repeat)).tocsr()
        next_items.sort_indices()
        return cls(config, counts.item_ids, trained_until_s, next_items.astype(np.float32), counts)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf where no item of the history leads."""
        dense: NDArray[np.float32] = self._reached(users).toarray()
        dense[dense == 0] = -np.inf
        return dense

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender. Costs what the history's successors cost, not what the catalogue does."""
        return _ranked(self._reached(users), k, exclude)

    @cached_property
    def terms(self) -> Terms:
        """See models.blend_terms.SparseRecommender."""
        return row_terms(self.next_items, self.config.history, self.config.recency)

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
        if not rows_fit(indptr, indices, n):
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


def _successors(steps: sparse.csr_matrix, config: TransitionsConfig) -> sparse.csr_matrix:
    """Both directions together, powers of each row's and column's total divided out, the strongest of each row; by blocks of
    rows, for the whole of it before the strongest are chosen is several times as large as what comes of it.
    """
    share = np.float32(config.reverse_share)
    outgoing, incoming = np.asarray(steps.sum(axis=1)).ravel(), np.asarray(steps.sum(axis=0)).ravel()
    left = np.maximum(outgoing + share * incoming, 1e-6) ** -config.from_power
    right = np.maximum(incoming + share * outgoing, 1e-6) ** -config.to_power
    back = steps.T.tocsr() if share else steps
    filled = steps.indptr.astype(np.int64) + (back.indptr if share else 0)
    parts, at, n = [], 0, steps.shape[0]
    while at < n:
        until = max(at + 1, int(np.searchsorted(filled, filled[at] + ENTRIES_AT_ONCE)))
        block = steps[at:until] + share * back[at:until] if share else steps[at:until]
        rows = np.repeat(left[at:until], np.diff(block.indptr))
        block.data = (block.data * rows * right[block.indices]).astype(np.float32)
        parts.append(strongest(block, config.neighbours))
        at = until
    return sparse.vstack(parts, format="csr") if parts else steps


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
