"""Beyond accuracy: what the lists of a model are made of, whoever they are right for.

Coverage: how much of the catalogue is ever shown (Herlocker et al. 2004, "Evaluating collaborative filtering recommender
systems"). Novelty: how unexpected an item is, -log2 of the share of users who have it (Zhou et al. 2010, "Solving the apparent
diversity-accuracy dilemma of recommender systems"; Vargas and Castells 2011). Popularity lift: how much more popular what is
shown is than what people had (Abdollahpouri et al. 2020, "The connection between popularity bias, calibration, and fairness in
recommendation"); tail share: entries from outside the most popular fifth (Abdollahpouri et al. 2019, "Managing popularity bias
in recommender systems with personalized re-ranking"). Calibration: how far the categories shown are from those of the user's
history (Steck 2018, "Calibrated recommendations").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from features.interactions import IdTable, Interactions
from models.item_features import ItemFeatures
from models.recommender import UserBatch

HEAD_SHARE = 0.2  # of the items, the most popular, are the head; the rest is the tail
STECK_ALPHA = 0.01  # how much of the history's categories is mixed into the list's, so that none is missing
Values = NDArray[np.float64]


@dataclass(frozen=True)
class ListQuality:
    """Means over all cases that can be measured; None where none can be.

    `coverage` share of items in anyone's list; `novelty_bits` of an entry; `popularity_lift` relative (0: as popular as
    what people had); `tail_share` of entries; `miscalibration` in nats (0: the history's own mixture of categories).
    """

    coverage: float
    novelty_bits: float | None = None
    popularity_lift: float | None = None
    tail_share: float | None = None
    miscalibration: float | None = None


class ListMeter:
    """Collects the lists of a model, a batch at a time.

    `item_ids` (n_items,) name the rows of the lists; what is popular is told by `train`, in which an item counts once a user.
    """

    def __init__(
        self, item_ids: NDArray[np.object_], train: Interactions, features: ItemFeatures | None = None
    ) -> None:
        rows = IdTable(train.item_ids).rows(item_ids)
        holders = np.diff(train.matrix().tocsc().indptr)
        self._users = np.where(rows >= 0, holders[rows], 0)  # (n_items,) who have each item
        self._bits = -np.log2(np.maximum(self._users, 1) / max(train.n_users, 1))
        tail = np.argsort(-self._users, kind="stable")[round(HEAD_SHARE * np.count_nonzero(self._users)) :]
        self._tail = np.zeros(len(item_ids), bool)
        self._tail[tail] = True
        self._categories = None if features is None else features.memberships(item_ids)
        self._shown = np.zeros(len(item_ids), bool)
        self._entries = 0
        self._bits_sum = self._tail_sum = 0.0
        self._means: list[Values] = []  # (cases, 2) mean users of the list and of the history
        self._divergences: list[Values] = []

    def add(self, users: UserBatch, top: NDArray[np.int32]) -> None:
        """The lists `top` (B, k) of `users`, padded with -1."""
        shown = top[top >= 0]
        self._shown[shown] = True
        self._entries += len(shown)
        self._bits_sum += float(self._bits[shown].sum())
        self._tail_sum += float(self._tail[shown].sum())
        listed, had = _listed(top, len(self._users)), _history(users, len(self._users))
        pair = np.stack([_row_means(listed, self._users), _row_means(had, self._users)], axis=1)
        self._means.append(pair[np.isfinite(pair).all(axis=1)])
        if self._categories is not None and self._categories.shape[1]:
            self._divergences.append(divergence(_mixture(had, self._categories), _mixture(listed, self._categories)))

    def quality(self, fitted_items: int) -> ListQuality:
        """What was collected; coverage is of `fitted_items`, those that the model was fitted with."""
        pairs = np.concatenate([*self._means, np.zeros((0, 2))])
        apart = np.concatenate([*self._divergences, np.zeros(0)])
        apart = apart[np.isfinite(apart)]
        listed, had = pairs.mean(axis=0) if len(pairs) else (0.0, 0.0)
        return ListQuality(
            coverage=min(1.0, float(self._shown.sum() / max(fitted_items, 1))),
            novelty_bits=self._bits_sum / self._entries if self._entries else None,
            popularity_lift=float((listed - had) / had) if had > 0 else None,
            tail_share=self._tail_sum / self._entries if self._entries else None,
            miscalibration=float(apart.mean()) if len(apart) else None,
        )


def divergence(history: Values, shown: Values) -> Values:
    """(B,): the KL divergence, in nats, of mixtures (B, n_categories); NaN where either sums to 0.

    Steck 2018, equations 4 and 5: sum over g of p(g) ln(p(g) / q(g)), q being the list's mixture with STECK_ALPHA of p in it.
    """
    mixed = (1 - STECK_ALPHA) * shown + STECK_ALPHA * history
    part = history > 0
    terms = np.where(part, history * np.log(np.where(part, history, 1) / np.where(part, mixed, 1)), 0)
    found: Values = terms.sum(axis=1)
    found[(history.sum(axis=1) == 0) | (shown.sum(axis=1) == 0)] = np.nan
    return found


def _listed(top: NDArray[np.int32], n_items: int) -> sparse.csr_matrix:
    row, place = np.nonzero(top >= 0)
    entries = np.ones(len(row))
    return sparse.csr_matrix((entries, (row, top[row, place])), shape=(len(top), n_items))


def _history(users: UserBatch, n_items: int) -> sparse.csr_matrix:
    """(B, n_items): each item of the history once."""
    found = sparse.csr_matrix((np.ones(len(users.items)), users.items, users.indptr), shape=(len(users), n_items))
    found.sum_duplicates()
    found.data[:] = 1
    return found


def _row_means(chosen: sparse.csr_matrix, values: NDArray[np.int64]) -> Values:
    """(B,): the mean of `values` (n_items,) over the items of each row, NaN where there are none."""
    sizes = np.diff(chosen.indptr)
    found: Values = np.where(sizes > 0, (chosen @ values) / np.maximum(sizes, 1), np.nan)
    return found


def _mixture(chosen: sparse.csr_matrix, categories: sparse.csr_matrix) -> Values:
    """(B, n_categories): how the items of each row spread over the categories, in shares that sum to 1, or to 0."""
    weights: Values = (chosen @ categories).toarray().astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0, total, 1)
