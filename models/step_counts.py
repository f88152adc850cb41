"""Counts of steps from item to item: what transitions are made of, kept so that new events are added, not all counted anew.

Counts are sums over users, so events change them only around where they fall into their own users' histories: what those
stretches gave before is taken off, what they give now is added. A late event moves its neighbours apart, and is no different.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from core.errors import ArtifactCorrupt
from core.progress import Reporter, Silent
from features.interactions import Interactions

PAIRS_AT_ONCE = 8_000_000
LEAST = 1e-5  # what is left of a count when everything in it was taken off is rounding, and below this


@dataclass(frozen=True)
class StepCounts:
    """`item_ids` (n,) in ascending order; `steps` (n, n) float32 csr: row i, column j holds the weight of steps from i to j."""

    item_ids: NDArray[np.object_]
    steps: sparse.csr_matrix

    @classmethod
    def of(cls, data: Interactions, window: int, distance_power: float, reporter: Reporter | None = None) -> Self:
        """Count each positive interaction after each of the `window` before it, d back as its weight times d^-distance_power."""
        kept = data.positives()
        runs = list(_runs(kept.indptr, window))
        parts = [sparse.csr_matrix((data.n_items, data.n_items), dtype=np.float32)]
        with (reporter or Silent()).task("transitions", len(runs)) as task:
            for start, stop in runs:
                parts.append(_count(kept, start, stop, window, distance_power))
                while len(parts) > 1 and parts[-2].nnz <= 2 * parts[-1].nnz:  # sums of like size: each is copied seldom
                    parts.append(parts.pop() + parts.pop())
                task.advance(note=f"{sum(part.nnz for part in parts):,} pairs")
        while len(parts) > 1:
            parts.append(parts.pop() + parts.pop())
        return cls(data.item_ids, parts[0])

    def changed(self, before: StepCounts, after: StepCounts) -> StepCounts:
        """These counts with the stretches counted in `before` replaced by those in `after`."""
        ids = np.array(
            sorted({*self.item_ids.tolist(), *before.item_ids.tolist(), *after.item_ids.tolist()}), np.object_
        )
        change = after.spread(ids) - before.spread(ids)
        steps = self.spread(ids) + change
        steps.data[np.abs(steps.data) < LEAST] = 0
        steps.eliminate_zeros()
        return StepCounts(ids, steps)

    def spread(self, item_ids: NDArray[np.object_]) -> sparse.csr_matrix:
        """The counts (m, m) as rows and columns of `item_ids` (m,), ascending, which hold all of these items."""
        if len(item_ids) == len(self.item_ids):
            return self.steps
        row_of = np.searchsorted(item_ids, self.item_ids).astype(np.int32)
        size = np.zeros(len(item_ids), np.int64)
        size[row_of] = np.diff(self.steps.indptr)
        indptr = np.concatenate([[0], np.cumsum(size)])
        shape = (len(item_ids), len(item_ids))
        return sparse.csr_matrix((self.steps.data, row_of[self.steps.indices], indptr), shape=shape)

    def save(self, folder: Path) -> None:
        """Write items.json and steps.safetensors into `folder`, which is made when missing."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "items.json").write_bytes(msgspec.json.encode(self.item_ids.tolist()))
        found = self.steps
        arrays = {
            "indptr": found.indptr.astype(np.int64), "indices": found.indices.astype(np.int32), "data": found.data,
        }  # fmt: skip
        save_file(arrays, folder / "steps.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ArtifactCorrupt."""
        try:
            ids = np.array(msgspec.json.decode((folder / "items.json").read_bytes(), type=list[str]), np.object_)
            arrays: dict[str, NDArray[Any]] = load_file(folder / "steps.safetensors")
            steps = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(len(ids), len(ids)))
            steps.check_format()
        except (OSError, msgspec.DecodeError, SafetensorError, KeyError, ValueError) as error:
            raise ArtifactCorrupt(
                f"{folder}: these counts cannot be read ({error}); train transitions again"
            ) from error
        return cls(ids, steps)


def _runs(indptr: NDArray[np.int64], window: int) -> Iterator[tuple[int, int]]:
    """Runs of whole users, as ranges of interactions, that make a bounded number of pairs each."""
    start = 0
    while start < indptr[-1]:
        stop = int(indptr[np.searchsorted(indptr, start + PAIRS_AT_ONCE // window, side="right") - 1])
        if stop <= start:  # one user longer than a whole run
            stop = int(indptr[np.searchsorted(indptr, start, side="right")])
        yield start, stop
        start = stop


def _count(data: Interactions, start: int, stop: int, window: int, distance_power: float) -> sparse.csr_matrix:
    """(n_items, n_items) float32: the steps within interactions start:stop, whole users."""
    users, items, weight = data.user_ix[start:stop], data.item_ix[start:stop], data.weight[start:stop]
    sources, targets, steps = [], [], []
    for distance in range(1, min(window, stop - start - 1) + 1):
        same = (users[distance:] == users[:-distance]) & (items[distance:] != items[:-distance])
        sources.append(items[:-distance][same])
        targets.append(items[distance:][same])
        steps.append(weight[distance:][same] * np.float32(distance**-distance_power))
    if not sources:
        return sparse.csr_matrix((data.n_items, data.n_items), dtype=np.float32)
    triples = (np.concatenate(steps), (np.concatenate(sources), np.concatenate(targets)))
    return sparse.coo_matrix(triples, shape=(data.n_items, data.n_items), dtype=np.float32).tocsr()
