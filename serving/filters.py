"""Filters: each takes out of a mask of the catalogue what it does not keep, and is named for the condition kept. A new one is a
function and a line below."""

from __future__ import annotations

from serving.catalogue import NO_ROWS, Mask, Rows
from serving.query import Filter, Query


def not_seen(query: Query, mask: Mask) -> None:
    """Never touched by the user, in one of the ways that count as having seen it, where that was asked for."""
    if query.ask.exclude_seen:
        mask[query.seen] = False


def not_disliked(query: Query, mask: Mask) -> None:
    """Never said no to by the user, whether seen items are asked for or not."""
    if len(query.disliked):
        mask[query.disliked] = False


def not_hidden_here(query: Query, mask: Mask) -> None:
    """Not among the items that the request itself hides."""
    if query.ask.hide:
        mask[query.view.rows(query.ask.hide)] = False


def in_category(query: Query, mask: Mask) -> None:
    """In the category asked for, when one was."""
    if query.ask.category is not None:
        _keep(mask, query.view.categories.get(query.ask.category, NO_ROWS))


def matching(query: Query, mask: Mask) -> None:
    """What the filter expression is true of, when there is one."""
    if query.ask.filter is not None:
        mask &= query.columns.mask(query.view, query.ask.filter)


def among_given(query: Query, mask: Mask) -> None:
    """One of the items that the caller wants ordered, when that is the request."""
    if query.ask.among is not None:
        _keep(mask, query.view.rows(query.ask.among))


FILTERS: tuple[Filter, ...] = (not_seen, not_disliked, not_hidden_here, in_category, matching, among_given)


def allowed(query: Query) -> Mask:
    """(n,): every item that may be served now and passes every filter. Sources search inside it, not before it."""
    mask = query.servable.copy()
    for narrow in FILTERS:
        narrow(query, mask)
    return mask


def _keep(mask: Mask, rows: Rows) -> None:
    """Take out all but these rows."""
    kept = mask[rows]
    mask[:] = False
    mask[rows] = kept
