"""Implicit ALS: matrix factorization whose users are folded in from what they did last, so none needs to be in training.

Hu, Koren and Volinsky 2008 ("Collaborative filtering for implicit feedback datasets"), trained by `implicit`. A user is
never looked up: the vector is solved from the live history, each interaction counting less the further back it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from core.errors import ConfigurationError
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
    strongest_terms,
    top_k,
)

USERS_AT_ONCE = 256


@dataclass(frozen=True)
class ALSConfig:
    """How the factors are trained and how a history is folded in."""

    factors: int = 64
    regularization: float = 5.0
    alpha: float = 2.0  # confidence of an interaction of weight 1
    iterations: int = 10
    history: int = 50  # newest interactions that are folded in
    recency: float = 0.85  # each interaction back in the history counts this much less
    threads: int = 1  # of the CPU trainer; 0 takes all cores
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class ALS:
    """`factors` (n_items, d) float32."""

    name: ClassVar[str] = "als"
    config_type: ClassVar[type[ALSConfig]] = ALSConfig

    config: ALSConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    factors: NDArray[np.float32]
    gram: NDArray[np.float32]  # (d, d): factors^T factors + regularization I

    @classmethod
    def fit(
        cls, data: Interactions, config: ALSConfig | None = None, seed: int = 0, reporter: Reporter | None = None
    ) -> Self:
        """Train on the sum of weights of each user and item."""
        config = config or ALSConfig()
        kept = positives_to_learn_from(data)
        factors = _train(data.matrix(), config, seed, reporter or Silent())
        return cls(config, data.item_ids, float(kept.time_s.max()), factors, _gram(factors, config))

    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, d) float32."""
        return self.factors

    def encode(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, d) float32: the x that minimises sum_j c_j (1 - x.y_j)^2 + |Y x|^2 + regularization |x|^2.

        j runs over the history and c_j is its confidence, so that what fades into the past ends as never having been
        (the objective of Rendle et al. 2022, "Revisiting the performance of iALS").
        """
        parts = [users[at : at + USERS_AT_ONCE] for at in range(0, len(users), USERS_AT_ONCE)]
        solved = [np.linalg.solve(*self._system(*self._padded(part)))[:, :, 0] for part in parts]
        return np.concatenate([*solved, np.zeros((0, self.factors.shape[1]))]).astype(np.float32)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf throughout where the history is empty."""
        scores = self.encode(users) @ self.factors.T
        scores[np.diff(users.indptr) == 0] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """By the cosine of item vectors."""
        scores = self._directions[item_ix] @ self._directions.T
        scores[np.arange(len(item_ix)), item_ix] = -np.inf
        return top_k(scores, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The score is a sum over the history (section 5 of the paper); these are its largest terms."""
        parts = [slice(at, at + USERS_AT_ONCE) for at in range(0, len(users), USERS_AT_ONCE)]
        named = [self._because(users[part], item_ix[part], limit) for part in parts]
        return np.concatenate([*named, np.zeros((0, item_ix.shape[1], limit), np.int32)])

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, {"factors": self.factors})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("factors",))
        config, factors = saved.config_as(ALSConfig), saved.arrays["factors"]
        check_shape(folder, factors, len(saved.item_ids), config.factors)
        return cls(config, saved.item_ids, saved.trained_until_s, factors, _gram(factors, config))

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        """(n_items, d) float32 of length 1 (a zero vector stays zero)."""
        length = np.linalg.norm(self.factors, axis=1, keepdims=True)
        directions: NDArray[np.float32] = self.factors / np.maximum(length, np.float32(1e-12))
        return directions

    def _padded(self, users: UserBatch) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Histories side by side: items (B, L) int32 and confidence (B, L) float32, zero where there is none."""
        read = users.newest(self.config.history)
        width = int(np.diff(read.indptr).max(initial=0))
        place = np.arange(len(read.items)) - read.indptr[read.owner]
        items = np.zeros((len(users), width), np.int32)
        confidence = np.zeros((len(users), width), np.float32)
        items[read.owner, place] = read.items
        confidence[read.owner, place] = self.config.alpha * read.weights * self.config.recency**read.age
        return items, confidence

    def _system(
        self, items: NDArray[np.int32], confidence: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The linear systems of padded histories (B, L): left sides (B, d, d) and right sides (B, d, 1)."""
        vectors = self.factors[items]  # (B, L, d)
        weighted: NDArray[np.float32] = vectors * confidence[:, :, None]
        left: NDArray[np.float32] = self.gram + weighted.transpose(0, 2, 1) @ vectors
        return left, weighted.sum(axis=1)[:, :, None]

    def _because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        items, confidence = self._padded(users)
        left, _ = self._system(items, confidence)
        asked = self.factors[np.maximum(item_ix, 0)].transpose(0, 2, 1)  # (B, d, k)
        terms = np.linalg.solve(left, asked).transpose(0, 2, 1) @ self.factors[items].transpose(0, 2, 1)  # (B, k, L)
        terms = terms * confidence[:, None, :] * (item_ix >= 0)[:, :, None]
        batch, k, width = terms.shape
        slot = np.repeat(np.arange(batch * k), width)
        spoken = np.repeat(items, k, axis=0).ravel()
        named = strongest_terms(slot, spoken, terms.ravel().astype(np.float32), (batch * k, len(self.item_ids)), limit)
        return named.reshape(batch, k, limit)


def _train(matrix: sparse.csr_matrix, config: ALSConfig, seed: int, reporter: Reporter) -> NDArray[np.float32]:
    """(n_items, d) float32. `implicit` is imported here so that serving a trained model does not need it."""
    from implicit.cpu.als import AlternatingLeastSquares as OnCpu
    from implicit.gpu import HAS_CUDA
    from implicit.gpu.als import AlternatingLeastSquares as OnGpu

    if config.device == "cuda" and not HAS_CUDA:
        raise ConfigurationError("device cuda: implicit finds no GPU, or rmm is not installed; use device auto or cpu")
    on_gpu = HAS_CUDA and config.device != "cpu"
    shared = {
        "factors": config.factors, "regularization": config.regularization, "alpha": config.alpha,
        "iterations": config.iterations, "random_state": seed,
    }  # fmt: skip
    with threadpool_limits(1, "blas"), reporter.task("als", config.iterations) as task:  # BLAS threads slow it down
        model = OnGpu(**shared) if on_gpu else OnCpu(**shared, num_threads=config.threads)
        model.fit(matrix, show_progress=False, callback=lambda *_: task.advance())
    factors = model.item_factors.to_numpy() if on_gpu else model.item_factors
    return np.ascontiguousarray(factors, dtype=np.float32)


def _gram(factors: NDArray[np.float32], config: ALSConfig) -> NDArray[np.float32]:
    gram = factors.T @ factors
    gram[np.diag_indices_from(gram)] += config.regularization
    return gram
