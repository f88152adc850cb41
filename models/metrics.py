"""Accuracy of a ranking from the ranks of its targets, and how sure one can be of it.

A target's rank is the number of items scored higher, plus those scored equal, plus one: ties count against the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidRequest

MISS = int(np.iinfo(np.int64).max)  # the rank of a target that the model does not know
RESAMPLES = 1000
RESAMPLES_AT_ONCE = 100

Ranks = NDArray[np.int64]
Values = NDArray[np.float64]


def target_ranks(scores: NDArray[np.float32], case: NDArray[np.int64], target_ix: NDArray[np.int32]) -> Ranks:
    """(T,) int64: the rank of column target_ix[t] in row case[t] of `scores` (B, n); MISS where target_ix is -1.

    NaN scores are the worst there is, also for the target.
    """
    usable = np.where(np.isnan(scores), -np.inf, scores)
    ranks = np.full(len(target_ix), MISS, np.int64)
    for at in np.flatnonzero(target_ix >= 0):
        row = usable[case[at]]
        ranks[at] = np.count_nonzero(row >= row[target_ix[at]])
    return ranks


def hit_rate(ranks: Ranks, indptr: NDArray[np.int64], k: int) -> Values:
    """(C,): 1 where any target of the case is among the first k."""
    return (_sums(ranks <= k, indptr) > 0).astype(np.float64)


def recall(ranks: Ranks, indptr: NDArray[np.int64], k: int) -> Values:
    """(C,): share of the case's targets among the first k."""
    return _sums(ranks <= k, indptr) / np.diff(indptr)


def ndcg(ranks: Ranks, indptr: NDArray[np.int64], k: int) -> Values:
    """(C,): sum of 1 / log2(rank + 1) over the targets among the first k, over the best sum possible."""
    gains = np.where(ranks <= k, 1.0 / np.log2(np.minimum(ranks, k) + 1.0), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(1, k + 1) + 1.0))])
    best: Values = ideal[np.minimum(np.diff(indptr), k)]
    return _sums(gains, indptr) / best


def reciprocal_rank(ranks: Ranks, indptr: NDArray[np.int64], k: int) -> Values:
    """(C,): 1 / rank of the best target when among the first k, else 0."""
    best = np.minimum.reduceat(ranks, indptr[:-1]) if len(indptr) > 1 else ranks[:0]
    return np.where(best <= k, 1.0 / best, 0.0)


METRICS: dict[str, Callable[[Ranks, NDArray[np.int64], int], Values]] = {
    "hr": hit_rate, "recall": recall, "ndcg": ndcg, "mrr": reciprocal_rank,
}  # fmt: skip


def measure(metric: str, ranks: Ranks, indptr: NDArray[np.int64] | None = None) -> Values:
    """(C,) float64: a metric such as "ndcg@10" of each case.

    `ranks` (T,) holds the targets of case c at indptr[c]:indptr[c + 1], at least one each; without `indptr` each
    target is a case.
    """
    name, cutoff = parse(metric)
    each = np.arange(len(ranks) + 1) if indptr is None else indptr
    if np.any(np.diff(each) <= 0):
        raise InvalidRequest("a case has no target")
    return METRICS[name](ranks, each, cutoff)


def parse(metric: str) -> tuple[str, int]:
    """ "ndcg@10" as ("ndcg", 10). Raises InvalidRequest for anything that is not a known metric at a positive cutoff."""
    name, _, cutoff = metric.partition("@")
    if name not in METRICS or not cutoff.isdigit() or int(cutoff) < 1:
        raise InvalidRequest(f"{metric!r} is no metric; write one of {', '.join(METRICS)} and a cutoff, as in ndcg@10")
    return name, int(cutoff)


def resampled_means(values: Values, seed: int, groups: NDArray[np.int32] | None = None) -> Values:
    """(RESAMPLES,): bootstrap means of `values` (C,), drawing whole groups, for cases of one user are not independent."""
    rng = np.random.default_rng(seed)
    members = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(members).astype(np.float64)
    totals = np.bincount(members, values)
    means = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES_AT_ONCE)
        means.append((drawn @ totals) / (drawn @ sizes))
    return np.concatenate(means)


def interval(values: Values, seed: int, groups: NDArray[np.int32] | None = None) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean of `values` (C,); (nan, nan) when there are none."""
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(resampled_means(values, seed, groups), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Model a against model b on the same cases: the mean difference of a metric, its 95% interval, and `share`.

    `share` is the share of resamples in which a is ahead, half counted where they are equal.
    """

    difference: float
    low: float
    high: float
    share: float


def better(values_a: Values, values_b: Values, seed: int, groups: NDArray[np.int32] | None = None) -> Comparison:
    """Paired bootstrap of two models' values (C,) of the same metric on the same cases."""
    if values_a.shape != values_b.shape:
        raise InvalidRequest(f"models were measured on different cases: {len(values_a)} and {len(values_b)}")
    if len(values_a) == 0:
        raise InvalidRequest("there are no cases to compare on")
    difference = values_a - values_b
    means = resampled_means(difference, seed, groups)
    low, high = np.quantile(means, [0.025, 0.975])
    share = float(np.mean(means > 0) + 0.5 * np.mean(means == 0))
    return Comparison(float(difference.mean()), float(low), float(high), share)


def _sums(values: NDArray[np.bool_] | Values, indptr: NDArray[np.int64]) -> Values:
    """(C,): sums over the runs of `indptr`."""
    return np.diff(np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])[indptr])
