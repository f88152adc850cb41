"""Reading what a user did, at request time: one indexed read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.partitions import month_tables
from core.tables import user_counts

NEVER_READ = -1  # the version of a history that nothing is known of

# One statement, so that what is read and its version are of one moment. Histories of the version given are not looked at.
# The partial index (user_id, time DESC) serves; `key` makes the order of simultaneous events the same for everyone.
CHANGED = """
PREPARE changed_histories (text[], bigint[], int) AS
SELECT asked.user_id, counted.events, done.item_id, done.kind, done.time, done.value
FROM unnest($1, $2) WITH ORDINALITY AS asked (user_id, version, place)
LEFT JOIN user_counts AS counted USING (user_id)
LEFT JOIN LATERAL (
    SELECT item_id, substr(type, 13) AS kind, time, value, key FROM events
    WHERE events.user_id = asked.user_id AND counted.events IS DISTINCT FROM asked.version AND type LIKE 'interaction.%'
    ORDER BY time DESC, key DESC LIMIT $3
) AS done ON true ORDER BY asked.place, done.time DESC, done.key DESC
"""
TOUCHED = sa.text("""
SELECT DISTINCT user_id, item_id, substr(type, 13) AS kind, coalesce(value < 0, false) AS refused FROM events
WHERE user_id = ANY(:users) AND type LIKE 'interaction.%'
""")
STORED = """
SELECT source, id, type, time, item_id AS item, value, session, slate, position, data, key FROM {table}
WHERE user_id = :user
"""


class HistoryEvent(NamedTuple):
    """One thing a user did. `kind` is the interaction's: view, rating, ..."""

    item: str
    kind: str
    time: datetime
    value: float | None


@dataclass(frozen=True)
class History:
    """A user's newest interactions, newest first, and every item they ever touched.

    Of a user with more interactions than that, `kinds` has the items of all of them by kind, and `refused` those that were
    ever given a negative value; of others both are empty, for `events` says as much.
    """

    events: tuple[HistoryEvent, ...]
    seen: frozenset[str]
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Versioned:
    """A history and its version: see HistoryStore.changed."""

    version: int | None
    history: History


class HistoryStore:
    """Reads histories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, user: str, limit: int) -> History:
        """At most `limit` newest interactions. Only a user with more than that costs a second read, for the rest."""
        return self.changed({user: NEVER_READ}, limit)[user].history

    def changed(self, versions: Mapping[str, int | None], limit: int) -> dict[str, Versioned]:
        """The histories of many users in one read, as `history` gives each, but for those that are still of the version given:
        finding that out costs next to nothing. The version of a user not read before is NEVER_READ.

        Versions are how many interactions of the user were ever inserted, None where there is no such user: they change in
        the very transaction that inserts, or erases. Only the detaching of months changes a history and not its version.
        """
        return self._database.quickly(lambda connection: _changed(connection, versions, limit))

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


def _changed(connection: sa.Connection, versions: Mapping[str, int | None], limit: int) -> dict[str, Versioned]:
    cursor = connection.connection.cursor()
    if not connection.info.get("prepared"):
        cursor.execute(CHANGED)
        connection.info["prepared"] = True
    cursor.execute(
        "EXECUTE changed_histories (%s::text[], %s::bigint[], %s)", (list(versions), list(versions.values()), limit)
    )
    events: dict[str, list[HistoryEvent]] = {user: [] for user in versions}
    found: dict[str, int | None] = {}
    for user, version, item, kind, time, value in cursor.fetchall():
        found[user] = version
        if item is not None:
            events[user].append(HistoryEvent(item, kind, time, value))
    long = [user for user, own in events.items() if len(own) >= limit]
    whole: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(TOUCHED, {"users": long}) if long else ():
        whole[row.user_id].append(row)
    return {
        user: Versioned(found[user], _history(tuple(events[user]), whole.get(user)))
        for user, known in versions.items()
        if found[user] != known
    }


def _history(events: tuple[HistoryEvent, ...], touched: list[Any] | None) -> History:
    """`touched` are rows of all that the user ever touched, where `events` are not all."""
    if touched is None:
        return History(events, frozenset(event.item for event in events))
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in touched:
        kinds[row.kind].add(row.item_id)
    seen = frozenset(row.item_id for row in touched)
    refused = frozenset(row.item_id for row in touched if row.refused)
    return History(events, seen, {kind: frozenset(items) for kind, items in kinds.items()}, refused)
