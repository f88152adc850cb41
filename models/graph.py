"""Graph filters: a history as a signal on the graph of users and items, of which the smooth part is kept. No training.

GF-CF (Shen et al. 2021, "How powerful is graph convolution for recommendation?"): the linear filter of the normalised
item graph plus an ideal low-pass. ChebyCF (Kim et al. 2025, "Graph spectral filtering with Chebyshev interpolation for
recommendation"): a plateau filter, as a polynomial of the graph, in place of the linear one. `order` 1 is the former.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import ArpackError, svds

from core.errors import ArtifactCorrupt
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.neighbours import history_matrix
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
from models.spectrum import leading

ARRAYS = ("indptr", "indices", "data", "degrees", "basis")
USERS_AT_ONCE = 512
ITERATIONS = 15  # towards the singular vectors, where ARPACK finds none
POLYNOMIAL_AT_ONCE = 32  # users whose dense signals are filtered together: they stay in the cache


@dataclass(frozen=True)
class GraphConfig:
    """The filter and how a history is read. Powers are of the number of users of an item."""

    order: Annotated[int, Meta(ge=1, le=1000)] = 1  # of the polynomial filter; 1 is linear
    flatness: float = 1.5  # of the plateau, where the order is above 1
    power: float = 0.0  # divided out of the history and given back to the answer, around the polynomial
    rank: int = 256  # of the ideal low-pass
    low_pass: float = 0.3  # its weight
    low_pass_power: float = 0.5  # as `power`, around the low-pass
    history: int = 2000  # newest interactions that are read
    recency: float = 1.0  # each interaction back in the history counts this much less


@dataclass(frozen=True)
class Graph:
    """`graph` (n_rows, n_items) float32 csr, one unnamed row a training history, both degrees' square roots divided out;
    `degrees` (n_items,) float32; `basis` (n_items, rank) float32, its right singular vectors.
    """

    name: ClassVar[str] = "graph"
    config_type: ClassVar[type[GraphConfig]] = GraphConfig

    config: GraphConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    graph: sparse.csr_matrix
    degrees: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def fit(
        cls, data: Interactions, config: GraphConfig | None = None, seed: int = 0, reporter: Reporter | None = None
    ) -> Self:
        """Normalise the graph and find its leading singular vectors; an interaction counts once, whatever its weight."""
        config = config or GraphConfig()
        kept = positives_to_learn_from(data)
        matrix = data.matrix()
        matrix.data[:] = 1.0
        matrix = matrix[np.diff(matrix.indptr) > 0]
        degrees = np.asarray(matrix.sum(axis=0), np.float32).ravel()
        per_user = np.asarray(matrix.sum(axis=1)).ravel()
        graph = sparse.diags(per_user**-0.5) @ matrix @ sparse.diags(np.maximum(degrees, 1) ** -0.5)
        graph = sparse.csr_matrix(graph, dtype=np.float32)
        with (reporter or Silent()).task("graph", 1) as task:
            basis = _basis(graph, config.rank if config.low_pass else 0, seed)
            task.advance()
        return cls(config, data.item_ids, float(kept.time_s.max()), graph, degrees, basis)

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf throughout where the history is empty."""
        n = len(self.item_ids)
        parts = [users[at : at + USERS_AT_ONCE] for at in range(0, len(users), USERS_AT_ONCE)]
        signals = [history_matrix(part, n, self.config.history, self.config.recency) for part in parts]
        scores = np.concatenate([*map(self._filtered, signals), np.zeros((0, n), np.float32)])
        scores[np.diff(users.indptr) == 0] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """What a history of this one item would be recommended."""
        scores = self._filtered(self._units(item_ix))
        scores[np.arange(len(item_ix)), item_ix] = -np.inf
        scores[scores <= 0] = -np.inf
        return top_k(scores, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The score is a sum over the history; these are its largest terms."""
        batch, k = item_ix.shape
        read = users.newest(self.config.history)
        pair = np.repeat(np.arange(len(read.items)), k)
        asked = item_ix[read.owner].ravel()
        alone, which = np.unique(read.items, return_inverse=True)
        answers = self._filtered(self._units(alone))  # (distinct items of the histories, n_items)
        share = answers[which[pair], np.maximum(asked, 0)] * self.config.recency ** read.age[pair]
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        shape = (batch * k, len(self.item_ids))
        named = strongest_terms(slot, read.items[pair], np.where(asked >= 0, share, 0), shape, limit)
        return named.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        arrays = {
            "indptr": self.graph.indptr.astype(np.int64), "indices": self.graph.indices.astype(np.int32),
            "data": self.graph.data, "degrees": self.degrees, "basis": self.basis,
        }  # fmt: skip
        save_model(folder, self, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ARRAYS)
        n = len(saved.item_ids)
        indptr, indices, data, degrees, basis = (saved.arrays[name] for name in ARRAYS)
        check_shape(folder, indptr, None)
        for entries in (indices, data):
            check_shape(folder, entries, int(indptr[-1]))
        check_shape(folder, degrees, n)
        check_shape(folder, basis, n, None)
        if indptr[0] != 0 or np.any(np.diff(indptr) < 0) or np.any(indices < 0) or np.any(indices >= n):
            raise ArtifactCorrupt(
                f"{folder}: the graph points outside the {n} items; train and publish the model again"
            )
        graph = sparse.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, n))
        return cls(saved.config_as(GraphConfig), saved.item_ids, saved.trained_until_s, graph, degrees, basis)

    @cached_property
    def _transposed(self) -> sparse.csr_matrix:
        return self.graph.T.tocsr()

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        return plateau_coefficients(self.config.order, self.config.flatness)

    def _units(self, item_ix: NDArray[Any]) -> sparse.csr_matrix:
        """(M, n_items): histories of one item each."""
        shape = (len(item_ix), len(self.item_ids))
        return sparse.csr_matrix((np.ones(len(item_ix), np.float32), item_ix, np.arange(len(item_ix) + 1)), shape=shape)

    def _filtered(self, signal: sparse.csr_matrix) -> NDArray[np.float32]:
        """(B, n_items) float32: both filters of the signals (B, n_items)."""
        config, degrees = self.config, np.maximum(self.degrees, 1)
        lent = signal @ sparse.diags((degrees**-config.power).astype(np.float32))
        scores = self._polynomial(lent) * degrees**config.power
        if config.low_pass:
            lent = signal @ sparse.diags((degrees**-config.low_pass_power).astype(np.float32))
            smooth = (lent @ self.basis) @ self.basis.T
            scores += config.low_pass * smooth * degrees**config.low_pass_power
        return scores.astype(np.float32)

    def _polynomial(self, signal: sparse.csr_matrix) -> NDArray[np.float32]:
        """(B, n_items): the linear filter, or the Chebyshev series of the plateau in I - 2 graph^T graph."""
        if self.config.order == 1:
            linear: NDArray[np.float32] = ((signal @ self._transposed) @ self.graph).toarray()
            return linear
        parts = range(0, signal.shape[0], POLYNOMIAL_AT_ONCE)
        none = np.zeros((0, signal.shape[1]), np.float32)
        return np.concatenate([*(self._series(signal[at : at + POLYNOMIAL_AT_ONCE]) for at in parts), none])

    def _series(self, signal: sparse.csr_matrix) -> NDArray[np.float32]:
        """(B, n_items): the Chebyshev series of the plateau."""
        coefficients = self._coefficients.astype(np.float32)
        before = signal.T.toarray()
        now = self._shifted(before)
        total = coefficients[0] * before + coefficients[1] * now
        for coefficient in coefficients[2:]:
            before, now = now, 2 * self._shifted(now) - before
            total += coefficient * now
        return np.ascontiguousarray(total.T)

    def _shifted(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_items, B): (I - 2 graph^T graph) signal, whose eigenvalues lie in [-1, 1]."""
        shifted: NDArray[np.float32] = signal - 2 * (self._transposed @ (self.graph @ signal))
        return shifted


def plateau_coefficients(order: int, flatness: float) -> NDArray[np.float64]:
    """(order + 1,) float64: Chebyshev coefficients of the plateau of ChebyCF, equation 11, on [-1, 1].

    The plateau falls from 1 at frequency -1 through a flat stretch at one half to 0 at 1. It is sampled on evenly spaced
    angles and taken at the Chebyshev nodes, as the authors do.
    """
    sampled = np.cos((order - np.arange(order + 1)) / order * np.pi)
    plateau = 0.5 - 0.5 * np.sign(sampled) * np.abs(sampled) ** flatness
    angles = (order + 0.5 - np.arange(order + 1)) / (order + 1) * np.pi
    cosines = np.cos(np.outer(np.arange(order + 1), angles))
    coefficients: NDArray[np.float64] = cosines @ plateau * (2 / (order + 1))
    coefficients[0] /= 2
    return coefficients


def _basis(graph: sparse.csr_matrix, rank: int, seed: int) -> NDArray[np.float32]:
    """(n_items, at most rank) float32: the leading right singular vectors."""
    rank = min(rank, min(graph.shape) - 1)
    if rank < 1:
        return np.zeros((graph.shape[1], 0), np.float32)
    rng = np.random.default_rng(seed)
    try:
        vectors = svds(graph, k=rank, v0=rng.random(min(graph.shape), dtype=np.float32))[2].T
        if not np.isfinite(vectors).all():
            raise np.linalg.LinAlgError("not finite")
    except (np.linalg.LinAlgError, ArpackError):  # where many are alike: a graph in many pieces, such as sessions
        back = graph.T.tocsr()
        vectors = leading(lambda block: back @ (graph @ block), graph.shape[1], rank, rng, ITERATIONS)[1]
    return np.ascontiguousarray(vectors, dtype=np.float32)
