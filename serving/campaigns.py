"""Campaigns: boosts raise or lower what a filter names, pins put an item at a place. Neither lets anything through that may
not be shown: both choose from what the filters allow.
"""

from __future__ import annotations

import math

import numpy as np

from serving.catalogue import Mask
from serving.query import Candidates, Query
from serving.sources import RANK_OFFSET

PINNED = "pinned"
DEEPEST = 2000  # candidates asked for at most, however strong a boost


def depth(query: Query, k: int) -> int:
    """How many candidates to ask for instead of k: as deep as the strongest boost can lift an item into the list from.

    Candidates of one source are scored by rank r as 1 / (RANK_OFFSET + r), so that a factor f lifts rank f * r to rank r.
    """
    strongest = max((boost.factor for boost in query.ask.boosts), default=1.0)
    return k if strongest <= 1 else max(k, min(DEEPEST, math.ceil(strongest * (RANK_OFFSET + query.ask.limit))))


def boosted(query: Query, candidates: Candidates, k: int) -> Candidates:
    """The best k candidates, the scores of those that a boost names multiplied by its factor; scores stay at 1 and below."""
    scores = candidates.scores.copy()
    for boost in query.ask.boosts:
        scores[candidates.at(query.columns.mask(query.view, boost.filter))] *= np.float32(boost.factor)
    scores /= max(np.float32(1), scores.max(initial=0))
    changed = Candidates(candidates.rows, scores, candidates.source, candidates.sources)
    return changed[np.argsort(-scores, kind="stable")[:k]]


def pins(query: Query, allowed: Mask) -> list[tuple[int, int]]:
    """The pins that hold: (place from 0, row) by place, of items that may be shown and places that the list has."""
    wanted = [(pin.position - 1, query.view.row(pin.item)) for pin in query.ask.pins]
    return sorted((place, row) for place, row in wanted if place < query.ask.limit and row >= 0 and allowed[row])


def pinned(held: list[tuple[int, int]], others: Candidates) -> Candidates:
    """`others` with the pinned items at their places; where the list is shorter than that, at its end.

    A pinned item is scored between its neighbours.
    """
    for place, row in held:
        one = Candidates.of(PINNED, np.array([row], np.int32), np.ones(1, np.float32))
        others = others.having(one, [place]) if len(others) else one
    return others
