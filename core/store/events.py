"""Writing events: claim a partition, append a batch in one fenced, idempotent transaction (DESIGN I1, I2, I7)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO

import msgspec
import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.errors import Fenced, InvalidEvent
from core.events import Event, Impression, Interaction, ItemChanged, ItemRemoved, UserChanged, UserErased
from core.store.catalogue import upsert_items, upsert_users
from core.store.database import Database, sql_state
from core.store.mentions import blank_letters, words
from core.store.partitions import month_tables
from core.store.rows import RowWriter
from core.tables import consumer_offsets, dead_letters, erased_users

ADVANCE = """
UPDATE consumer_offsets AS o SET next_offset = a.next_offset, updated_at = now()
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS a (topic_id, partition, epoch, next_offset)
WHERE (o.topic_id, o.partition, o.epoch) = (a.topic_id, a.partition, a.epoch) AND o.next_offset <= a.next_offset
RETURNING o.topic_id, o.partition
"""

# Counts go down by what was really deleted, so that erasing before or after the events leaves the same tables. The
# identities go too: from now on it is the user's hash that refuses a replay.
ERASE_ROWS = """
WITH gone AS (
    DELETE FROM {table} WHERE user_id = ANY(:users) RETURNING key, item_id, type
), forgotten AS (
    DELETE FROM event_keys USING gone WHERE event_keys.key = gone.key
), lost AS (
    SELECT item_id, type, count(*) AS events FROM gone
    WHERE item_id IS NOT NULL AND type LIKE 'interaction.%' GROUP BY item_id, type ORDER BY item_id, type
)
UPDATE item_counts c SET events = c.events - lost.events FROM lost WHERE c.item_id = lost.item_id AND c.type = lost.type
"""


# Classes of SQLSTATE that say "not this value": data exception, constraint violation, program limit exceeded.
REFUSALS = ("22", "23", "54")


class Coordinates(msgspec.Struct, frozen=True, gc=False):
    """Where a message stands in the stream."""

    topic: str
    topic_id: str
    partition: int
    offset: int


class Received(msgspec.Struct, frozen=True, gc=False):
    """An accepted event and where it came from."""

    event: Event
    at: Coordinates
    payload_bytes: int


@dataclass(frozen=True)
class DeadLetter:
    """A refused message: where, why, and as much of it as is kept. `user` is whom it is about, where that can be told:
    an erased user's keeps nothing.
    """

    at: Coordinates
    reason: str
    detail: str
    payload: bytes | None
    payload_bytes: int
    payload_sha256: str
    headers: tuple[tuple[str, str], ...] = ()
    user: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to write one partition: the offset to read from, and the epoch that proves the right."""

    topic: str
    topic_id: str
    partition: int
    epoch: int
    next_offset: int


@dataclass(frozen=True)
class Advance:
    """After a batch the partition continues at `next_offset`, if `claim` is still the newest."""

    claim: Claim
    next_offset: int


@dataclass(frozen=True)
class Appended:
    """What one transaction changed. `inserted` by family (interaction, item, ...); erased are those refused for I7."""

    inserted: dict[str, int]
    duplicates: int
    erased: int


class EventStore:
    """The event tables. `secret` keys the hashes of erased users."""

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._secret = secret.encode()
        self._rows = RowWriter()

    def claim(self, topic: str, topic_id: str, partition: int, *, start: int = 0) -> Claim:
        """Take a partition over: raise its epoch, which shuts out whoever held it, and learn where to go on."""
        return self._take(topic, topic_id, partition, start, {})

    def rewind(self, topic: str, topic_id: str, partition: int, offset: int) -> Claim:
        """Take a partition over and have it read from `offset` on, be that back or ahead of where it was."""
        return self._take(topic, topic_id, partition, offset, {"next_offset": offset})

    def confirm(self, claim: Claim) -> Claim:
        """The claim at the offset really reached: after a COMMIT whose answer was lost, only Postgres knows.

        Waits for a transaction of ours that is still under way there. Raises Fenced when the partition has a newer owner.
        """
        query = sa.select(consumer_offsets.c.next_offset).where(
            consumer_offsets.c.topic_id == claim.topic_id,
            consumer_offsets.c.partition == claim.partition,
            consumer_offsets.c.epoch == claim.epoch,
        )
        with self._database.begin() as connection:
            next_offset = connection.execute(query.with_for_update()).scalar_one_or_none()
        if next_offset is None:
            raise _fenced(claim)
        return replace(claim, next_offset=next_offset)

    def append(self, batch: Sequence[Received], dead: Sequence[DeadLetter], advances: Sequence[Advance]) -> Appended:
        """Write events, dead letters, counts, catalogue and offsets in ONE transaction.

        Raises, with nothing written, Fenced when any partition has a newer owner and InvalidEvent when Postgres refuses
        some value in the batch; DatabaseUnavailable when the outcome cannot be known (the caller confirms its claims
        and repeats: repeating is harmless).
        """
        try:
            with self._database.begin() as connection:
                self._advance(connection, advances)
                accepted, letters = self._without_erased(connection, batch, dead)
                inserted = self._rows.insert(_cursor(connection), [one.event for one in accepted])
                self._change(connection, accepted)
                self._bury(connection, letters)
        except (sa.exc.DBAPIError, psycopg2.Error) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            if sql_state(cause)[:2] not in REFUSALS:
                raise
            raise InvalidEvent("refused_by_database", str(cause).splitlines()[0]) from error
        unique = sum(inserted.values())
        return Appended(inserted, len(accepted) - unique, len(batch) - len(accepted))

    def settle(self, connection: sa.Connection, dead: Sequence[DeadLetter], advances: Sequence[Advance]) -> None:
        """Bury letters and move offsets within the caller's transaction, for other topics than the events'. Raises Fenced."""
        self._advance(connection, advances)
        self._bury(connection, dead)

    def user_hash(self, user: str) -> bytes:
        """The keyed hash that remembers an erased user."""
        return hmac.digest(self._secret, user.encode(), "sha256")

    def erased_hashes(self, since_txn: int = 0) -> set[bytes]:
        """Hashes of users erased by transactions from `since_txn` on."""
        with self._database.read() as connection:
            return {
                bytes(row[0])
                for row in connection.execute(
                    sa.select(erased_users.c.user_hash).where(erased_users.c.txn >= since_txn)
                )
            }

    def lineage(self) -> str:
        """Identifies this very database and schema: transaction numbers mean nothing in another."""
        query = "SELECT system_identifier::text || '-' || current_schema()::regnamespace::oid::text FROM pg_control_system()"
        with self._database.read() as connection:
            return str(connection.execute(sa.text(query)).scalar_one())

    def horizon(self) -> int:
        """Every transaction below this one is settled: rows with txn < horizon can neither appear nor vanish later."""
        with self._database.read() as connection:
            return int(
                connection.execute(sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")).scalar_one()
            )

    def copy_interactions(self, from_txn: int, to_txn: int, out: BinaryIO) -> None:
        """Write interactions of transactions [from_txn, to_txn), of detached months too, to `out` as CSV:
        key,user,item,kind,value,time (epoch us).
        """
        with self._database.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            selects = (
                "SELECT key, user_id, item_id, substr(type, 13), value, (extract(epoch FROM time) * 1000000)::bigint "
                f"FROM {table} WHERE txn >= {int(from_txn)} AND txn < {int(to_txn)} AND type LIKE 'interaction.%'"
                for table in month_tables(connection)
            )
            _cursor(connection).copy_expert(f"COPY ({' UNION ALL '.join(selects)}) TO STDOUT (FORMAT csv)", out)

    def _take(self, topic: str, topic_id: str, partition: int, offset: int, moved: dict[str, int]) -> Claim:
        fresh = insert(consumer_offsets).values(
            topic=topic, topic_id=topic_id, partition=partition, next_offset=offset, epoch=1
        )
        statement = fresh.on_conflict_do_update(
            index_elements=["topic_id", "partition"],
            set_={"epoch": consumer_offsets.c.epoch + 1, "updated_at": sa.func.now(), **moved},
        ).returning(consumer_offsets.c.epoch, consumer_offsets.c.next_offset)
        with self._database.begin() as connection:
            epoch, next_offset = connection.execute(statement).one()
        return Claim(topic, topic_id, partition, epoch, next_offset)

    def _advance(self, connection: sa.Connection, advances: Sequence[Advance]) -> None:
        if not advances:
            return
        claims = [one.claim for one in advances]
        cursor = _cursor(connection)
        cursor.execute(
            ADVANCE,
            (
                [one.topic_id for one in claims], [one.partition for one in claims], [one.epoch for one in claims],
                [one.next_offset for one in advances],
            ),
        )  # fmt: skip
        advanced = set(cursor.fetchall())
        for claim in claims:
            if (claim.topic_id, claim.partition) not in advanced:
                raise _fenced(claim)

    def _without_erased(
        self, connection: sa.Connection, batch: Sequence[Received], dead: Sequence[DeadLetter]
    ) -> tuple[Sequence[Received], Sequence[DeadLetter]]:
        """Record this batch's erasures; then what anyone ever erased did is only a dead letter that says nothing."""
        erasures = {one.event.body.user: one.event.time for one in batch if isinstance(one.event.body, UserErased)}
        # An eraser waits for appends in flight and later appends wait for it, so none slips a row past the deletion.
        mode = "EXCLUSIVE" if erasures else "ROW SHARE"
        cursor = _cursor(connection)
        cursor.execute(f"LOCK TABLE erased_users IN {mode} MODE")
        for user, at in sorted(erasures.items()):
            self._erase(connection, user, at)
        cursor.execute("SELECT EXISTS (SELECT FROM erased_users)")
        if cursor.fetchone() == (False,):
            return batch, dead
        named = [words(letter.payload, letter.headers) | ({letter.user} if letter.user else set()) for letter in dead]
        owners = {_owner(one.event) for one in batch}.union(*named)
        users = {self.user_hash(user): user for user in owners if user is not None}
        cursor.execute("SELECT user_hash FROM erased_users WHERE user_hash = ANY(%s::bytea[])", (list(users),))
        erased = {users[bytes(row[0])] for row in cursor.fetchall()}
        kept = [one for one in batch if _owner(one.event) not in erased]
        dropped = [one for one in batch if _owner(one.event) in erased]
        letters = [_silenced(one) if erased & names else one for one, names in zip(dead, named, strict=True)]
        return kept, letters + [DeadLetter(one.at, "erased_user", "", None, one.payload_bytes, "") for one in dropped]

    def _erase(self, connection: sa.Connection, user: str, at: datetime) -> None:
        connection.execute(
            sa.text(
                "INSERT INTO erased_users VALUES (:hash, :at, pg_current_xact_id()::text::bigint) "
                "ON CONFLICT (user_hash) DO UPDATE SET erased_at = least(erased_users.erased_at, excluded.erased_at)"
            ),
            {"hash": self.user_hash(user), "at": at},
        )
        for table in month_tables(connection):
            connection.execute(sa.text(ERASE_ROWS.format(table=table)), {"users": [user]})
        connection.execute(sa.text("DELETE FROM item_counts WHERE events = 0"))
        connection.execute(sa.text("DELETE FROM user_counts WHERE user_id = :user"), {"user": user})
        connection.execute(sa.text("DELETE FROM users WHERE user_id = :user"), {"user": user})
        blank_letters(connection, user)

    def _change(self, connection: sa.Connection, batch: Sequence[Received]) -> None:
        events = [one.event for one in batch if not isinstance(one.event.body, Interaction)]
        upsert_items(connection, [event for event in events if isinstance(event.body, ItemChanged | ItemRemoved)])
        upsert_users(connection, [event for event in events if isinstance(event.body, UserChanged)])

    def _bury(self, connection: sa.Connection, dead: Sequence[DeadLetter]) -> None:
        if dead:
            rows = [
                {
                    "topic": one.at.topic, "topic_id": one.at.topic_id, "partition": one.at.partition, "offset": one.at.offset,
                    "reason": one.reason, "detail": one.detail.replace("\0", "\\0")[:2000], "payload": one.payload,
                    "payload_bytes": one.payload_bytes, "payload_sha256": one.payload_sha256, "headers": list(one.headers),
                }
                for one in dead
            ]  # fmt: skip
            connection.execute(insert(dead_letters).on_conflict_do_nothing().returning(dead_letters.c.number), rows)


def _fenced(claim: Claim) -> Fenced:
    return Fenced(f"{claim.topic}[{claim.partition}]: epoch {claim.epoch} is no longer the owner's")


def _silenced(letter: DeadLetter) -> DeadLetter:
    return replace(letter, detail="", payload=None, payload_sha256="", headers=(), user=None)


def _owner(event: Event) -> str | None:
    """The user an event is about; None for catalogue events, anonymous impressions and erasures."""
    return event.body.user if isinstance(event.body, Interaction | Impression | UserChanged) else None


def _cursor(connection: sa.Connection) -> Any:
    """The psycopg2 cursor below: COPY has no SQLAlchemy form."""
    return connection.connection.cursor()
