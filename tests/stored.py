"""Events straight into a real Postgres, for tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import sqlalchemy as sa

from core.events import (
    Body,
    Event,
    Interaction,
    type_of,
)
from core.store import Store
from core.store.events import Coordinates, DeadLetter, Received

NOW = datetime.now(UTC).replace(microsecond=0)
TOPIC = "t.events"


def received(id: str, body: Body, ago_s: float = 0) -> Received:
    event = Event(id, "/t", type_of(body), NOW - timedelta(seconds=ago_s), body)
    return Received(event, Coordinates(TOPIC, "topic-1", 0, abs(hash(id)) % 10**9), 100)


def view(id: str, user: str = "u1", item: str = "i1", ago_s: float = 0, **more: Any) -> Received:
    return received(id, Interaction(user=user, item=item, kind="view", **more), ago_s)


def append(store: Store, *batch: Received, dead: Sequence[DeadLetter] = ()) -> dict[str, int]:
    """Append outside any partition."""
    return store.events.append(batch, dead, []).inserted


def ask(store: Store, query: str) -> list[Any]:
    with store.database.read() as connection:
        return list(connection.execute(sa.text(query)))


def ask_admin(store: Store, statement: str) -> None:
    """A statement on a connection of the test's own."""
    url = store.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url, options=f"-csearch_path={store.database.namespace}")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
