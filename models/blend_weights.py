"""How the weights of a blend are found: coordinate ascent on ndcg over the candidates of a validation split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.progress import Reporter
from features.interactions import IdTable
from models.metrics import Comparison, better, ndcg
from models.protocols import Split
from models.recommender import UserBatch, top_k

CANDIDATES = 50  # best of each member that a target is ranked among
ENTRIES_AT_ONCE = 4_000_000
ROUNDS = 12
STEPS = (-1.0, -0.5, -0.2, -0.1, 0.1, 0.25, 1.0)  # times the weight
ADDED = (0.05, 0.2)  # whatever the weight
NEGLIGIBLE = 0.01

Parts = Callable[[UserBatch], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class Learned:
    """`weights`, one a member, summing to 1. `gain` compares weights found the same way on other users (cross-fitted)
    with the `best` single member; where it is not positive, `weights` are that member alone.
    """

    weights: tuple[float, ...]
    best: int
    gain: Comparison


@dataclass(frozen=True)
class Board:
    """Targets among their candidates. `parts` (N, members) float32: the candidates of all cases, those of target t at
    indptr[t]:indptr[t + 1] of `candidate`, itself at `own`[t]; case[t] counts from 0; case_indptr as in metrics.measure.
    """

    parts: NDArray[np.float32]
    candidate: NDArray[np.int64]
    indptr: NDArray[np.int64]
    own: NDArray[np.int64]
    case_indptr: NDArray[np.int64]
    users: NDArray[np.int32]

    def values(self, weights: NDArray[np.float64], cutoff: int) -> NDArray[np.float64]:
        """(C,): the ndcg of each case."""
        return self.values_of(self.parts @ weights.astype(np.float32), cutoff)

    def values_of(self, scores: NDArray[np.float32], cutoff: int) -> NDArray[np.float64]:
        """(C,): the same from the scores (N,) of the candidates."""
        ahead = scores[self.candidate] >= np.repeat(scores[self.own], np.diff(self.indptr))
        ranks = np.add.reduceat(ahead, self.indptr[:-1], dtype=np.int64)
        return ndcg(ranks, self.case_indptr, cutoff)


def learn_weights(
    parts: Parts, item_ids: NDArray[np.object_], split: Split, cutoff: int, cases: int, seed: int, reporter: Reporter
) -> Learned:
    """Find the weights that maximise ndcg@cutoff on (a sample of `cases` of) the split, as `Learned` says."""
    board = _board(parts, item_ids, split, cases, seed, reporter)
    members = board.parts.shape[1]
    singles = [board.values(one, cutoff) for one in np.eye(members)]
    best = int(np.argmax([values.mean() for values in singles]))
    half = np.random.default_rng(seed).random(int(board.users.max()) + 1)[board.users] < 0.5
    crossed = np.zeros(len(half))
    for side in (half, ~half):
        if side.any():
            crossed[~side] = board.values(_ascend(board, cutoff, side), cutoff)[~side]
    gain = better(crossed, singles[best], seed, board.users)
    weights = _ascend(board, cutoff, np.ones(len(half), bool)) if gain.difference > 0 else np.eye(members)[best]
    return Learned(tuple(round(float(weight), 4) for weight in weights), best, gain)


def _ascend(board: Board, cutoff: int, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(members,) float64: from the best member on, one weight at a time, while the mean over the `kept` cases rises."""
    members = board.parts.shape[1]

    def value(scores: NDArray[np.float32]) -> float:
        return float(board.values_of(scores, cutoff)[kept].mean())

    starts = [*np.eye(members), np.full(members, 1 / members)]
    figures = [value(board.parts @ start.astype(np.float32)) for start in starts]
    weights, figure = starts[int(np.argmax(figures))], max(figures)
    for _ in range(ROUNDS):
        before, scores = figure, board.parts @ weights.astype(np.float32)
        for at in range(members):
            own = board.parts[:, at]
            for step in sorted({weights[at] * factor for factor in STEPS} | set(ADDED)):
                if weights[at] + step < -1e-12 or weights.sum() + step <= 0:
                    continue
                if (reached := value(scores + np.float32(step) * own)) > figure:
                    weights, figure = weights.copy(), reached
                    weights[at] += step
                    scores = scores + np.float32(step) * own
        weights = np.maximum(weights, 0) / weights.sum()
        if figure - before < 1e-5:
            break
    weights[weights < NEGLIGIBLE] = 0
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


def _board(
    parts: Parts, item_ids: NDArray[np.object_], split: Split, cases: int, seed: int, reporter: Reporter
) -> Board:
    item_rows = IdTable(item_ids).rows(split.record.item_ids)
    user_rows = np.full(split.record.n_users, -1, np.int32)
    chosen = np.arange(len(split))
    if len(split) > cases:
        chosen = np.sort(np.random.default_rng(seed).choice(len(split), cases, replace=False))
    taken = np.zeros(len(split), bool)
    taken[chosen] = True
    pieces: list[_Case] = []
    step = max(1, ENTRIES_AT_ONCE // len(item_ids))
    with reporter.task("blend", len(split)) as task:
        for at in range(0, len(split), step):
            part = slice(at, min(at + step, len(split)))
            if taken[part].any():
                pieces += _cases(parts, split, part, taken[part], item_rows, user_rows)
            task.advance(part.stop - part.start)
    return _joined(pieces)


@dataclass(frozen=True)
class _Case:
    parts: NDArray[np.float32]  # (candidates, members)
    targets: int  # the first rows of `parts`
    user: int


def _cases(
    parts: Parts,
    split: Split,
    part: slice,
    taken: NDArray[np.bool_],
    item_rows: NDArray[np.int32],
    user_rows: NDArray[np.int32],
) -> list[_Case]:
    """The cases of `part` that are taken and have a target that is known."""
    users = split.users(part, item_rows, user_rows)
    case, target = split.targets(part)
    target = np.where(target >= 0, item_rows[target], -1)
    scores = parts(users)
    seen = np.zeros(scores[0].shape, bool)
    if split.mask_seen:
        seen[users.owner, users.items] = True
    tops = np.concatenate([top_k(score, CANDIDATES, seen)[0] for score in scores], axis=1)
    found = []
    for at in np.flatnonzero(taken):
        own = np.unique(target[case == at])
        own = own[own >= 0]
        if len(own):
            others = np.setdiff1d(tops[at][tops[at] >= 0], own)
            rows = np.concatenate([own, others])
            values = np.stack([score[at, rows] for score in scores], axis=1)
            found.append(_Case(values, len(own), int(split.user_ix[part][at])))
    return found


def _joined(pieces: list[_Case]) -> Board:
    sizes = np.array([len(piece.parts) for piece in pieces])
    targets = np.array([piece.targets for piece in pieces])
    first = np.cumsum(sizes) - sizes
    own = np.concatenate([start + np.arange(n) for start, n in zip(first, targets, strict=True)])
    candidate = np.concatenate(
        [np.tile(np.arange(start, start + size), n) for start, size, n in zip(first, sizes, targets, strict=True)]
    )
    return Board(
        np.asfortranarray(np.concatenate([piece.parts for piece in pieces])),
        candidate,
        np.concatenate([[0], np.cumsum(np.repeat(sizes, targets))]),
        own,
        np.concatenate([[0], np.cumsum(targets)]),
        np.array([piece.user for piece in pieces], np.int32),
    )
