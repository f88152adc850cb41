"""BPR: matrix factorization learned from pairs, what a user has against what another has; users are folded in.

Rendle et al. 2009 ("BPR: Bayesian personalized ranking from implicit feedback"), trained by `implicit`, whose negatives are
drawn as often as items occur. Users of training are forgotten: a user's vector is the mean of what the history holds, each
interaction counting less the further back it lies, times the gain that brings such means closest to the vectors that
training gave its own users (least squares over all of them). That loses nothing: see docs/benchmarks/factors.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ConfigurationError
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.neighbours import lengths, most_alike
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

UNTRAINED = 10.0  # how far, in log-odds, an item that nobody wanted stands below all others


@dataclass(frozen=True)
class BPRConfig:
    """How the factors are trained and how a history is folded in."""

    factors: int = 64
    learning_rate: float = 0.05
    regularization: float = 0.01
    iterations: int = 100
    history: int = 50  # newest interactions that are folded in
    recency: float = 0.85  # each interaction back in the history counts this much less
    threads: int = 1  # of the CPU trainer; more than one and runs differ; 0 takes all cores
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class BPR:
    """`factors` (n_items, d) float32, of which the mean over all interactions is zero; `bias` (n_items,), `gain` (1,) float32."""

    name: ClassVar[str] = "bpr"
    config_type: ClassVar[type[BPRConfig]] = BPRConfig

    config: BPRConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    factors: NDArray[np.float32]
    bias: NDArray[np.float32]
    gain: NDArray[np.float32]

    @classmethod
    def fit(
        cls, data: Interactions, config: BPRConfig | None = None, seed: int = 0, reporter: Reporter | None = None
    ) -> Self:
        """Train on who had what; weights do not count. Raises ConfigurationError for a GPU that is not there."""
        config = config or BPRConfig()
        kept = positives_to_learn_from(data)
        matrix = data.matrix()
        users, items = _train(matrix, config, seed, reporter or Silent())
        factors, bias = _centred(items[:, :-1], matrix), items[:, -1].copy()
        gain = _gain(users[:, :-1], factors, matrix)
        never = np.bincount(kept.item_ix, minlength=data.n_items) == 0
        factors[never], bias[never] = 0, bias[~never].min() - UNTRAINED
        return cls(config, data.item_ids, float(kept.time_s.max()), factors, bias, gain)

    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, d + 1) float32: factors, and the bias as the last dimension."""
        return self._vectors

    def encode(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, d + 1) float32: the folded-in user and a 1; all zeros where the history is empty."""
        read = users.newest(self.config.history)
        shape = (len(read), len(self.item_ids))
        history = sparse.csr_matrix((self._weight(read), read.items, read.indptr), shape=shape)
        filled = np.diff(users.indptr) > 0
        return np.hstack([history @ self.factors, filled[:, None]]).astype(np.float32)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32 log-odds but for a constant of each user, -inf where the history is empty."""
        scores = self.encode(users) @ self._vectors.T
        scores[np.diff(users.indptr) == 0] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """By the cosine of the factors."""
        return most_alike(self.factors, self._lengths, item_ix, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The score is a sum over the history and the item's bias; these are the largest terms of the former."""
        batch, k = item_ix.shape
        read = users.newest(self.config.history)
        pair = np.repeat(
            np.arange(len(read.items)), k
        )  # each item of the history with each recommended item of its user
        asked = item_ix[read.owner].ravel()
        term = np.einsum("pd,pd->p", self.factors[read.items[pair]], self.factors[np.maximum(asked, 0)])
        share = np.where(asked >= 0, term * self._weight(read)[pair], 0).astype(np.float32)
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        named = strongest_terms(slot, read.items[pair], share, (batch * k, len(self.item_ids)), limit)
        return named.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, {"factors": self.factors, "bias": self.bias, "gain": self.gain})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("factors", "bias", "gain"))
        config, n = saved.config_as(BPRConfig), len(saved.item_ids)
        factors, bias, gain = (saved.arrays[name] for name in ("factors", "bias", "gain"))
        check_shape(folder, factors, n, config.factors)
        check_shape(folder, bias, n)
        check_shape(folder, gain, 1)
        return cls(config, saved.item_ids, saved.trained_until_s, factors, bias, gain)

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return np.hstack([self.factors, self.bias[:, None]])

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        """(n_items,) float32."""
        return lengths(self.factors)

    def _weight(self, read: UserBatch) -> NDArray[np.float32]:
        """(m,) float32: the share of each interaction in its user's mean, times the gain."""
        weight = read.weights * self.config.recency**read.age
        total = np.bincount(read.owner, weight, len(read))
        share: NDArray[np.float32] = (self.gain * weight / total[read.owner]).astype(np.float32)
        return share


def _train(
    matrix: sparse.csr_matrix, config: BPRConfig, seed: int, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Users (n_users, d + 1), of whom the last column is 1, and items (n_items, d + 1), of which it is the bias."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking as OnCpu  # here, so that serving does not need it
    from implicit.gpu import HAS_CUDA
    from implicit.gpu.bpr import BayesianPersonalizedRanking as OnGpu

    if config.device == "cuda" and not HAS_CUDA:
        raise ConfigurationError("device cuda: implicit finds no GPU, or rmm is not installed; use device auto or cpu")
    on_gpu = HAS_CUDA and config.device != "cpu"
    shared = {
        "factors": config.factors, "learning_rate": config.learning_rate, "regularization": config.regularization,
        "iterations": config.iterations, "random_state": seed,
    }  # fmt: skip
    model = OnGpu(**shared) if on_gpu else OnCpu(**shared, num_threads=config.threads)
    with reporter.task("bpr", config.iterations) as task:

        def epoch_done(_epoch: int, _elapsed_s: float, correct: int, skipped: int) -> None:
            task.advance(note=f"{correct / max(1, matrix.nnz - skipped):.1%} of pairs in order")

        model.fit(matrix, show_progress=False, callback=epoch_done)
    found = model.to_cpu() if on_gpu else model
    return found.user_factors, found.item_factors


def _centred(items: NDArray[np.float32], matrix: sparse.csr_matrix) -> NDArray[np.float32]:
    """`items` (n_items, d) without their mean over all interactions, which is what a negative is on average."""
    counts = np.bincount(matrix.indices, minlength=len(items))
    found: NDArray[np.float32] = (items - counts @ items / counts.sum()).astype(np.float32)
    return found


def _gain(users: NDArray[np.float32], factors: NDArray[np.float32], matrix: sparse.csr_matrix) -> NDArray[np.float32]:
    """(1,) float32: the g that minimises the sum over users of |user - g * mean of the factors of the user's items|^2."""
    held = matrix.astype(bool).astype(np.float32)
    means = held @ factors / np.maximum(np.diff(matrix.indptr), 1)[:, None]
    fitted = np.sum(users * means) / max(float(np.sum(means * means)), 1e-12)
    return np.array([fitted], np.float32)
