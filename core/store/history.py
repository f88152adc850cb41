"""Reading what a user did, at request time: one indexed read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.store.database import Database
from core.store.partitions import month_tables
from core.tables import user_counts

# The partial index (user_id, time DESC) serves both; `key` makes the order of simultaneous events the same for everyone.
NEWEST = sa.text("""
SELECT item_id, substr(type, 13) AS kind, time, value FROM events
WHERE user_id = :user AND type LIKE 'interaction.%' ORDER BY time DESC, key DESC LIMIT :limit
""")
SEEN = sa.text("SELECT DISTINCT item_id FROM events WHERE user_id = :user AND type LIKE 'interaction.%'")
STORED = """
SELECT source, id, type, time, item_id AS item, value, session, slate, position, data, key FROM {table}
WHERE user_id = :user
"""


@dataclass(frozen=True)
class HistoryEvent:
    """One thing a user did. `kind` is the interaction's: view, rating, ..."""

    item: str
    kind: str
    time: datetime
    value: float | None


@dataclass(frozen=True)
class History:
    """A user's newest interactions, newest first, and every item they ever touched."""

    events: tuple[HistoryEvent, ...]
    seen: frozenset[str]


class HistoryStore:
    """Reads histories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, user: str, limit: int) -> History:
        """At most `limit` newest interactions. Only a user with more than that costs a second read, for `seen`."""
        with self._database.read() as connection:
            rows = connection.execute(NEWEST, {"user": user, "limit": limit}).all()
            events = tuple(HistoryEvent(row.item_id, row.kind, row.time, row.value) for row in rows)
            seen = frozenset(event.item for event in events)
            if len(events) == limit:
                seen = frozenset(connection.execute(SEEN, {"user": user}).scalars())
        return History(events, seen)

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
