"""Popularity: what most people want, over all time and lately. No history is needed, so everyone gets an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.recommender import (
    Mask,
    Ranked,
    UserBatch,
    check_shape,
    load_model,
    positives_to_learn_from,
    save_model,
    top_k,
)

DAY_S = 86_400.0


@dataclass(frozen=True)
class PopularityConfig:
    """`ranking` is what `scores` answers with; `half_life_days` is how fast an interaction stops being a trend."""

    ranking: Literal["popular", "trending"] = "popular"
    half_life_days: float = 7.0


@dataclass(frozen=True)
class Popularity:
    """`popular` and `trending` (n_items,) float32: the sum of weights, and the same halved every half-life."""

    name: ClassVar[str] = "popularity"
    config_type: ClassVar[type[PopularityConfig]] = PopularityConfig

    config: PopularityConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    popular: NDArray[np.float32]
    trending: NDArray[np.float32]

    @classmethod
    def fit(
        cls, data: Interactions, config: PopularityConfig | None = None, seed: int = 0, reporter: Reporter | None = None
    ) -> Self:
        """Count. Time is measured back from the newest interaction, so that a model does not age by waiting."""
        config = config or PopularityConfig()
        kept = positives_to_learn_from(data)
        newest_s = float(kept.time_s.max())
        with (reporter or Silent()).task("popularity", 1) as task:
            half_lives = (newest_s - kept.time_s) / (config.half_life_days * DAY_S)
            popular = np.bincount(kept.item_ix, kept.weight, data.n_items)
            trending = np.bincount(kept.item_ix, kept.weight * np.exp2(-half_lives), data.n_items)
            task.advance()
        return cls(config, data.item_ids, newest_s, popular.astype(np.float32), trending.astype(np.float32))

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, the same row for everyone."""
        return np.tile(self.ranking(), (len(users), 1))

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """Counts say nothing of likeness: all padding."""
        shape = (len(item_ix), k)
        return np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The history plays no part: all padding."""
        return np.full((*item_ix.shape, limit), -1, np.int32)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, {"popular": self.popular, "trending": self.trending})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("popular", "trending"))
        popular, trending = saved.arrays["popular"], saved.arrays["trending"]
        for counts in (popular, trending):
            check_shape(folder, counts, len(saved.item_ids))
        return cls(saved.config_as(PopularityConfig), saved.item_ids, saved.trained_until_s, popular, trending)

    def ranking(self) -> NDArray[np.float32]:
        """See models.blend_terms.ImpersonalRecommender."""
        counts = self.trending if self.config.ranking == "trending" else self.popular
        return np.where(counts > 0, counts, -np.inf).astype(np.float32)
