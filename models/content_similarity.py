"""Content: items whose texts are alike, and what is done next after items whose texts are alike.

The first finds what nobody has touched yet; the second lends the few steps known from one item to those written about in the
same words, which is where sparse data gains most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.item_text import Texts, alike, texts_of
from models.neighbours import ARRAYS, Neighbours, strongest, strongest_product
from models.recommender import Mask, Ranked, UserBatch, load_model, positives_to_learn_from, save_model
from models.transitions import Transitions, TransitionsConfig


@dataclass(frozen=True)
class ContentConfig:
    """How alike texts are found, how far steps are lent between them, and how a history is read."""

    rarest: int = 1  # a word must be in this many texts
    sharpness: float = 1.0  # power of the cosine
    popularity: float = 0.5  # power of 1 + its interactions by which an item counts more: short texts leave many alike
    alike: int = 100  # most similar texts of each item
    through_transitions: bool = False  # answer with what follows the similar items, not with the items themselves
    onwards: float = 0.0  # through transitions: how much an answer also counts for the items like it
    transitions: TransitionsConfig = field(default_factory=TransitionsConfig)
    neighbours: int = 500  # strongest weights kept of each item
    history: int = 50  # newest interactions that are read
    recency: float = 0.8  # each interaction back in the history counts this much less


@dataclass(frozen=True)
class ContentSimilarity:
    """A square of weights over the items of the interactions and all that have a text: see models.neighbours."""

    name: ClassVar[str] = "content"
    config_type: ClassVar[type[ContentConfig]] = ContentConfig
    reads_texts: ClassVar[bool] = True

    config: ContentConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    neighbours: Neighbours

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: ContentConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        texts: Texts | None = None,
    ) -> Self:
        """Compare texts. Nothing here is random; without texts, or without words in common, nothing is recommended."""
        config = config or ContentConfig()
        kept = positives_to_learn_from(data)
        ids = np.array(sorted({*data.item_ids.tolist(), *(texts or {})}), dtype=np.object_)
        with (reporter or Silent()).task("content", 1) as task:
            counting = _popularity(kept, ids) ** config.popularity
            weights = alike(texts_of(ids, texts), config.alike, config.rarest, config.sharpness, counting)
            if config.through_transitions:
                following = _steps(data, ids, config.transitions)
                weights = strongest_product(_even(weights), following, config.neighbours)
                if config.onwards:
                    likewise = config.onwards * _even(alike(texts_of(ids, texts), config.alike, config.rarest))
                    weights = weights + strongest_product(following, likewise, config.neighbours)
            weights = strongest(weights, config.neighbours).astype(np.float32)
            task.advance()
        return cls(config, ids, float(kept.time_s.max()), Neighbours(weights, config.history, config.recency))

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf where no text of the history leads."""
        return self.neighbours.scores(users)

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return self.neighbours.recommend(users, k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """The items that each leads to most."""
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
        config, n = saved.config_as(ContentConfig), len(saved.item_ids)
        neighbours = Neighbours.from_arrays(folder, saved.arrays, n, config.history, config.recency)
        return cls(config, saved.item_ids, saved.trained_until_s, neighbours)


def _steps(data: Interactions, ids: NDArray[np.object_], config: TransitionsConfig) -> sparse.csr_matrix:
    """(n, n) csr over `ids`: the transitions of `data`."""
    found = Transitions.fit(data, config).next_items.tocoo()
    row_of = np.searchsorted(ids, data.item_ids)
    return sparse.csr_matrix((found.data, (row_of[found.row], row_of[found.col])), shape=(len(ids), len(ids)))


def _popularity(data: Interactions, ids: NDArray[np.object_]) -> NDArray[np.float64]:
    """(n,) float64: 1 and the interactions with each of `ids`, sorted."""
    counts = np.ones(len(ids))
    counts[np.searchsorted(ids, data.item_ids)] += np.bincount(data.item_ix, minlength=data.n_items)
    return counts


def _even(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with rows that sum to 1, or to 0."""
    total = np.asarray(weights.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags(1 / np.where(total > 0, total, 1)) @ weights, dtype=np.float32)
