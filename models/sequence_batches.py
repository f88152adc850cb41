"""Histories as batches for the sequence recommender: windows cut anew every epoch, sorted by length so that little is padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

EMPTY = -1  # a target that is not there


@dataclass(frozen=True)
class Histories:
    """Positive histories, oldest first: user u has items[indptr[u]:indptr[u + 1]], with times and weights."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int64]
    times_s: NDArray[np.float64]
    weights: NDArray[np.float32]

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """(m,) int64: where the history of each interaction's user ends."""
        return np.repeat(self.indptr[1:], np.diff(self.indptr))


@dataclass(frozen=True)
class Batch:
    """B windows of at most L inputs, padded at the end.

    `rows` (m,) int64 are the items that take part, `history` (B, L) and `targets` (T, ahead) positions in them (EMPTY: none);
    `valid` (B, L) bool marks the T inputs that predict; `say` (ahead,) and `importance` (T,) float32 weigh their targets;
    `time_s` (B, L + 1) float64; `negatives` (N,) int64 are positions in `rows`.
    """

    rows: Tensor
    history: Tensor
    valid: Tensor
    targets: Tensor
    say: Tensor
    importance: Tensor
    time_s: Tensor | None
    negatives: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved: dict[str, Any] = {name: None if one is None else one.to(device) for name, one in vars(self).items()}
        return Batch(**moved)


def windows(indptr: NDArray[np.int64], length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(W, 2) int64: runs start:stop of 2 to length + 1 interactions of one user, cut anew each time.

    Every interaction but a user's first is a target of exactly one of them.
    """
    size = np.diff(indptr)
    long = size > length + 1
    first = np.where(long, rng.integers(1, length + 1, len(size)), size - 1)  # targets of the first window
    more = np.where(long, -(-(size - 1 - first) // length), 0)
    owner = np.repeat(np.arange(len(size)), 1 + more)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(1 + more) - (1 + more), 1 + more)
    start = indptr[owner] + np.where(nth > 0, first[owner] + (nth - 1) * length, 0)
    stop = np.minimum(np.where(nth > 0, start + length + 1, start + first[owner] + 1), indptr[owner + 1])
    return np.stack([start, stop], axis=1)[stop - start > 1]


def grouped(runs: NDArray[np.int64], tokens: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The windows in batches of similar length, each of about `tokens` inputs, padding included; in random order."""
    size = runs[:, 1] - runs[:, 0] - 1
    order = np.argsort(size + rng.random(len(size)) * np.maximum(1, size / 8), kind="stable")
    batches, at = [], len(order)
    while at > 0:  # from the longest down
        width = int(size[order[max(0, at - 1)]])
        step = max(1, tokens // max(width, 1))
        batches.append(runs[order[max(0, at - step) : at]])
        at -= step
    return [batches[i] for i in rng.permutation(len(batches))]


def collate(
    data: Histories,
    runs: NDArray[np.int64],
    config: SequenceConfig,
    candidates: NDArray[np.int64],
    negatives: int,
    rng: np.random.Generator,
    done: float = 0.0,
) -> Batch:
    """The windows `runs` (B, 2) as a batch, with so many uniform negatives out of `candidates`, or 0 for all of them.

    `done` is how much of the run is: a target `a` ahead counts (1 - done) ** (a - 1) / a, at the end the next one alone.
    """
    size = runs[:, 1] - runs[:, 0] - 1
    width = int(size.max())
    at = runs[:, :1] + np.arange(width)
    valid = np.arange(width) < size[:, None]
    at = np.where(valid, at, runs[:, :1])
    history = data.items[at]
    source = at[valid]
    later = source[:, None] + np.arange(1, config.ahead + 1)
    there = later < data.ends[source][:, None]
    later = np.where(there, later, source[:, None])
    wanted = data.items[later]
    drawn = candidates[rng.choice(len(candidates), negatives, replace=False)] if negatives else candidates
    rows, place = np.unique(np.concatenate([history.ravel(), wanted.ravel(), drawn]), return_inverse=True)
    history_at, wanted_at, drawn_at = np.split(place, [history.size, history.size + wanted.size])
    targets = np.where(there, wanted_at.reshape(wanted.shape), EMPTY)
    a = np.arange(1, config.ahead + 1)
    say = torch.from_numpy(((1 - done) ** (a - 1) / a).astype(np.float32))
    times = None
    if config.time_buckets:
        times = data.times_s[np.minimum(runs[:, :1] + np.arange(width + 1), runs[:, 1:] - 1)]
    return Batch(
        torch.from_numpy(rows), torch.from_numpy(history_at.reshape(history.shape)), torch.from_numpy(valid),
        torch.from_numpy(targets), say, torch.from_numpy(data.weights[later[:, 0]]),
        None if times is None else torch.from_numpy(times), torch.from_numpy(drawn_at),
    )  # fmt: skip
