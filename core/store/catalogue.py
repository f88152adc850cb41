"""The catalogue and the users' attributes: last writer wins by event time, ties by the event's key (DESIGN I2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.events import Event, ItemChanged, ItemRemoved, UserChanged
from core.store.database import Database
from core.tables import item_counts, items, users

TXN = sa.text("pg_current_xact_id()::text::bigint")
ITEM_STATE = [name for name in items.c.keys() if name not in ("item_id", "txn")]  # noqa: SIM118 -- columns, not a dict


@dataclass(frozen=True)
class Item:
    """A catalogue item as Postgres holds it. `removed` items stay, so that an older change cannot bring them back."""

    item: str
    title: str
    description: str
    categories: tuple[str, ...]
    attributes: dict[str, Any]
    available: bool
    hidden: bool
    removed: bool
    published_at: datetime | None
    expires_at: datetime | None
    locale: str
    changed_at: datetime

    def servable(self, now: datetime) -> bool:
        """Whether it may be recommended at `now` (DESIGN I3)."""
        out = self.removed or self.hidden or not self.available
        early = self.published_at is not None and self.published_at > now
        return not (out or early or (self.expires_at is not None and self.expires_at <= now))


def upsert_items(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Apply item.changed and item.removed; an event older than what is stored changes nothing."""
    newest: dict[str, Event] = {}
    for event in sorted(events, key=lambda one: (one.time, one.key)):
        newest[event.body.item] = event  # type: ignore[union-attr]
    rows = [_item_row(item, event) for item, event in sorted(newest.items())]
    for row in _batches(rows):
        fresh = insert(items).values(row)
        newer = sa.tuple_(items.c.changed_at, items.c.changed_key) < sa.tuple_(
            fresh.excluded.changed_at, fresh.excluded.changed_key
        )
        changes = {name: fresh.excluded[name] for name in [*ITEM_STATE, "txn"]}
        connection.execute(fresh.on_conflict_do_update(index_elements=["item_id"], set_=changes, where=newer))


def upsert_users(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Apply user.changed; an event older than what is stored changes nothing."""
    newest: dict[str, tuple[Event, UserChanged]] = {}
    for event in sorted(events, key=lambda one: (one.time, one.key)):
        if isinstance(event.body, UserChanged):
            newest[event.body.user] = (event, event.body)
    rows = [
        {"user_id": user, "attributes": body.attributes, "changed_at": event.time, "changed_key": event.key}
        for user, (event, body) in sorted(newest.items())
    ]
    for batch in _batches(rows):
        fresh = insert(users).values(batch)
        newer = sa.tuple_(users.c.changed_at, users.c.changed_key) < sa.tuple_(
            fresh.excluded.changed_at, fresh.excluded.changed_key
        )
        changes = {name: fresh.excluded[name] for name in ("attributes", "changed_at", "changed_key")}
        connection.execute(fresh.on_conflict_do_update(index_elements=["user_id"], set_=changes, where=newer))


def _item_row(item: str, event: Event) -> dict[str, Any]:
    body = event.body
    if isinstance(body, ItemRemoved):
        body, removed = ItemChanged(item=item, available=False), True
    else:
        assert isinstance(body, ItemChanged)
        removed = False
    return {
        "item_id": item, "title": body.title, "description": body.description, "categories": list(body.categories),
        "attributes": body.attributes, "available": body.available, "hidden": body.hidden, "removed": removed,
        "published_at": body.published_at, "expires_at": body.expires_at, "locale": body.locale,
        "changed_at": event.time, "changed_key": event.key, "txn": TXN,
    }  # fmt: skip


def _batches(rows: list[dict[str, Any]], size: int = 500) -> list[list[dict[str, Any]]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Catalogue:
    """Reading items and users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def item(self, item: str) -> Item | None:
        """One item, removed ones included; None when never heard of."""
        found = self.items([item])
        return found[0] if found else None

    def items(self, ids: Sequence[str]) -> list[Item]:
        """The items with these ids, in one read; unknown ids are missing from the answer."""
        with self._database.read() as connection:
            wanted = items.c.item_id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Text)))
            return [item_from_row(row) for row in connection.execute(sa.select(items).where(wanted))]

    def changed_since(self, txn: int) -> list[Item]:
        """Items written by transactions from `txn` on; 0 for all. Remember EventStore.horizon() from BEFORE this read."""
        with self._database.read() as connection:
            return [item_from_row(row) for row in connection.execute(sa.select(items).where(items.c.txn >= txn))]

    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of every item that has some, removed ones left out."""
        query = sa.select(items.c.item_id, items.c.categories).where(
            ~items.c.removed, sa.func.cardinality(items.c.categories) > 0
        )
        with self._database.read() as connection:
            return {item: tuple(categories) for item, categories in connection.execute(query)}

    def latest(self, limit: int) -> list[Item]:
        """Newest published (or, where unpublished, newest changed) items."""
        order = sa.func.coalesce(items.c.published_at, items.c.changed_at).desc()
        with self._database.read() as connection:
            return [
                item_from_row(row)
                for row in connection.execute(sa.select(items).order_by(order, items.c.item_id).limit(limit))
            ]

    def popular(self, limit: int) -> list[tuple[str, int]]:
        """Items by number of interactions, most first: what is left when no model can be loaded."""
        total = sa.func.sum(item_counts.c.events)
        query = sa.select(item_counts.c.item_id, total).group_by(item_counts.c.item_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(total.desc(), item_counts.c.item_id).limit(limit))
            return [(item, int(count)) for item, count in rows]

    def user(self, user: str) -> dict[str, Any] | None:
        """A user's attributes; None when no user.changed was ever seen."""
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(users.c.attributes).where(users.c.user_id == user)
            ).scalar_one_or_none()
        return None if found is None else dict(found)

    def totals(self) -> dict[str, int]:
        """Interactions by kind, and the number of items and of items still in the catalogue: for people to look at."""
        with self._database.read() as connection:
            kinds = connection.execute(
                sa.select(item_counts.c.type, sa.func.sum(item_counts.c.events)).group_by(item_counts.c.type)
            )
            totals = {str(kind): int(count) for kind, count in kinds}
            known, live = connection.execute(
                sa.select(sa.func.count(), sa.func.count().filter(~items.c.removed)).select_from(items)
            ).one()
        return {**totals, "items": known, "items_live": live}


def item_from_row(row: Any) -> Item:
    """An Item from a row of the items table."""
    return Item(
        row.item_id, row.title, row.description, tuple(row.categories), row.attributes, row.available, row.hidden,
        row.removed, row.published_at, row.expires_at, row.locale, row.changed_at,
    )  # fmt: skip
