"""Reading dead letters, and remembering which were published again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.errors import NotFound
from core.store.database import Database
from core.store.mentions import letters_naming
from core.tables import consumer_offsets
from core.tables import dead_letters as table


@dataclass(frozen=True)
class BuriedMessage:
    """A dead letter as stored. `payload` is None for an erased user's, cut to the configured size otherwise."""

    number: int
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    payload: bytes | None
    payload_bytes: int
    payload_sha256: str
    headers: tuple[tuple[str, str], ...]
    replayed: bool
    at: datetime

    @property
    def whole(self) -> bool:
        """Whether all of the message was kept, so that it can be published again."""
        return self.payload is not None and len(self.payload) == self.payload_bytes


class DeadLetterStore:
    """Reads dead letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, limit: int = 50, reason: str | None = None, *, replayable: bool = False) -> Sequence[BuriedMessage]:
        """Newest first; `replayable` leaves out those replayed already or not kept whole."""
        query = sa.select(table).order_by(table.c.number.desc()).limit(limit)
        if reason is not None:
            query = query.where(table.c.reason == reason)
        if replayable:
            query = query.where(~table.c.replayed, sa.func.length(table.c.payload) == table.c.payload_bytes)
        with self._database.read() as connection:
            return [_message(row) for row in connection.execute(query)]

    def show(self, number: int) -> BuriedMessage:
        """One dead letter. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.number == number)).one_or_none()
        if row is None:
            raise NotFound(f"there is no dead letter number {number}")
        return _message(row)

    def naming(self, user: str) -> Sequence[BuriedMessage]:
        """Those that name the user, as far as they are kept, oldest first."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(table).where(table.c.number.in_(letters_naming(connection, user))))
            return sorted(map(_message, found), key=lambda one: one.number)

    def mark_replayed(self, numbers: Sequence[int]) -> None:
        """Remember that these were published again."""
        with self._database.begin() as connection:
            connection.execute(sa.update(table).where(table.c.number.in_(numbers)).values(replayed=True))

    def counts(self) -> dict[str, int]:
        """How many, by reason."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(table.c.reason, sa.func.count()).group_by(table.c.reason).order_by(table.c.reason)
            )
            return {reason: int(count) for reason, count in rows}

    def bad_between(self, topic_id: str, partition: int, start: int, end: int) -> int:
        """How many of the messages at offsets [start, end) are dead letters that nobody has replayed yet.

        Those of erased users do not count: there is nothing wrong with them.
        """
        query = sa.select(sa.func.count()).where(
            table.c.topic_id == topic_id, table.c.partition == partition, table.c.offset >= start, table.c.offset < end,
            ~table.c.replayed, table.c.reason != "erased_user",
        )  # fmt: skip
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def positions(self) -> Sequence[tuple[str, str, int, int]]:
        """(topic, topic id, partition, next offset) of everything ever consumed."""
        columns = (
            consumer_offsets.c.topic,
            consumer_offsets.c.topic_id,
            consumer_offsets.c.partition,
            consumer_offsets.c.next_offset,
        )
        with self._database.read() as connection:
            return [
                tuple(row) for row in connection.execute(sa.select(*columns).order_by(consumer_offsets.c.updated_at))
            ]


def _message(row: sa.Row[tuple[object, ...]]) -> BuriedMessage:
    values = dict(row._mapping)
    headers = tuple((name, value) for name, value in values.pop("headers"))
    payload = values.pop("payload")
    del values["topic_id"]
    return BuriedMessage(**values, headers=headers, payload=None if payload is None else bytes(payload))
