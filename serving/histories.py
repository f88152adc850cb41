"""What a user did, read at request time within a budget; what was known last while Postgres is away."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from core.errors import DatabaseUnavailable
from core.store.history import History, HistoryEvent, HistoryStore

log = logging.getLogger(__name__)

BUDGET_S = 1.0  # a slower Postgres counts as away: the request is answered without it
REST_S = 1.0  # after a failure Postgres is left alone this long, so that an outage costs no request its budget
REMEMBERED_USERS = 2000
REMEMBERED_S = 600.0
READERS = 8


@dataclass(frozen=True)
class Past:
    """A user's newest interactions, newest first, and every item ever touched. `known`: whether Postgres said so just now.

    When it did not, they are what was known last, and good only for what must not be shown.
    """

    events: tuple[HistoryEvent, ...] = ()
    seen: frozenset[str] = frozenset()
    known: bool = True


class Histories:
    """Reads pasts. Thread-safe."""

    def __init__(self, store: HistoryStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._pool = ThreadPoolExecutor(READERS, "history")
        self._lock = Lock()
        self._remembered: OrderedDict[str, tuple[float, History]] = OrderedDict()
        self._rest_until = 0.0

    def read(self, user: str) -> Past:
        """The user's past, from Postgres if it answers in time."""
        if time.monotonic() < self._rest_until:
            return self._last_known(user)
        reading = self._pool.submit(self._store.history, user, self._limit)
        try:
            found = reading.result(BUDGET_S)
        except (DatabaseUnavailable, TimeoutError) as error:
            reading.cancel()
            self._rest_until = time.monotonic() + REST_S
            log.warning("histories cannot be read, answers fall back: %s", error or "Postgres took too long")
            return self._last_known(user)
        self._remember(user, found)
        return Past(found.events, found.seen)

    def forget(self, user: str) -> None:
        """Drop what is remembered of an erased user (DESIGN I7)."""
        with self._lock:
            self._remembered.pop(user, None)

    def close(self) -> None:
        """Stop the readers without waiting for those that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _remember(self, user: str, history: History) -> None:
        with self._lock:
            self._remembered.pop(user, None)
            if history.events:
                self._remembered[user] = (time.monotonic(), history)
            while len(self._remembered) > REMEMBERED_USERS:
                self._remembered.popitem(last=False)

    def _last_known(self, user: str) -> Past:
        with self._lock:
            at, history = self._remembered.get(user, (0.0, History((), frozenset())))
        fresh = time.monotonic() - at < REMEMBERED_S
        return Past(history.events, history.seen, known=False) if fresh else Past(known=False)
