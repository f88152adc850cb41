"""Exploration: a share of the places of a list is left to chance, and each item's chance is known exactly.

Of a list of L places with share e, and a pool of P items that may take the place of others, x = min(e * L, P) places are given
away: as many as x says, its fraction by one more draw. The places are drawn evenly, each once, and so are the items. Hence an
item of the pool is at a place with probability x / (L * P), and the item that the place had stays with 1 - x / L, whatever
else was drawn: what estimates from logged slates divide by (Horvitz and Thompson 1952; Li et al. 2018, "Offline evaluation of
ranking policies with click models", its item-position model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.catalogue import Mask
from serving.query import Candidates, Query
from serving.sources import latest

EXPLORATION = "exploration"
NEXT_BEST = 50  # items of the pool that came next,
NEWEST = 50  # and that are the newest of the catalogue, so that what nobody has seen gets its chance


@dataclass(frozen=True)
class Chance:
    """How a list was drawn: the share of its places given away, and the number of items that shared these."""

    share: float = 0.0
    pool: int = 0

    def of(self, source: str) -> float:
        """The probability that an item brought by this source is where it is. What is pinned, always is."""
        if source == "pinned" or self.share == 0:
            return 1.0
        return self.share / self.pool if source == EXPLORATION else 1.0 - self.share


CERTAIN = Chance()


def explore(
    query: Query, allowed: Mask, ordered: Candidates, chosen: Candidates, rng: np.random.Generator | None = None
) -> tuple[Candidates, Chance]:
    """`chosen` with a share of its places given to items of the pool, and the chances of that.

    The pool are the next best of `ordered` and the newest items of the catalogue, as far as `allowed` and not in the list.
    """
    size = len(chosen)
    if query.ask.exploration == 0 or size == 0:
        return chosen, CERTAIN
    pool = ordered[~np.isin(ordered.rows, chosen.rows)][:NEXT_BEST]
    new = latest(query, allowed, size + len(pool) + NEWEST)
    pool = pool.then(new[~np.isin(new.rows, chosen.rows)])[: len(pool) + NEWEST]
    if len(pool) == 0:
        return chosen, CERTAIN
    rng = rng or np.random.default_rng()
    expected = min(query.ask.exploration * size, len(pool))
    drawn = int(expected) + (rng.random() < expected % 1)
    places, taken = rng.permutation(size)[:drawn], rng.permutation(len(pool))[:drawn]
    rows, scores, source = chosen.rows.copy(), chosen.scores.copy(), chosen.source.copy()
    rows[places], scores[places], source[places] = pool.rows[taken], pool.scores[taken], len(chosen.sources)
    shown = Candidates(rows, scores, source, (*chosen.sources, EXPLORATION))
    return shown, Chance(expected / size, len(pool))
