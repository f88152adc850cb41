"""Filters: each says which candidates are kept, and is named for the condition kept. A new one is a function and a line below."""

from __future__ import annotations

import numpy as np

from serving.catalogue import NO_ROWS, Mask, Rows
from serving.query import Candidates, Filter, Query, everything


def servable(query: Query, candidates: Candidates) -> Mask:
    """Not removed, not hidden, available, published and not expired."""
    return candidates.at(query.view.servable(query.now))


def not_seen(query: Query, candidates: Candidates) -> Mask:
    """Never touched by the user, where that was asked for."""
    return candidates.at(~_only(query.seen if query.ask.exclude_seen else NO_ROWS, query))


def not_disliked(query: Query, candidates: Candidates) -> Mask:
    """Never said no to by the user, whether seen items are asked for or not."""
    return candidates.at(~_only(query.disliked, query))


def in_category(query: Query, candidates: Candidates) -> Mask:
    """In the category asked for, when one was."""
    category = query.ask.category
    return candidates.at(_only(None if category is None else query.view.categories.get(category, NO_ROWS), query))


def among_given(query: Query, candidates: Candidates) -> Mask:
    """One of the items that the caller wants ordered, when that is the request."""
    given = query.ask.among
    return candidates.at(_only(None if given is None else query.view.rows(given), query))


FILTERS: tuple[Filter, ...] = (servable, not_seen, not_disliked, in_category, among_given)


def allowed(query: Query) -> Mask:
    """(n,): every item of the catalogue that passes every filter. Sources search inside it, not before it."""
    candidates = everything(query.view)
    mask = np.ones(len(query.view), bool)
    for keep in FILTERS:
        mask &= keep(query, candidates)
    return mask


def _only(rows: Rows | None, query: Query) -> Mask:
    """(n,): true at `rows` alone; everywhere when there is no such condition."""
    if rows is None:
        return np.ones(len(query.view), bool)
    mask = np.zeros(len(query.view), bool)
    mask[rows] = True
    return mask
