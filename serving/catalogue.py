"""The live catalogue in memory: what may be served right now, as arrays. Refreshed from Postgres, kept when it is away.

Every item that is known, be it from the catalogue or from a model, has one row for the life of the process. Whoever
answers a request takes one `View` and works with it throughout.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import count

import numpy as np
from msgspec.json import encode
from numpy.typing import NDArray

from core.errors import DatabaseUnavailable, HeadwaterError
from core.store import Store
from core.store.catalogue import Item, Source
from core.store.catalogue_copies import Position
from core.telemetry import CATALOGUE_AGE_SECONDS
from features.interactions import AT_ONCE, rows_of
from serving.items import Facts, Items, Lines, Written

log = logging.getLogger(__name__)

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
    items: Items
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

    def rows(self, items: Collection[str]) -> Rows:
        """The rows of those items that have one."""
        found = rows_of(self.row_of, items)
        return found[(found >= 0) & (found < len(self))]

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


@dataclass(frozen=True)
class Copy:
    """What an earlier process had of the catalogue, and where it stood; without a position nobody can tell what it lacks."""

    lines: Lines
    position: Position | None


class LiveCatalogue:
    """Keeps the `view`. Thread-safe: one thread refreshes, model loads add rows, requests read one reference."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._since = 0
        self._source: Source | None = None  # of what `view` holds
        self._horizon = 0  # of the last read that saw what was done by hand, too
        self.copy: Callable[[], Copy | None] = lambda: None  # what may spare reading all at the start
        self.drop_copy: Callable[[], None] = lambda: None  # once it has served, or cannot
        self.copied: Mask | None = None  # `shown` of a view that is the copy and nothing later
        self._asked_at: float | None = None  # while Postgres is waited for: since when
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

    @property
    def silent_s(self) -> float:
        """How long Postgres has been waited for, right now."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def refresh(self) -> None:
        """Apply what changed since the last time. Raises DatabaseUnavailable, after which all is read anew."""
        CATALOGUE_AGE_SECONDS.set(self.age_s)
        try:
            self._asked_at = time.monotonic()
            horizon = self._store.events.horizon()  # before the read: nothing may slip in between
            if self._since:
                self._apply(self._store.catalogue.changed_since(self._since))
            else:
                self._source, self._horizon = self._begin(), horizon
        except BaseException:
            self._since = 0  # what comes back may be another database, restored to an earlier time
            raise
        finally:
            self._asked_at = None
        self._since = horizon
        self._refreshed_at = time.monotonic()
        CATALOGUE_AGE_SECONDS.set(0)

    def _begin(self) -> Source | None:
        """Read all that Postgres has, or what a copy lacks of it."""
        self._asked_at = None
        copy = None if self.loaded else self.copy()
        self._asked_at = time.monotonic()
        source = self._read_later(copy) if copy else None
        self.drop_copy()
        if source is None:
            copy, self.copy = None, lambda: None
        return source or self._read()

    def _read(self) -> Source | None:
        lines, self._asked_at = Lines(), time.monotonic()

        def take(part: bytes) -> None:
            self._asked_at = None
            lines.take(part)
            self._asked_at = time.monotonic()

        source = self._store.catalogue.all_lines(take)
        with self._lock:
            self.view = _filled(self.view, lines)
        return source

    def _read_later(self, copy: Copy) -> Source | None:
        """Begin with a copy and read what it lacks. None, and nothing done, where it is not of this very Postgres."""
        later = self._store.copies.later_than(copy.position) if copy.position else None
        if later is None:
            return None
        self._asked_at = None
        changed = {one.item: one for one in later.items}
        if later.unchanged != len(copy.lines) - (sum(map(changed.__contains__, copy.lines.ids)) if changed else 0):
            log.warning("the copy of the catalogue holds what Postgres does not: all of it is read")
            return None
        with self._lock:
            view = _filled(self.view, copy.lines)
            fresh = [item for item in later.items if not _same(view, item)]
            self.view = _changed(*_grown(view, [item.item for item in fresh]), fresh) if fresh else view
        self.copied = None if later.items else self.view.shown
        log.info("the catalogue is a copy of %d items, and %d changed since", len(copy.lines), len(later.items))
        return later.source

    def _apply(self, changed: Sequence[Item]) -> None:
        with self._lock:
            fresh = [item for item in changed if not _same(self.view, item)]
            if fresh:
                self.view = _changed(*_grown(self.view, [item.item for item in fresh]), fresh)

    def restore(self, lines: Lines) -> None:
        """Begin with what was known last, unless Postgres has answered already; its first answer replaces all of it."""
        with self._lock:
            if not self.loaded:
                self.view = _filled(self.view, lines)

    @property
    def placeable(self) -> bool:
        """Whether Postgres may say where a copy stands: not while it is away, and never where it refuses."""
        return self._since > 0 and self._source is not None

    def kept(self, gone: str) -> tuple[View, Written, Position | None]:
        """All there is, for a copy, and where that stands, if Postgres can say so; `gone` is the mark of one that is no more."""
        with self._lock:
            view, items = self.view, self.view.items.still()
            horizon, source = self._horizon, self._source if self.placeable else None
        written = items.written()
        if source is None:
            return view, written, None
        try:
            position = self._store.copies.mark(source, horizon, gone)
            if position is None:
                self._since = 0  # it was started again: all is read, and the next copy has a place
            return view, written, position
        except HeadwaterError as error:
            log.warning("the copy of the catalogue serves only while Postgres is away: %s", error)
            if not isinstance(error, DatabaseUnavailable):
                self._source = None  # until all is read again
            return view, written, None

    def refresh_counts(self) -> None:
        """Read which items have most interactions. Raises DatabaseUnavailable."""
        items = [item for item, count in self._store.catalogue.popular(COUNTED_ITEMS) if count > 0]
        with self._lock:
            view, counted = _grown(self.view, items)
            same = view is self.view and np.array_equal(counted, view.counted)  # answers last as long as it
            self.view = view if same else replace(view, counted=counted)

    def rows_for(self, items: Sequence[str]) -> Rows:
        """A row for each of these items, made where there was none: (n,) int32. Views taken from now on have them all."""
        with self._lock:
            self.view, rows = _grown(self.view, items)
            return rows


def _empty() -> View:
    nothing = np.zeros(0)
    return View([], {}, Items(), np.zeros(0, bool), NO_ROWS, nothing, nothing, nothing, {}, NO_ROWS)


def _filled(view: View, lines: Lines) -> View:
    """The same rows, and more where they are needed, with nothing known but these items: a database that was away and is back
    may be another."""
    view, rows = _grown(replace(view, items=Items(len(view))), lines.ids)
    facts = lines.facts
    view.items.fill(rows, lines)
    shown, fresh_s = np.ones(len(view), bool), np.full(len(view), -np.inf)
    shown[rows], fresh_s[rows] = facts.shown, facts.fresh_s
    timed = _timed(facts)
    return replace(
        view, shown=shown, fresh_s=fresh_s, categories=lines.categories(rows),
        timed=rows[timed], from_s=facts.from_s[timed], until_s=facts.until_s[timed],
    )  # fmt: skip


def _timed(facts: Facts) -> Mask:
    """(m,): whose time is still to come. What is published already stays so until it is changed."""
    return np.isfinite(facts.until_s) | (facts.from_s > time.time())


def _grown(view: View, items: Sequence[str]) -> tuple[View, Rows]:
    """The view with a row for each of `items`, and those rows; without an Item a new one may be served."""
    row_of, rows = view.row_of, np.empty(len(items), np.int32)
    assert isinstance(row_of, dict)
    for at in range(0, len(items), AT_ONCE):
        part, n = items[at : at + AT_ONCE], len(view.ids)
        known = rows_of(row_of, part)
        missing = np.flatnonzero(known < 0)
        if len(missing):
            new = [part[place] for place in missing.tolist()]
            distinct = dict.fromkeys(new)
            # No row is ever there that is not the item's for life: requests read this meanwhile, and keep what they found.
            row_of.update(zip(distinct, count(n), strict=False))
            view.ids.extend(distinct)
            known[missing] = range(n, len(view.ids)) if len(distinct) == len(new) else rows_of(row_of, new)
        rows[at : at + AT_ONCE] = known
    more = len(view.ids) - len(view)
    if not more:
        return view, rows
    view.items.grow(more)
    shown, fresh_s = np.ones(more, bool), np.full(more, -np.inf)
    view = replace(view, shown=np.concatenate([view.shown, shown]), fresh_s=np.concatenate([view.fresh_s, fresh_s]))
    return view, rows


def _same(view: View, item: Item) -> bool:
    row = view.row_of.get(item.item, -1)
    known = view.items[row] if row >= 0 else None
    # To Python 1 is equal to true, and to 1.0; to a filter it is not.
    return known is not None and known == item and encode(known.attributes) == encode(item.attributes)


def _changed(view: View, rows: Rows, changed: Sequence[Item]) -> View:
    """The view with these items, in these rows, as they are now."""
    shown, fresh_s = view.shown.copy(), view.fresh_s.copy()
    facts = Facts.of(changed)
    categories = _recategorised(view, changed, rows)
    view.items.set(rows.tolist(), changed)
    shown[rows], fresh_s[rows] = facts.shown, facts.fresh_s
    bounded, kept = _timed(facts), ~np.isin(view.timed, rows)
    return replace(
        view, shown=shown, fresh_s=fresh_s, categories=categories,
        timed=np.concatenate([view.timed[kept], rows[bounded]]),
        from_s=np.concatenate([view.from_s[kept], facts.from_s[bounded]]),
        until_s=np.concatenate([view.until_s[kept], facts.until_s[bounded]]),
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
