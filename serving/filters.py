"""Filters: each says which candidates are kept, and is named for the condition kept. A new one is a function and a line below."""

from __future__ import annotations

import numpy as np

from serving.catalogue import NO_ROWS, Mask, Rows
from serving.query import Candidates, Filter, Query, everything


def servable(query: Query, candidates: Candidates) -> Mask:
    """Not removed, not hidden, available, published and not expired."""
    return candidates.at(query.view.servable(query.now))


def not_seen(query: Query, candidates: Candidates) -> Mask | None:
    """Never touched by the user, in one of the ways that count as having seen it, where that was asked for."""
    return _outside(query.seen if query.ask.exclude_seen else NO_ROWS, query, candidates)


def not_disliked(query: Query, candidates: Candidates) -> Mask | None:
    """Never said no to by the user, whether seen items are asked for or not."""
    return _outside(query.disliked, query, candidates)


def not_hidden_here(query: Query, candidates: Candidates) -> Mask | None:
    """Not among the items that the request itself hides."""
    return _outside(query.view.rows(query.ask.hide) if query.ask.hide else NO_ROWS, query, candidates)


def in_category(query: Query, candidates: Candidates) -> Mask | None:
    """In the category asked for, when one was."""
    category = query.ask.category
    return None if category is None else _inside(query.view.categories.get(category, NO_ROWS), query, candidates)


def matching(query: Query, candidates: Candidates) -> Mask | None:
    """What the filter expression is true of, when there is one."""
    wanted = query.ask.filter
    return None if wanted is None else candidates.at(query.columns.mask(query.view, wanted))


def among_given(query: Query, candidates: Candidates) -> Mask | None:
    """One of the items that the caller wants ordered, when that is the request."""
    given = query.ask.among
    return None if given is None else _inside(query.view.rows(given), query, candidates)


FILTERS: tuple[Filter, ...] = (
    servable, not_seen, not_disliked, not_hidden_here, in_category, matching, among_given,
)  # fmt: skip


def allowed(query: Query) -> Mask:
    """(n,): every item of the catalogue that passes every filter. Sources search inside it, not before it."""
    candidates = everything(len(query.view))
    mask = np.ones(len(query.view), bool)
    for keep in FILTERS:
        kept = keep(query, candidates)
        if kept is not None:
            mask &= kept
    return mask


def _inside(rows: Rows, query: Query, candidates: Candidates) -> Mask:
    """The candidates at these rows."""
    mask = np.zeros(len(query.view), bool)
    mask[rows] = True
    return candidates.at(mask)


def _outside(rows: Rows, query: Query, candidates: Candidates) -> Mask | None:
    """The candidates at other rows; None where that is all of them."""
    if len(rows) == 0:
        return None
    mask = np.ones(len(query.view), bool)
    mask[rows] = False
    return candidates.at(mask)
