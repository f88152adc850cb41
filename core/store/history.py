"""Reading what a user did, at request time: one indexed read, of what is new since the last one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from core.store.database import Database
from core.store.partitions import month_tables
from core.store.unthreaded import Reading, Unthreaded, done_on
from core.tables import user_counts

# One statement, so that what is read and its version are of one moment. Histories of the version given are not looked at; of
# one that was read before, as many events as were inserted since, and the one that was its newest.
# The partial index (user_id, time DESC) serves; `key` makes the order of simultaneous events the same for everyone.
# What a user did comes as one JSON document: to make events of that takes half of the time that rows of columns take.
PREPARE = """
PREPARE changed_histories (text[], bigint[], int) AS
SELECT counted.events, done.told
FROM unnest($1, $2) WITH ORDINALITY AS asked (user_id, version, place)
LEFT JOIN user_counts AS counted USING (user_id)
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(
        key, json_build_object('item', item_id, 'kind', kind, 'time', time, 'value', value)
    ) ORDER BY time DESC, key DESC)::text AS told
    FROM (
        SELECT item_id, substr(type, 13) AS kind, time, value, key FROM events
        WHERE events.user_id = asked.user_id AND counted.events IS DISTINCT FROM asked.version AND type LIKE 'interaction.%'
        ORDER BY time DESC, key DESC
        LIMIT CASE WHEN asked.version BETWEEN 1 AND counted.events THEN least($3, counted.events - asked.version + 1) ELSE $3 END
    ) AS newest
) AS done ON true ORDER BY asked.place
"""
CHANGED = "EXECUTE changed_histories (%s::text[], %s::bigint[], %s)"
TOUCHED = """
SELECT DISTINCT user_id, item_id, substr(type, 13) AS kind, coalesce(value < 0, false) AS refused FROM events
WHERE user_id = ANY(%s) AND type LIKE 'interaction.%%'
"""
STORED = """
SELECT source, id, type, time, item_id AS item, value, session, slate, position, data, key FROM {table}
WHERE user_id = :user
"""


class HistoryEvent(msgspec.Struct, frozen=True, gc=False):
    """One thing a user did. `kind` is the interaction's: view, rating, ... A server remembers half a million of them: the garbage
    collector, which would stop it for 0.1 s to look through as many tuples, need not know of them."""

    item: str
    kind: str
    time: datetime
    value: float | None


class History(msgspec.Struct, frozen=True):
    """A user's newest interactions, newest first, and every item they ever touched.

    Of a user with more interactions than that, `kinds` has the items of all of them by kind, and `refused` those that were
    ever given a negative value; of others both are empty, for `events` says as much.
    """

    events: tuple[HistoryEvent, ...]
    seen: frozenset[str]
    kinds: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    refused: frozenset[str] = frozenset()


class Versioned(msgspec.Struct, frozen=True):
    """A history, its version (see HistoryStore.changed), and the key of its newest event."""

    version: int | None
    history: History
    newest: Any = None


NEVER_READ = Versioned(-1, History((), frozenset()))
Changed = dict[str, Versioned]


# Each with its key, the newest first. Not strict: a value that is no number would come as text.
_told = msgspec.json.Decoder(list[tuple[str, HistoryEvent]], strict=False)


class HistoryStore:
    """Reads histories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, user: str, limit: int) -> History:
        """At most `limit` newest interactions. Only a user with more than that costs a second read, for the rest."""
        return self.changed({user: NEVER_READ}, limit)[user].history

    def changed(self, known: Mapping[str, Versioned], limit: int) -> Changed:
        """The histories of many users in one read, as `history` gives each, but for those that are still of the version known:
        finding that out costs next to nothing, and what was done since little more. A user not read before is NEVER_READ.

        Versions are how many interactions of the user were ever inserted, None where there is no such user: they change in
        the very transaction that inserts, or erases. Only the detaching of months changes a history and not its version.
        """
        return self._database.quickly(lambda connection: done_on(_prepared(connection), _changes(known, limit)))

    def reader(self, threads: Executor) -> HistoryReader:
        """For an event loop: see HistoryReader. `threads` connect."""
        return HistoryReader(Unthreaded(self._database, PREPARE, threads))

    def interactions(self, user: str) -> int:
        """How many interactions of the user were ever inserted, those of dropped months too."""
        query = sa.select(user_counts.c.events).where(user_counts.c.user_id == user)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none() or 0

    def export(self, user: str) -> list[dict[str, Any]]:
        """Every stored event of the user, detached months included, oldest first, as plain values."""
        with self._database.begin() as connection:
            stored = " UNION ALL ".join(STORED.format(table=table) for table in month_tables(connection))
            found = connection.execute(sa.text(f"{stored} ORDER BY time, key"), {"user": user}).mappings()
            return [{name: value for name, value in row.items() if name != "key"} for row in found]

    def recent_users(self, limit: int) -> list[str]:
        """Users with the newest events, for the console's front page."""
        query = sa.text("""
            SELECT user_id FROM (
                SELECT user_id, time FROM events WHERE user_id IS NOT NULL AND type LIKE 'interaction.%'
                ORDER BY time DESC LIMIT 2000
            ) newest GROUP BY user_id ORDER BY max(time) DESC, user_id LIMIT :limit
        """)
        with self._database.read() as connection:
            return list(connection.execute(query, {"limit": limit}).scalars())


class HistoryReader:
    """Reads histories from one event loop, one batch at a time, without a thread. Close it."""

    def __init__(self, connection: Unthreaded) -> None:
        self._connection = connection
        self.close = connection.close

    async def changed(self, known: Mapping[str, Versioned], limit: int, within_s: float) -> Changed:
        """As HistoryStore.changed. Raises DatabaseUnavailable, also when it takes longer than this."""
        return await self._connection.read(lambda: _changes(known, limit), within_s)


def _prepared(connection: sa.Connection) -> Any:
    cursor = connection.connection.cursor()
    if not connection.info.get("prepared"):
        cursor.execute(PREPARE)
        connection.info["prepared"] = True
    return cursor


def _changes(known: Mapping[str, Versioned], limit: int) -> Reading[Changed]:
    rows = yield CHANGED, (list(known), [one.version for one in known.values()], limit)
    found: Changed = {}
    again, long = [], []
    for (user, before), (version, told) in zip(known.items(), rows, strict=True):
        if version == before.version:
            continue
        own = [] if told is None else _told.decode(told)
        newest, events = own[0][0] if own else None, tuple([event for _, event in own])
        inserted = version - before.version if version and before.version and 0 < before.version < version else 0
        if 0 < inserted < len(own) and own[inserted][0] == before.newest:  # what is newer than that is all that is new
            found[user] = Versioned(version, _continued(before.history, events[:inserted], limit), newest)
        elif inserted and len(own) < limit:  # something came late, or was erased
            again.append(user)
        else:
            found[user] = Versioned(version, History(events, frozenset(event.item for event in events)), newest)
            long += [user] if len(events) >= limit else []
    touched = (yield TOUCHED, (long,)) if long else []
    for user, history in _whole(touched).items():
        whole = msgspec.structs.replace(history, events=found[user].history.events)
        found[user] = msgspec.structs.replace(found[user], history=whole)
    if again:
        found |= yield from _changes(dict.fromkeys(again, NEVER_READ), limit)
    return found


def _whole(touched: Sequence[tuple[Any, ...]]) -> dict[str, History]:
    """Histories without events, from the rows of TOUCHED."""
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for user, *row in touched:
        rows[user].append(tuple(row))
    return {
        user: History(
            (), frozenset(item for item, _, _ in own), _by_kind((item, kind) for item, kind, _ in own),
            frozenset(item for item, _, refused in own if refused),
        )
        for user, own in rows.items()
    }  # fmt: skip


def _continued(history: History, new: tuple[HistoryEvent, ...], limit: int) -> History:
    """A history after what was done since, newest first."""
    events, seen = (*new, *history.events), history.seen.union([event.item for event in new])
    if len(events) < limit:
        return History(events, seen)
    told = new if len(history.events) >= limit else events  # what `kinds` and `refused` do not hold yet
    kinds = dict(history.kinds)
    for kind, items in _by_kind((event.item, event.kind) for event in told).items():
        kinds[kind] = items.union(kinds.get(kind, ()))
    refused = history.refused.union(event.item for event in told if event.value is not None and event.value < 0)
    return History(events[:limit], seen, kinds, refused)


def _by_kind(done: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    kinds: dict[str, set[str]] = defaultdict(set)
    for item, kind in done:
        kinds[kind].add(item)
    return {kind: frozenset(items) for kind, items in kinds.items()}
