"""Implicit ALS: matrix factorization whose users are folded in from what they did last, so none needs to be in training.

Hu, Koren and Volinsky 2008 ("Collaborative filtering for implicit feedback datasets"), solved by `implicit`. A user is
never looked up: the vector is solved from the live history, each interaction counting less the further back it lies.

Regularisation grows with how often a user or item occurs, as in Rendle et al. 2022 ("Revisiting the performance of iALS on
item recommendation benchmarks"). The library's solver takes one constant a call, so rows are solved in groups of like
frequency: within a group the constant is off by at most 7%, and `frequency_power` 0 is the library's own training.
"""

from __future__ import annotations

from collections.abc import Callable
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
from models.blend_terms import Folding, faded
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

USERS_AT_ONCE = 256
SOLVED_AT_ONCE = 32
GROUP_WIDTH = 1.15  # the largest regularisation of a group of rows over its smallest
CG_STEPS = 3  # of the conjugate gradient that solves a row, as in the library

Sweep = Callable[[], None]
Factors = NDArray[np.float32]


@dataclass(frozen=True)
class ALSConfig:
    """How the factors are trained and how a history is folded in."""

    factors: int = 64
    regularization: float = 5.0  # of a user or item that occurs as often as the average one
    frequency_power: float = 0.5  # it grows with the number of occurrences to this power
    alpha: float = 2.0  # confidence of an interaction of weight 1, above that of none
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
        items, confidence = self._padded(users)
        size = np.diff(users.newest(self.config.history).indptr)
        order = np.argsort(size, kind="stable")  # of like length together: little is padding
        found = np.zeros((len(users), self.factors.shape[1]), np.float32)
        for at in range(0, len(order), SOLVED_AT_ONCE):
            asked = order[at : at + SOLVED_AT_ONCE]
            width = size[asked[-1]]
            left, right = self._system(items[asked, :width], confidence[asked, :width])
            found[asked] = np.linalg.solve(left, right)[:, :, 0]
        return found

    @cached_property
    def folding(self) -> Folding:
        """See models.blend_terms.FoldingRecommender."""
        counts = self.config.alpha * faded(self.config.history, self.config.recency)
        return Folding(np.ascontiguousarray(self.factors, np.float32), self.gram, counts)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf throughout where the history is empty."""
        found = self.encode(users)
        # a matrix times one vector takes half the time of one row times a matrix
        scores = (self.factors @ found[0])[None] if len(found) == 1 else found @ self.factors.T
        scores[np.diff(users.indptr) == 0] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """By the cosine of item vectors."""
        return most_alike(self.factors, self._lengths, item_ix, k, exclude)

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
    def _lengths(self) -> NDArray[np.float32]:
        """(n_items,) float32."""
        return lengths(self.factors)

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


def _train(matrix: sparse.csr_matrix, config: ALSConfig, seed: int, reporter: Reporter) -> Factors:
    """(n_items, d) float32. `implicit` is imported in here so that serving a trained model does not need it."""
    from implicit.gpu import HAS_CUDA

    if config.device == "cuda" and not HAS_CUDA:
        raise ConfigurationError("device cuda: implicit finds no GPU, or rmm is not installed; use device auto or cpu")
    users, items = _by_frequency(matrix), _by_frequency(matrix.T.tocsr())
    seen = matrix[users][:, items]  # rows of like frequency are neighbours
    seen.data = 1 + np.float32(config.alpha) * seen.data
    start = [_random(n, config.factors, seed + side) for side, n in enumerate(seen.shape)]
    on_gpu = HAS_CUDA and config.device != "cpu"
    with threadpool_limits(1, "blas"), reporter.task("als", config.iterations) as task:  # BLAS threads slow it down
        sweep, result = (_on_gpu if on_gpu else _on_cpu)(seen, start[0], start[1], config)
        for _ in range(config.iterations):
            sweep()
            task.advance()
    factors = np.empty_like(start[1])
    factors[items] = result()
    return factors


def _on_cpu(
    seen: sparse.csr_matrix, users: Factors, items: Factors, config: ALSConfig
) -> tuple[Sweep, Callable[[], Factors]]:
    """What solves all users and then all items once, and what gives the items (n_items, d)."""
    from implicit.cpu._als import least_squares_cg  # the compiled one: its namesake in implicit.cpu.als is Python

    sides = [(_groups(seen, config), users, items), (_groups(seen.T.tocsr(), config), items, users)]

    def sweep() -> None:
        for groups, solved, given in sides:
            for start, stop, rows, regularization in groups:
                least_squares_cg(rows, solved[start:stop], given, regularization, config.threads, CG_STEPS)

    return sweep, lambda: items


def _on_gpu(
    seen: sparse.csr_matrix, users: Factors, items: Factors, config: ALSConfig
) -> tuple[Sweep, Callable[[], Factors]]:
    """As `_on_cpu`. A slice of a matrix there is a view of it, too."""
    from implicit.gpu import CSRMatrix, LeastSquaresSolver, Matrix

    solver, gram = LeastSquaresSolver(), Matrix.zeros(config.factors, config.factors)
    there = [Matrix(users), Matrix(items)]
    sides = [
        (
            [(start, stop, CSRMatrix(rows), reg) for start, stop, rows, reg in _groups(one, config)],
            there[at],
            there[1 - at],
        )
        for at, one in enumerate((seen, seen.T.tocsr()))
    ]

    def sweep() -> None:
        for groups, solved, given in sides:
            for start, stop, rows, regularization in groups:
                solver.calculate_yty(given, gram, regularization)
                solver.least_squares(rows, solved[start:stop], gram, given, CG_STEPS)

    return sweep, lambda: there[1].to_numpy()


def _random(n: int, factors: int, seed: int) -> Factors:
    """(n, factors) float32, of small length so that the first sweep starts near nothing."""
    drawn: Factors = np.random.default_rng(seed).normal(0, 0.1 / factors**0.5, (n, factors)).astype(np.float32)
    return drawn


def _by_frequency(matrix: sparse.csr_matrix) -> NDArray[np.int64]:
    """The rows in ascending order of their number of entries."""
    order: NDArray[np.int64] = np.argsort(np.diff(matrix.indptr), kind="stable")
    return order


def _scale(counts: NDArray[np.int64], config: ALSConfig) -> NDArray[np.float64]:
    """(n,) float64: how much stronger a row of so many entries is regularised than one of the mean number."""
    filled = np.maximum(counts, 1)
    scale: NDArray[np.float64] = (filled / filled.mean()) ** config.frequency_power
    return scale


def _groups(seen: sparse.csr_matrix, config: ALSConfig) -> list[tuple[int, int, sparse.csr_matrix, float]]:
    """Runs of rows, in ascending frequency, of like regularisation: start, stop, the rows and the regularisation."""
    scale = _scale(np.diff(seen.indptr), config)
    group = np.floor(np.log(scale) / np.log(GROUP_WIDTH))
    starts = np.flatnonzero(np.diff(group, prepend=-np.inf))
    stops = [*starts[1:].tolist(), len(group)]
    middle = [float(np.sqrt(scale[start] * scale[stop - 1])) for start, stop in zip(starts, stops, strict=True)]
    return [
        (int(start), stop, seen[start:stop], config.regularization * times)
        for start, stop, times in zip(starts, stops, middle, strict=True)
    ]


def _gram(factors: NDArray[np.float32], config: ALSConfig) -> NDArray[np.float32]:
    gram = factors.T @ factors
    gram[np.diag_indices_from(gram)] += config.regularization
    return gram
