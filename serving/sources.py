"""Where candidates come from: models that know the user's history, then the ladder for whoever has none.

Every source searches only what the filters allow, so that a filter which leaves one item in a hundred still gets a full list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.catalogue import NO_ROWS, Mask, Rows
from serving.live import Served
from serving.query import Candidates, Query, Source

POPULARITY = "popularity"
BLEND = "blend"
TEXT = "text"
RANK_OFFSET = 10.0  # how much being first counts against being second when lists are merged


def from_models(query: Query, allowed: Mask, k: int) -> list[Candidates]:
    """One list from every model that reads histories, when there is one to read; best first.

    A blend stands in for all of them: the others are asked only where there is none, or it has nothing to say.
    """
    if not query.events:
        return []
    for names in turns(query.models):
        lists = [found for name in names if len(found := _asked(query.models[name], query, allowed, k))]
        if lists:
            return lists
    return []


def turns(models: Mapping[str, Served]) -> list[list[str]]:
    """Names of the models that read histories, in the turns in which they are asked: the blend, then all others."""
    others = [name for name in models if name not in (POPULARITY, BLEND)]
    return [[BLEND], others] if BLEND in models else [others]


def _asked(served: Served, query: Query, allowed: Mask, k: int) -> Candidates:
    users = query.users(served)
    if len(users.items) == 0:  # it knows nothing of what the user did
        return _NOTHING
    return ranked(served.version.name, served.best(users, k, allowed))


def by_text(query: Query, allowed: Mask, k: int) -> Candidates:
    """What is described like the items that the user chose, best first: new items, and what most people want."""
    return _alike(query, allowed, k, only_new=False)


def new_by_text(query: Query, allowed: Mask, k: int) -> Candidates:
    """The same of new items only: those that no live model was trained on."""
    return _alike(query, allowed, k, only_new=True)


def _alike(query: Query, allowed: Mask, k: int, only_new: bool) -> Candidates:
    if not len(query.shelf):
        return Candidates.of(TEXT, NO_ROWS, np.zeros(0, np.float32))
    return Candidates.of(TEXT, *query.shelf.alike(query.view, query.timeline, allowed, only_new, k))


def popular(query: Query, allowed: Mask, k: int) -> Candidates:
    """What most people want, by the popularity model."""
    served = query.models.get(POPULARITY)
    return ranked("popular", _first(served.catalogue_order.get("popular", NO_ROWS) if served else NO_ROWS, allowed, k))


def counted(query: Query, allowed: Mask, k: int) -> Candidates:
    """What most people want, by Postgres' own counts: when no model is loaded, and for what it has not seen yet."""
    return ranked("counts", _first(query.view.counted, allowed, k))


def given(query: Query, allowed: Mask, k: int) -> Candidates:
    """What the caller wants ordered, in the order given: for items that nothing else can place."""
    rows = query.view.rows(query.ask.among or ())
    return ranked("given", _first(rows, allowed, k))


def latest(query: Query, allowed: Mask, k: int) -> Candidates:
    """The newest of the catalogue."""
    return ranked("latest", _first(query.view.newest, allowed, k))


def trending(query: Query, allowed: Mask, k: int) -> Candidates:
    """What most people want lately, by the popularity model."""
    served = query.models.get(POPULARITY)
    return ranked(
        "trending", _first(served.catalogue_order.get("trending", NO_ROWS) if served else NO_ROWS, allowed, k)
    )


LADDER: tuple[Source, ...] = (by_text, popular, counted, latest, given)
_NOTHING = Candidates.of("", NO_ROWS, np.zeros(0, np.float32))


def merge(found: Sequence[Candidates], models: Mapping[str, Served]) -> Candidates:
    """One list by weighted reciprocal rank, in no order: sum over the lists of weight / (offset + rank), 1 where first in all.

    After Cormack et al. 2009 ("Reciprocal rank fusion"); the offset is smaller here because the lists are weighted, by how
    well each model did when it was judged. The source of an item is the list that gave it most.
    """
    if len(found) == 1:
        return found[0]
    names = tuple(one.sources[0] for one in found)
    weights = np.array([models[name].weight for name in names], np.float32)
    weights = weights / weights.sum()
    items, place = np.unique(np.concatenate([one.rows for one in (*found, _NOTHING)]), return_inverse=True)
    shares = np.zeros((max(1, len(names)), len(items)), np.float32)
    for list_ix, (one, weight) in enumerate(zip(found, weights, strict=True)):
        shares[list_ix, place[: len(one)]] = one.scores * weight
        place = place[len(one) :]
    return Candidates(items.astype(np.int32), shares.sum(axis=0), shares.argmax(axis=0).astype(np.int8), names)


def ranked(name: str, rows: Rows) -> Candidates:
    """Candidates of one source scored by their rank alone: scores of different models do not compare."""
    return Candidates.of(name, rows, _FIRST_BY_RANK[: len(rows)] if len(rows) <= KEPT_RANKS else _by_rank(len(rows)))


def _by_rank(n: int) -> NDArray[np.float32]:
    """Scores of the first n: (n,), read-only."""
    scores = ((RANK_OFFSET + 1) / (RANK_OFFSET + 1 + np.arange(n, dtype=np.float32))).astype(np.float32)
    scores.flags.writeable = False
    return scores


KEPT_RANKS = 1000
_FIRST_BY_RANK = _by_rank(KEPT_RANKS)


def _first(order: Rows, allowed: Mask, k: int) -> Rows:
    """The first k rows of `order` that are allowed; looks no further than it must."""
    found: list[Rows] = []
    have, at, step = 0, 0, max(4 * k, 256)
    while have < k and at < len(order):
        part = order[at : at + step]
        kept = part[allowed[part]]
        found.append(kept)
        have, at, step = have + len(kept), at + step, step * 4
    return np.concatenate([*found, NO_ROWS])[:k]
