"""The catalogue and the users' attributes: last writer wins by event time, ties by the event's key (DESIGN I2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa
from psycopg2.extensions import BYTES, register_type  # type: ignore[import-untyped]

from core.events import Event, ItemChanged, ItemRemoved, UserChanged
from core.store.database import Database, sql_state
from core.tables import item_counts, items, users

TXN = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
ROWS_AT_ONCE = 2_000
READ_AT_ONCE = 5_000
# A line of JSON each, in the order of Item's fields: read many times faster than rows of twelve columns.
LINE = """
CAST(json_build_array(item_id, available, hidden, removed, published_at, expires_at, changed_at, categories,
                      title, description, attributes, locale) AS text)
"""
CHANGED = f"SELECT {LINE} FROM items WHERE txn >= %s"
# Of this very table, and since when its server has run.
SOURCE = """
SELECT concat_ws('-', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()),
                 CAST(CAST('items' AS regclass) AS oid), pg_relation_filenode('items')),
       CAST(pg_postmaster_start_time() AS text)
FROM pg_control_system()
"""
REFUSED = "42501"  # insufficient_privilege


class ItemHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What decides whether an item may be shown, and to whom: all that a server must know of every item at its start."""

    item: str
    available: bool
    hidden: bool
    removed: bool
    published_at: datetime | None
    expires_at: datetime | None
    changed_at: datetime
    categories: tuple[str, ...]


class Item(ItemHead, frozen=True, array_like=True, gc=False):
    """A catalogue item as Postgres holds it. `removed` items stay, so that an older change cannot bring them back."""

    title: str
    description: str
    attributes: dict[str, Any]
    locale: str

    @property
    def text(self) -> str:
        """What is written about it, as models read it."""
        return " ".join([self.title, *self.categories, self.description])

    def servable(self, now: datetime) -> bool:
        """Whether it may be recommended at `now` (DESIGN I3)."""
        out = self.removed or self.hidden or not self.available
        early = self.published_at is not None and self.published_at > now
        return not (out or early or (self.expires_at is not None and self.expires_at <= now))


@dataclass(frozen=True)
class Source:
    """The very table that items were read from (`place`: cluster, database, table and its file), and since when its server has
    run (`started`)."""

    place: str
    started: str


def source_of(connection: sa.Connection) -> Source | None:
    """What `connection` reads items from; None where Postgres may not say so to this user."""
    try:
        with connection.begin_nested():  # a refusal ends no more than this
            return Source(*connection.exec_driver_sql(SOURCE).one())
    except sa.exc.ProgrammingError as error:
        if sql_state(error.orig) != REFUSED:
            raise
        return None


def lines_of(
    connection: sa.Connection, statement: str, values: tuple[object, ...], take: Callable[[bytes], object],
    cursor_name: str | None = None,
) -> None:  # fmt: skip
    """Rows of one LINE each: `take` is called with many lines at a time. A named cursor holds no more than these."""
    # psycopg2's: SQLAlchemy has no such bytes. Of COPY each line would be a turn of all threads.
    cursor: Any = connection.connection.cursor(cursor_name)
    register_type(BYTES, cursor)
    cursor.execute(statement, values)
    while rows := cursor.fetchmany(READ_AT_ONCE):
        take(b"\n".join([*(line for (line,) in rows), b""]))


read_lines = msgspec.json.Decoder(Item).decode_lines


def upsert_items(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Apply item.changed and item.removed; an event older than what is stored changes nothing."""
    newest = {event.body.item: event for event in _oldest_first(events)}  # type: ignore[union-attr]
    _upsert(connection, items, [_item_row(item, event) for item, event in sorted(newest.items())])


def upsert_users(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Apply user.changed; an event older than what is stored changes nothing."""
    newest = {event.body.user: event for event in _oldest_first(events) if isinstance(event.body, UserChanged)}
    _upsert(connection, users, [_user_row(user, event) for user, event in sorted(newest.items())])


def _oldest_first(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda one: (one.time, one.key))


def _upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that are newer than those they replace. They go as one JSON text: a parameter for each value costs
    SQLAlchemy and Postgres ten times as much."""
    statement = _upsert_statement(table, connection.dialect)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(statement, {"rows": json.dumps(rows[start : start + ROWS_AT_ONCE], default=str)})


@cache
def _upsert_statement(table: sa.Table, dialect: sa.Dialect) -> sa.TextClause:
    (key,) = table.primary_key.columns.keys()
    given = {column.name: column.type.compile(dialect) for column in table.c if column.name != "txn"}
    written = {**{name: name for name in given}, **({"txn": TXN} if "txn" in table.c else {})}
    changes = ", ".join(f"{name} = excluded.{name}" for name in written if name != key)
    return sa.text(f"""
        INSERT INTO {table.name} ({", ".join(written)}) SELECT {", ".join(written.values())}
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given ({", ".join(f"{name} {kind}" for name, kind in given.items())})
        ON CONFLICT ({key}) DO UPDATE SET {changes}
        WHERE ({table.name}.changed_at, {table.name}.changed_key) < (excluded.changed_at, excluded.changed_key)
    """)


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
        "changed_at": event.time, "changed_key": event.key,
    }  # fmt: skip


def _user_row(user: str, event: Event) -> dict[str, Any]:
    assert isinstance(event.body, UserChanged)
    return {
        "user_id": user, "attributes": event.body.attributes, "changed_at": event.time, "changed_key": event.key
    }  # fmt: skip


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
        found: list[Item] = []

        def take(part: bytes) -> None:
            found.extend(read_lines(part))

        if txn:
            self.lines_since(txn, take)
        else:
            self.all_lines(take)
        return found

    def lines_since(self, txn: int, take: Callable[[bytes], object]) -> None:
        """As `changed_since`, each item a line of JSON: `take` is called with many lines at a time."""
        with self._database.begin() as connection:
            lines_of(connection, CHANGED, (txn,), take)

    def all_lines(self, take: Callable[[bytes], object]) -> Source | None:
        """All items, which may be millions, as `lines_since`, and where they were read from, if Postgres may say so."""
        with self._database.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL cursor_tuple_fraction = 1")
            lines_of(connection, CHANGED, (0,), take, "items")
            return source_of(connection)  # the table is locked against being made anew since it was read

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
        row.item_id, row.available, row.hidden, row.removed, row.published_at, row.expires_at, row.changed_at,
        tuple(row.categories), row.title, row.description, row.attributes, row.locale,
    )  # fmt: skip
