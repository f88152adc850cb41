"""The live catalogue in memory: what may be served right now, as arrays. Refreshed from Postgres, kept when it is away.

Every item that is known, be it from the catalogue or from a model, has one row for the life of the process. Whoever
answers a request takes one `View` and works with it throughout.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import repeat

import numpy as np
from msgspec.json import encode
from numpy.typing import NDArray

from core.store import Store
from core.store.catalogue import Item
from core.telemetry import CATALOGUE_AGE_SECONDS

REFRESH_EVERY_S = 0.25
COUNTS_EVERY_S = 10.0
COUNTED_ITEMS = 1000  # most interacted-with items kept, for when no model can be loaded

Rows = NDArray[np.int32]
Mask = NDArray[np.bool_]
NO_ROWS: Rows = np.zeros(0, np.int32)


@dataclass(frozen=True)
class View:
    """The catalogue of n items at one moment; what it holds is never changed, only replaced.

    `ids`, `row_of` and `items` are shared between views and only ever grow; an item that a model knows and the catalogue
    does not is None in `items`, and may be served. `shown` (n,): neither removed, hidden nor unavailable. `timed` are the rows
    whose time of publication or expiry is still to come, at `from_s` and `until_s`; `fresh_s` (n,) when published, else last
    changed, -inf where unknown. `categories` are rows by category; `counted` rows by number of interactions, most first.
    """

    ids: list[str]
    row_of: Mapping[str, int]
    items: list[Item | None]
    shown: Mask
    timed: Rows
    from_s: NDArray[np.float64]
    until_s: NDArray[np.float64]
    fresh_s: NDArray[np.float64]
    categories: Mapping[str, Rows]
    counted: Rows
    _masks: list[tuple[float, float, Mask]] = field(init=False, default_factory=list)  # the last, and when it holds

    def __len__(self) -> int:
        return len(self.shown)

    def row(self, item: str) -> int:
        """The item's row in this view, -1 when it has none."""
        row = self.row_of.get(item, -1)
        return row if row < len(self) else -1

    def rows(self, items: Iterable[str]) -> Rows:
        """The rows of those items that have one."""
        row_of, n = self.row_of, len(self)
        found = np.fromiter(map(row_of.get, items, repeat(-1)), np.int32)
        return found[(found >= 0) & (found < n)]

    def servable(self, now: datetime) -> Mask:
        """(n,): what may be recommended at `now` (DESIGN I3). Read-only. Made anew only when a boundary was passed."""
        now_s = now.timestamp()
        for since_s, until_s, mask in self._masks:
            if since_s <= now_s < until_s:
                return mask
        boundaries = np.concatenate([self.from_s, self.until_s])
        since_s = float(boundaries[boundaries <= now_s].max(initial=-np.inf))
        until_s = float(boundaries[boundaries > now_s].min(initial=np.inf))
        mask = self.shown.copy()
        mask[self.timed] &= (self.from_s <= now_s) & (self.until_s > now_s)
        self._masks[:] = [(since_s, until_s, mask)]
        return mask

    @cached_property
    def newest(self) -> Rows:
        """Rows of the catalogue's items, the newest first."""
        order = np.argsort(-self.fresh_s, kind="stable").astype(np.int32)
        return order[np.isfinite(self.fresh_s[order])]

    def title(self, row: int) -> str:
        """What to call an item when speaking of it: its title, else its id."""
        item = self.items[row]
        return (item.title if item else "") or self.ids[row]


class LiveCatalogue:
    """Keeps the `view`. Thread-safe: one thread refreshes, model loads add rows, requests read one reference."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._since = 0
        self._refreshed_at: float | None = None
        self._known_since = time.monotonic()
        self.view = _empty()

    @property
    def age_s(self) -> float:
        """Seconds since the view last matched Postgres; since the start when it never did."""
        return time.monotonic() - (self._refreshed_at or self._known_since)

    @property
    def loaded(self) -> bool:
        """Whether Postgres was ever read."""
        return self._refreshed_at is not None

    def refresh(self) -> None:
        """Apply what changed since the last time. Raises DatabaseUnavailable, after which all is read anew."""
        CATALOGUE_AGE_SECONDS.set(self.age_s)
        try:
            horizon = self._store.events.horizon()  # before the read: nothing may slip in between
            changed = self._store.catalogue.changed_since(self._since)
        except BaseException:
            self._since = 0  # what comes back may be another database, restored to an earlier time
            raise
        with self._lock:
            view = self.view if self._since else _forgotten(self.view)
            fresh = [item for item in changed if not _same(view, item)] if view.ids else changed
            if fresh or view is not self.view:
                self.view = _changed(_grown(view, [item.item for item in fresh]), fresh)
            self._since = horizon
        self._refreshed_at = time.monotonic()
        CATALOGUE_AGE_SECONDS.set(0)

    def restore(self, items: Sequence[Item]) -> None:
        """Begin with what was known last, unless Postgres has answered already; its first answer replaces all of it."""
        with self._lock:
            if not self.loaded:
                self.view = _changed(_grown(self.view, [item.item for item in items]), items)

    def refresh_counts(self) -> None:
        """Read which items have most interactions. Raises DatabaseUnavailable."""
        items = [item for item, count in self._store.catalogue.popular(COUNTED_ITEMS) if count > 0]
        with self._lock:
            view = _grown(self.view, items)
            counted = view.rows(items)
            same = view is self.view and np.array_equal(
                counted, view.counted
            )  # answers are kept as long as the view is
            self.view = view if same else replace(view, counted=counted)

    def rows_for(self, items: Sequence[str]) -> Rows:
        """A row for each of these items, made where there was none: (n,) int32. Views taken from now on have them all."""
        with self._lock:
            self.view = _grown(self.view, items)
            return self.view.rows(items)


def _empty() -> View:
    nothing = np.zeros(0)
    return View([], {}, [], np.zeros(0, bool), NO_ROWS, nothing, nothing, nothing, {}, NO_ROWS)


def _forgotten(view: View) -> View:
    """The same rows with nothing known of them: what a database that was away and is back will fill anew."""
    n = len(view)
    return replace(
        view, items=[None] * n, shown=np.ones(n, bool), timed=NO_ROWS, from_s=np.zeros(0), until_s=np.zeros(0),
        fresh_s=np.full(n, -np.inf), categories={},
    )  # fmt: skip


def _grown(view: View, items: Sequence[str]) -> View:
    """The view with a row for each of `items`; without an Item a new one may be served."""
    new = [item for item in dict.fromkeys(items) if item not in view.row_of]
    if not new:
        return view
    row_of = view.row_of
    assert isinstance(row_of, dict)
    more, before = len(new), len(view.ids)
    view.items.extend([None] * more)
    view.ids.extend(new)
    row_of.update(zip(new, range(before, before + more), strict=True))
    return replace(
        view, shown=np.concatenate([view.shown, np.ones(more, bool)]),
        fresh_s=np.concatenate([view.fresh_s, np.full(more, -np.inf)]),
    )  # fmt: skip


def _same(view: View, item: Item) -> bool:
    row = view.row_of.get(item.item, -1)
    known = view.items[row] if row >= 0 else None
    # To Python 1 is equal to true, and to 1.0; to a filter it is not.
    return known is not None and known == item and encode(known.attributes) == encode(item.attributes)


def _changed(view: View, changed: Sequence[Item]) -> View:
    """The view with these items as they are now. Their rows exist."""
    shown, fresh_s = view.shown.copy(), view.fresh_s.copy()
    rows = view.rows([item.item for item in changed])
    categories = _recategorised(view, changed, rows)
    for row, item in zip(rows.tolist(), changed, strict=True):
        view.items[row] = item
    # Spelled out rather than called: of a million items each of these takes a tenth of a second, a call for each twice that.
    shown[rows] = [one.available and not (one.removed or one.hidden) for one in changed]
    newest = [None if one.removed else one.published_at or one.changed_at for one in changed]
    fresh_s[rows] = [-np.inf if moment is None else moment.timestamp() for moment in newest]
    from_s = np.array([-np.inf if one.published_at is None else one.published_at.timestamp() for one in changed], float)
    until_s = np.array([np.inf if one.expires_at is None else one.expires_at.timestamp() for one in changed], float)
    bounded = np.isfinite(until_s) | (from_s > time.time())  # what is published already stays so until it is changed
    kept = ~np.isin(view.timed, rows)
    return replace(
        view, shown=shown, fresh_s=fresh_s, categories=categories,
        timed=np.concatenate([view.timed[kept], rows[bounded]]),
        from_s=np.concatenate([view.from_s[kept], from_s[bounded]]),
        until_s=np.concatenate([view.until_s[kept], until_s[bounded]]),
    )  # fmt: skip


def _recategorised(view: View, changed: Sequence[Item], rows: Rows) -> dict[str, Rows]:
    """`view.categories` after these items, in these rows, changed; `view.items` still holds what they were."""
    gained: dict[str, list[int]] = defaultdict(list)
    lost: dict[str, list[int]] = defaultdict(list)
    for row, item in zip(rows.tolist(), changed, strict=True):
        before = view.items[row]
        was = before.categories if before is not None else ()
        if was != item.categories:
            for category in item.categories:
                gained[category].append(row)
            for category in set(was).difference(item.categories) if was else ():
                lost[category].append(row)
    categories = dict(view.categories)
    for category in gained.keys() - categories.keys():
        categories[category] = np.unique(np.array(gained.pop(category), np.int32))
    for category in gained.keys() | lost.keys():
        left = np.setdiff1d(categories.pop(category, NO_ROWS), np.array(lost[category], np.int32), assume_unique=True)
        members = np.union1d(left, np.array(gained[category], np.int32)).astype(np.int32)
        if len(members):
            categories[category] = members
    return categories
