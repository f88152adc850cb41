"""Diversity: maximal marginal relevance over categories (Carbonell and Goldstein 1998)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.query import Candidates, Query


def diversify(query: Query, ordered: Candidates, limit: int) -> Candidates:
    """The first `limit` of `ordered`; with a diversity above 0, those that are also unlike the ones chosen before.

    Each choice has the largest (1 - d) * score - d * likeness to the nearest one chosen, likeness being the Jaccard index
    of their categories.
    """
    d = np.float32(query.ask.diversity)
    if d == 0 or len(ordered) <= 1:
        return ordered[:limit]
    alike = _jaccard(_memberships(query, ordered))
    nearest = np.zeros(len(ordered), np.float32)
    left = np.ones(len(ordered), bool)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(ordered)):
        worth = np.where(left, (1 - d) * ordered.scores - d * nearest, -np.inf)
        best = int(worth.argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, alike[best])
    return ordered[np.array(chosen, np.int64)]


def _memberships(query: Query, candidates: Candidates) -> NDArray[np.float32]:
    """(n, categories) 0 or 1."""
    found = [query.view.items[row] for row in candidates.rows]
    columns: dict[str, int] = {}
    for item in found:
        for category in item.categories if item else ():
            columns.setdefault(category, len(columns))
    members = np.zeros((len(found), len(columns)), np.float32)
    for at, item in enumerate(found):
        members[at, [columns[category] for category in (item.categories if item else ())]] = 1
    return members


def _jaccard(members: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, n); items without categories are like nothing."""
    both = members @ members.T
    sizes = members.sum(axis=1)
    either = sizes[:, None] + sizes[None, :] - both
    alike: NDArray[np.float32] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return alike
