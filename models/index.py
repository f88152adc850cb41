"""The vector index: the k largest inner products, exactly where that is affordable, filtered while searching.

FAISS (Douze et al. 2024, "The Faiss library"). It runs on one thread: a server scales by processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from core.errors import ArtifactCorrupt, InvalidRequest
from models.recommender import Mask, Ranked

INDEX_FILE = "index.faiss"  # in the folder of a published model that has vectors
EXACT_ROWS = 300_000  # an exact search of so many 64-d vectors takes about 3 ms on one core
RECALL_WANTED, RECALL_AT = 0.95, 100  # of an approximate index
SAMPLED_QUERIES = 100
TRAINING_ROUNDS, POINTS_A_CELL = 10, 64  # of k-means: more takes many times as long and saves a few cells a search

Kind = Literal["auto", "flat", "ivf"]

_faiss: Any = faiss  # its stubs lack the keywords and array forms that its Python layer adds
_faiss.omp_set_num_threads(1)


@dataclass(frozen=True)
class VectorIndex:
    """An index over n vectors of d dimensions; `index` is FAISS's own."""

    index: Any

    @classmethod
    def build(cls, vectors: NDArray[np.float32], kind: Kind = "auto", seed: int = 0) -> Self:
        """Index `vectors` (n, d) float32, whose row numbers are the ids.

        "flat" is exact; "ivf" visits only the cells nearest to the query, as many as reach a recall of 0.95 at 100; "auto" is
        flat to 300,000 rows and ivf beyond. Raises InvalidRequest for vectors that are not finite, (n, d) and at least one.
        """
        if vectors.ndim != 2 or 0 in vectors.shape or not np.isfinite(vectors).all():
            raise InvalidRequest(f"an index needs finite vectors of shape (n, d), at least one; got {vectors.shape}")
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if kind == "flat" or (kind == "auto" and len(rows) <= EXACT_ROWS):
            flat = faiss.IndexFlatIP(rows.shape[1])
            flat.add(rows)
            return cls(flat)
        return cls(_inverted(rows, seed))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(self, queries: NDArray[np.float32], k: int, allowed: Mask | None = None) -> Ranked:
        """The k vectors with the largest inner product with each query (B, d): rows (B, k) int32, scores (B, k) float32.

        Best first, padded with -1 and -inf. `allowed` (n,) bool restricts the search itself, so that
        a narrow filter still fills the k.
        """
        wanted = np.ascontiguousarray(queries, dtype=np.float32)
        if k <= 0 or len(wanted) == 0:
            return np.full((len(wanted), max(k, 0)), -1, np.int32), np.full(
                (len(wanted), max(k, 0)), -np.inf, np.float32
            )
        if allowed is not None and allowed.shape != (len(self),):
            raise InvalidRequest(f"the filter has shape {allowed.shape}; the index holds {len(self)} vectors")
        scores, rows = self.index.search(wanted, k, params=self._parameters(allowed))
        scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
        order = np.lexsort((rows, -scores))  # equal scores by row, as everywhere
        return np.take_along_axis(rows, order, 1).astype(np.int32), np.take_along_axis(scores, order, 1)

    def recall(self, vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int = 100) -> float:
        """The share of the true best k of `vectors` (n, d), those indexed, that a search for `queries` finds."""
        return self._found(_nearest(vectors, queries, k), queries)

    def _found(self, nearest: NDArray[np.int64], queries: NDArray[np.float32]) -> float:
        found, _ = self.search(queries, nearest.shape[1])
        return float(np.mean([np.isin(true, got).mean() for true, got in zip(nearest, found, strict=True)]))

    def save(self, path: Path) -> None:
        """Write the index as one file."""
        faiss.write_index(self.index, str(path))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ArtifactCorrupt when FAISS cannot read it, or it is of another kind.

        FAISS believes the sizes that a file tells: it is told beforehand that none can be larger than the file.
        """
        try:
            size = path.stat().st_size
            _faiss.set_deserialization_vector_byte_limit(size)
            _faiss.set_deserialization_loop_limit(size)
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError, OSError) as error:
            raise ArtifactCorrupt(f"{path} is not a readable index; build and publish it again") from error
        if not _whole(index) or not index.is_trained or index.metric_type != _faiss.METRIC_INNER_PRODUCT:
            raise ArtifactCorrupt(f"{path} is not an index of inner products; build and publish it again")
        return cls(index)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d) of the vectors in it."""
        return int(self.index.ntotal), int(self.index.d)

    def _parameters(self, allowed: Mask | None) -> Any:
        selector = None if allowed is None else _faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if not isinstance(self.index, faiss.IndexIVF):
            return _faiss.SearchParameters(sel=selector) if selector else None
        share = 1.0 if allowed is None else max(float(allowed.mean()), 1 / len(allowed))
        cells = min(self.index.nlist, round(self.index.nprobe / share))  # what a filter leaves lies in more cells
        return (
            _faiss.SearchParametersIVF(sel=selector, nprobe=cells)
            if selector
            else _faiss.SearchParametersIVF(nprobe=cells)
        )


def _whole(index: Any) -> bool:
    """Whether the cells of an index that has cells hold what it says."""
    if not isinstance(index, faiss.IndexIVF):
        return True
    cells: Any = index.invlists
    fits = cells.compute_ntotal() == index.ntotal and 0 < index.nprobe <= index.nlist == cells.nlist
    return bool(fits)


def _inverted(rows: NDArray[np.float32], seed: int) -> Any:
    """An IVF index that probes as few cells, by doubling, as reach RECALL_WANTED on a sample of its own vectors."""
    n, d = rows.shape
    cells = max(1, min(int(4 * np.sqrt(n)), n // 39))  # FAISS wants 39 training points a cell
    index = _faiss.IndexIVFFlat(_faiss.IndexFlatIP(d), d, cells, _faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed + 1, TRAINING_ROUNDS, POINTS_A_CELL
    index.train(rows)
    index.add(rows)
    queries = rows[np.random.default_rng(seed).choice(n, min(SAMPLED_QUERIES, n), replace=False)]
    nearest = _nearest(rows, queries, RECALL_AT)
    index.nprobe = min(8, cells)
    while index.nprobe < cells and VectorIndex(index)._found(nearest, queries) < RECALL_WANTED:
        index.nprobe = min(index.nprobe * 2, cells)
    return index


def _nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The true best min(k, n) rows of `vectors` (n, d) for each query, in memory that does not grow with both."""
    rows, wanted = np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(queries, np.float32)
    _, found = _faiss.knn(wanted, rows, min(k, len(rows)), metric=_faiss.METRIC_INNER_PRODUCT)
    nearest: NDArray[np.int64] = found
    return nearest
