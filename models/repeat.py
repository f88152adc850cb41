"""Repeat: what one had before, one has again, the sooner the likelier. Strong in shops and sessions.

The chance of a return by how many interactions ago the item was met is counted, not assumed: the recency side of Anderson
et al. 2014 ("The dynamics of repeat consumption"). An item met several times adds its chances up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ArtifactCorrupt
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.blend_terms import NO_ROWS, Terms
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


@dataclass(frozen=True)
class RepeatConfig:
    """How far back is looked, and how many unrepeated interactions stand behind the counted ones."""

    history: int = 50  # newest interactions that may return
    prior: float = 20.0  # strength of the belief that a chance falls as 1 / (how long ago + 1)


@dataclass(frozen=True)
class Repeat:
    """`chance` (history,) float32: how often the next item is the one met that many interactions ago (0: the last)."""

    name: ClassVar[str] = "repeat"
    config_type: ClassVar[type[RepeatConfig]] = RepeatConfig

    config: RepeatConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    chance: NDArray[np.float32]

    @classmethod
    def fit(
        cls, data: Interactions, config: RepeatConfig | None = None, seed: int = 0, reporter: Reporter | None = None
    ) -> Self:
        """Count returns at each distance. Nothing here is random."""
        config = config or RepeatConfig()
        kept = positives_to_learn_from(data)
        came, could = np.zeros(config.history), np.zeros(config.history)
        with (reporter or Silent()).task("repeat", config.history) as task:
            for ago in range(min(config.history, len(kept) - 1)):
                same = kept.user_ix[ago + 1 :] == kept.user_ix[: -ago - 1]
                could[ago] = np.count_nonzero(same)
                came[ago] = np.count_nonzero(same & (kept.item_ix[ago + 1 :] == kept.item_ix[: -ago - 1]))
                task.advance()
        falling = 1 / (np.arange(config.history) + 1)
        usual = max(came.sum(), 1) / max((could * falling).sum(), 1)
        chance = (came + config.prior * usual * falling) / (could + config.prior)
        return cls(config, data.item_ids, float(kept.time_s.max()), chance.astype(np.float32))

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf for all but the user's own items."""
        dense: NDArray[np.float32] = self._chances(users).toarray()
        dense[dense <= 0] = -np.inf
        return dense

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender. Costs what the history does."""
        found = self._chances(users).tocoo()
        row, column, chance = found.row.astype(np.int64), found.col.astype(np.int32), found.data
        if exclude is not None:
            kept = ~(exclude[column] if exclude.ndim == 1 else exclude[row, column])
            row, column, chance = row[kept], column[kept], chance[kept]
        return ragged_top_k(row, column, chance, len(users), k)

    @cached_property
    def terms(self) -> Terms:
        """See models.blend_terms.SparseRecommender."""
        chance = self.chance[: self.config.history].astype(np.float64)
        return Terms(NO_ROWS, NO_ROWS, np.zeros(0, np.float32), chance, False)

    def with_items(self, item_ids: NDArray[np.object_]) -> Self:
        """What one had may come again also where nobody had it in training."""
        return replace(self, item_ids=np.array(sorted({*self.item_ids.tolist(), *item_ids.tolist()}), dtype=np.object_))

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """An item returns for its own sake: all padding."""
        shape = (len(item_ix), k)
        return np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The item itself, where the user has it."""
        batch, k = item_ix.shape
        read = users.newest(self.config.history)
        pair = np.repeat(np.arange(len(read.items)), k)
        asked = item_ix[read.owner].ravel()
        share = np.where(asked == read.items[pair], self.chance[read.age[pair]], 0)
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        named = strongest_terms(slot, read.items[pair], share, (batch * k, len(self.item_ids)), limit)
        return named.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, {"chance": self.chance, "n_items": np.array([len(self.item_ids)])})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("chance", "n_items"))
        config, chance = saved.config_as(RepeatConfig), saved.arrays["chance"]
        check_shape(folder, chance, config.history)
        if saved.arrays["n_items"].tolist() != [len(saved.item_ids)]:
            raise ArtifactCorrupt(f"{folder}/items.json is not this model's; train and publish the model again")
        return cls(config, saved.item_ids, saved.trained_until_s, chance)

    def _chances(self, users: UserBatch) -> sparse.csr_matrix:
        """(B, n_items) float32 csr: summed chances of the user's own items."""
        read = users.newest(self.config.history)
        shape = (len(users), len(self.item_ids))
        found = sparse.csr_matrix((self.chance[read.age], read.items, read.indptr), shape=shape)
        found.sum_duplicates()
        return found
