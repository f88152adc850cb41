"""What a user did, read at request time within a budget; what was known last while Postgres is away.

Requests that wait are read for together, and Postgres is asked only whether a remembered history is still the newest: its
version changes in the transaction that inserts an event (core.store.history), so that an answer is never older than the last
commit, and one whose history stayed the same costs next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import msgspec

from core.errors import DatabaseUnavailable
from core.store import Store
from core.store.history import NEVER_READ, Changed, History, HistoryEvent, Versioned
from features.history import Timeline

log = logging.getLogger(__name__)

BUDGET_S = 1.0  # a slower Postgres counts as away: the request is answered without it
REST_S = 1.0  # after a failure Postgres is left alone this long, so that an outage costs no request its budget
REMEMBERED_USERS = 10_000
REMEMBERED_EVENTS = 500_000  # of all of them together: some 160 MB
READ_AGAIN_S = 600.0
REMEMBERED_S = 1200.0  # for when Postgres is away
READERS = 8
BATCHES = 2  # reads under way at once for requests: while Postgres works on one, the next is gathered,
TOGETHER = 8  # and sent when so many wait,
LATE_S = 0.01  # or the one before is late: a read costs the same whether it asks for one user or for ten
ERASED_EVERY_S = 2.0
MOST_NEW = 20  # events since the last read; after more of them a timeline is made anew


class Past(msgspec.Struct, frozen=True, eq=False):
    """A user's newest interactions, newest first, and every item ever touched. `known`: whether Postgres said so just now.

    When it did not, they are what was known last, and good only for what must not be shown. `kinds` and `refused` are those of
    core.store.history.History.
    """

    events: tuple[HistoryEvent, ...] = ()
    seen: frozenset[str] = frozenset()
    known: bool = True
    kinds: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    answers: list[Any] = msgspec.field(default_factory=list)  # what was made of it: serving/again.py
    told: list[tuple[Timeline, int]] = msgspec.field(default_factory=list)  # of it, but for so many events

    @classmethod
    def of(cls, history: History, known: bool = True, before: Past | None = None) -> Past:
        """What a history says; `before` is what was known of the user until now."""
        past = cls(history.events, history.seen, known, history.kinds, history.refused)
        if before is not None and before.told and before.events:
            told, newer = before.told[0]
            first = before.events[0]  # the very event where a history was continued: what is older than it is the same
            # Something has to be left of what was told: what is in neither would not be known to have been seen.
            most = min(MOST_NEW + 1, len(history.events)) - newer
            for new, event in enumerate(history.events[: max(0, most)]):
                if event is first:
                    past.told.append((told, newer + new))
                    break
        return past

    def timeline(self, row_of: Mapping[str, int], kind_weights: Mapping[str, float]) -> Timeline:
        """It as columns, in the rows of a table: made once, and continued by what is new. Whether it is `known` makes no
        difference."""
        found: Timeline | None = None
        if self.told and self.told[0][0].holds(row_of, kind_weights):
            found, new = self.told[0]
            if not new:
                return found
            found = found.then(self.events[:new], len(self.events))
        if found is None:
            found = Timeline.of(History(self.events, self.seen, self.kinds, self.refused), row_of, kind_weights)
        self.told[:] = [(found, 0)]
        return found


class _Remembered(msgspec.Struct, frozen=True, eq=False):
    """A past, what it was made of, and when that was read whole: a month that is detached changes it and not its version."""

    read_at: float
    versioned: Versioned
    past: Past


_NEVER = _Remembered(float("-inf"), NEVER_READ, Past())


class Histories:
    """Reads pasts: the same object as long as a history stays the same. Thread-safe but for `current`, which is the event
    loop's."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._pool = ThreadPoolExecutor(READERS, "history")  # for `read`, and to connect
        self._free = [store.history.reader(self._pool) for _ in range(BATCHES)]
        self._readers = tuple(self._free)
        self._lock = Lock()
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._events = 0  # remembered, of all users
        self._rest_until = 0.0
        self._erased_since: int | None = None
        self._waiting: list[tuple[str, asyncio.Future[Past]]] = []
        self._batches: set[asyncio.Task[None]] = set()
        self._busy = 0  # how many of them still look for who waits
        self._began_s = 0.0  # when the last of them began to read, by the loop's clock
        self._watched = False  # whether somebody will look at who waits

    def read(self, user: str) -> Past:
        """The user's past, from Postgres if it answers in time."""
        if self._resting:
            return self._last_known(user)
        reading = self._pool.submit(self._read, [user])
        try:
            return reading.result(BUDGET_S)[user]
        except (DatabaseUnavailable, TimeoutError) as error:
            reading.cancel()
            self._failed(error)
            return self._last_known(user)

    async def current(self, user: str) -> Past:
        """The same for a request; those that wait at the same time are read together."""
        if self._resting:
            return self._last_known(user)
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Past] = loop.create_future()
        self._waiting.append((user, found))
        if not self._busy or len(self._waiting) >= TOGETHER:
            self._begin(loop)
        elif not self._watched:
            self._watch(loop)
        return await found

    def forget(self, user: str) -> None:
        """Drop what is remembered of an erased user (DESIGN I7)."""
        with self._lock:
            self._drop(user)

    def forget_erased(self) -> None:
        """Drop what is remembered of users who were erased by way of another process. Raises DatabaseUnavailable."""
        horizon = self._store.events.horizon()  # before the read: nothing may slip in between
        hashes = set() if self._erased_since is None else self._store.events.erased_hashes(self._erased_since)
        with self._lock:
            users = list(self._remembered) if hashes else []
        for user in users:
            if self._store.events.user_hash(user) in hashes:
                self.forget(user)
        self._erased_since = horizon

    def close(self) -> None:
        """Stop the readers without waiting for those that hang."""
        for reader in self._readers:
            reader.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read for those who wait, if there are any, beside what is being read."""
        if self._waiting and self._busy < BATCHES:
            self._busy += 1
            batch = loop.create_task(self._read_waiting(loop))
            self._batches.add(batch)
            batch.add_done_callback(self._batches.discard)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do not let those who wait do so for longer than what is being read is late."""
        self._watched = bool(self._waiting) and self._busy < BATCHES
        if self._watched and loop.time() - self._began_s >= LATE_S:
            self._watched = False
            self._begin(loop)
        elif self._watched:
            loop.call_at(self._began_s + LATE_S, self._watch, loop)

    async def _read_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read for all who wait, until nobody does."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                self._began_s = loop.time()
                await self._settle(batch)
        finally:
            self._busy -= 1

    async def _settle(self, batch: Sequence[tuple[str, asyncio.Future[Past]]]) -> None:
        users = list(dict.fromkeys([user for user, _ in batch]))
        pasts: dict[str, Past] = {}
        try:
            pasts = await self._read_unthreaded(users)
        except DatabaseUnavailable as error:
            self._failed(error)
            pasts = {user: self._last_known(user) for user in users}
        except Exception as error:  # noqa: BLE001 -- the caller hears of it
            if len(batch) > 1:  # whoever's fault it is, the others are not to suffer from it
                for one in batch:
                    await self._settle([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
        for user, found in batch:
            if not found.done():  # its caller may be gone
                found.set_result(pasts[user])

    async def _read_unthreaded(self, users: Sequence[str]) -> dict[str, Past]:
        known, reader = self._known(users), self._free.pop()
        try:
            versions = {user: one.versioned for user, one in known.items()}
            return self._renewed(known, await reader.changed(versions, self._limit, BUDGET_S))
        finally:
            self._free.append(reader)

    def _read(self, users: Sequence[str]) -> dict[str, Past]:
        known = self._known(users)
        versions = {user: one.versioned for user, one in known.items()}
        return self._renewed(known, self._store.history.changed(versions, self._limit))

    def _known(self, users: Sequence[str]) -> dict[str, _Remembered]:
        """What is remembered of each, as far as it is to be believed while its version stays."""
        since_s = time.monotonic() - READ_AGAIN_S
        with self._lock:
            found = {user: self._remembered.get(user, _NEVER) for user in users}
        return {user: one if one.read_at > since_s else _NEVER for user, one in found.items()}

    def _renewed(self, known: dict[str, _Remembered], changed: Changed) -> dict[str, Past]:
        """Pasts of what is known and what has changed, which is remembered."""
        with self._lock:
            for user, versioned in changed.items():
                read_at = time.monotonic() if known[user] is _NEVER else known[user].read_at
                known[user] = _Remembered(read_at, versioned, Past.of(versioned.history, before=known[user].past))
            for user, one in known.items():
                self._remember(user, one)
        return {user: one.past for user, one in known.items()}

    def _remember(self, user: str, one: _Remembered) -> None:
        """With the lock held."""
        self._drop(user)
        self._remembered[user] = one
        self._events += len(one.past.events)
        while len(self._remembered) > REMEMBERED_USERS or self._events > REMEMBERED_EVENTS:
            self._drop(next(iter(self._remembered)))

    def _drop(self, user: str) -> None:
        """With the lock held."""
        one = self._remembered.pop(user, None)
        self._events -= 0 if one is None else len(one.past.events)

    @property
    def _resting(self) -> bool:
        return time.monotonic() < self._rest_until

    def _failed(self, error: BaseException) -> None:
        self._rest_until = time.monotonic() + REST_S
        log.warning("histories cannot be read, answers fall back: %s", error or "Postgres took too long")

    def _last_known(self, user: str) -> Past:
        with self._lock:
            one = self._remembered.get(user)
        if one is None or time.monotonic() - one.read_at >= REMEMBERED_S:
            return Past(known=False)
        return msgspec.structs.replace(one.past, known=False, answers=[])
