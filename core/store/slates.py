"""Slates: what was shown, what became of it, and how often each source of each surface was followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.store.database import Database

MOST_EVENTS = 1000

# Slates are not indexed, so that ingest need not keep an index for them. The times leave out all other months, and with a
# user the index (user_id, time DESC) finds the rows; without one the months are read through.
OF_SLATE = """
SELECT source, type, time, user_id, item_id, value, session, position, data FROM events
WHERE slate = :slate AND time >= :since AND time < :until{of_user} ORDER BY time, key LIMIT :limit
"""

# A slate's items are numbered beside its sources. Followed is an item with an interaction that carries the slate's token.
CLICK_THROUGH = sa.text("""
WITH shown AS (
    SELECT slate, data -> 'context' ->> 'surface' AS surface, sources.name AS source, items.item
    FROM events,
        jsonb_array_elements_text(data -> 'items') WITH ORDINALITY AS items (item, place),
        jsonb_array_elements_text(
            CASE jsonb_typeof(data -> 'context' -> 'sources') WHEN 'array' THEN data -> 'context' -> 'sources' ELSE '[]' END
        ) WITH ORDINALITY AS sources (name, place)
    WHERE type = 'impression' AND events.source = :publisher AND time >= :since AND time < :until
        AND items.place = sources.place
), followed AS (
    SELECT DISTINCT slate, item_id FROM events
    WHERE slate IS NOT NULL AND time >= :since AND type = ANY (:types)
)
SELECT surface, source, count(*) AS shown, count(followed.slate) AS followed
FROM shown LEFT JOIN followed ON followed.slate = shown.slate AND followed.item_id = shown.item
GROUP BY surface, source ORDER BY surface, source
""")


@dataclass(frozen=True)
class SlateEvent:
    """An event with a slate's token, its columns as they are stored. `source` is who sent it."""

    source: str
    type: str
    time: datetime
    user: str | None
    item: str | None
    value: float | None
    session: str | None
    position: int | None
    data: dict[str, Any]


@dataclass(frozen=True)
class Followed:
    """How many items a source brought to a surface, and how many of them were followed."""

    surface: str
    source: str
    shown: int
    followed: int


class SlateStore:
    """Reads slates and what joins them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def events(self, slate: str, since: datetime, until: datetime, user: str | None = None) -> list[SlateEvent]:
        """Events with this token, the slate's own impression among them, oldest first: MOST_EVENTS + 1 at most.

        With the user it is one indexed read, without it all events of these months are looked at.
        """
        query = sa.text(OF_SLATE.format(of_user="" if user is None else " AND user_id = :user"))
        values = {"slate": slate, "since": since, "until": until, "limit": MOST_EVENTS + 1}
        with self._database.read() as connection:
            rows = connection.execute(query, values if user is None else {**values, "user": user}).all()
        return [
            SlateEvent(
                row.source, row.type, row.time, row.user_id, row.item_id, row.value, row.session, row.position,
                row.data or {},
            )
            for row in rows
        ]  # fmt: skip

    def click_through(self, publisher: str, since: datetime, until: datetime, kinds: Sequence[str]) -> list[Followed]:
        """Of slates sent by `publisher` in this time: items shown by surface and source, and those followed by an interaction
        of these kinds until now. Reads all events of these months."""
        types = [f"interaction.{kind}" for kind in kinds]
        values = {"publisher": publisher, "since": since, "until": until, "types": types}
        with self._database.read() as connection:
            rows = connection.execute(CLICK_THROUGH, values).all()
        return [Followed(row.surface or "", row.source, row.shown, row.followed) for row in rows]
