"""Months of the event table: attached ahead, so that ingest never waits for a table to be made, and detached when old.

Which table holds which month changes under an exclusive advisory lock. Whoever needs every stored event, not only the
attached months, takes it shared (`month_tables`): no row is overlooked, or met twice, while it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa

from core.store.database import Database

DEFAULT = "events_default"
SWEEP_PAGES = 1_000  # 8 MB of the default partition are looked through in one transaction

# A detached month is a table of that name that is no partition, whoever detached it.
TABLES = """
SELECT relname AS name, relispartition AS attached, coalesce(pg_total_relation_size(oid), 0) AS size_bytes FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
AND relname ~ '^events_([1-9][0-9]{3}_(0[1-9]|1[0-2])|default)$' ORDER BY relname
"""

LOCK = "SELECT pg_advisory_xact_lock{shared}(hashtextextended('months of ' || current_schema(), 0))"
# Whoever waits for a lock on `events` makes all others wait behind it: not for long, a later run tries again.
PATIENCE = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = 0"

PAGES = f"SELECT pg_relation_size('{DEFAULT}') / current_setting('block_size')::int"


@dataclass(frozen=True)
class EventTable:
    """A table that holds events: those of the month that begins at `first`, or (None) those that no month holds."""

    name: str
    first: date | None
    attached: bool
    size_bytes: int


class PartitionStore:
    """Makes, lists, detaches and drops the months of `events`.

    Every change is a short transaction of its own. Raises DatabaseUnavailable when a lock is not had within a second:
    what was done until then stays done, and a later run does the rest.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def tables(self) -> list[EventTable]:
        """Every table that holds events, in order of their names, the default partition last."""
        with self._database.read() as connection:
            return _tables(connection)

    def partitions(self) -> list[str]:
        """Names of the attached partitions, the default one included."""
        return [one.name for one in self.tables() if one.attached]

    def attach_ahead(self, months: int, now: datetime | None = None) -> list[str]:
        """Attach this month and the next `months`. Returns the names of those that were not.

        Rows that fell into the default partition meanwhile are moved.
        """
        this = (now or datetime.now(UTC)).date().replace(day=1)
        existing = set(self.partitions())
        ahead = [month(this, number) for number in range(months + 1)]
        return [self._attach(first) for first in ahead if _name(first) not in existing]

    def attach_from(self, limit: date) -> list[str]:
        """Attach every detached month from `limit` on again. Returns their names."""
        again = [one.first for one in self.tables() if not one.attached and one.first and one.first >= limit]
        return [self._attach(first) for first in again]

    def detach_before(self, limit: date) -> list[str]:
        """Detach every attached month before `limit`, the first of a month. Returns their names; the tables stay."""
        return self._each(
            lambda one: one.attached and one.first is not None and one.first < limit,
            "ALTER TABLE events DETACH PARTITION {name}",
        )

    def sweep_before(self, limit: date) -> int:
        """Move what the default partition holds from before `limit` to tables of its months, as if it had come before
        they were detached. Returns how many rows.
        """
        moved = 0
        with self._database.read() as connection:
            pages = int(connection.exec_driver_sql(PAGES).scalar_one())
        for page in range(0, pages, SWEEP_PAGES):
            rows = f"ctid >= '({page},0)' AND ctid < '({page + SWEEP_PAGES},0)'"
            months = (
                f"SELECT DISTINCT date_trunc('month', time)::date FROM {DEFAULT} WHERE time < '{limit}+00' AND {rows}"
            )
            with self._changing() as connection:
                for first in connection.exec_driver_sql(months).scalars().all():
                    moved += _move(connection, first, rows)
        return moved

    def drop_before(self, limit: date) -> list[str]:
        """Drop every detached month before `limit`, for good. Returns their names."""
        return self._each(
            lambda one: not one.attached and one.first is not None and one.first < limit, "DROP TABLE {name}"
        )

    def _each(self, wanted: Callable[[EventTable], bool], statement: str) -> list[str]:
        changed = []
        for name in [one.name for one in self.tables() if wanted(one)]:
            with self._changing() as connection:
                if any(one.name == name and wanted(one) for one in _tables(connection)):  # nobody was faster
                    connection.exec_driver_sql(statement.format(name=name))
                    changed.append(name)
        return changed

    def _attach(self, first: date) -> str:
        name, bounds = _name(first), _bounds(first)
        with self._changing() as connection:
            _create(connection, name)
            # Proven before anyone has to wait: the check spares Postgres the scan when the table is attached.
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD CONSTRAINT {name}_bounds CHECK ({bounds})")
            # Writers wait at the root: one that had chosen the default partition already would find its row refused there.
            connection.exec_driver_sql("LOCK TABLE ONLY events IN SHARE ROW EXCLUSIVE MODE")
            _move(connection, first)
            after = month(first, 1)
            connection.exec_driver_sql(
                f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{first}+00') TO ('{after}+00')"
            )
            connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT {name}_bounds")
        return name

    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        """A transaction that alone may change which table holds which month."""
        with self._database.begin() as connection:
            connection.exec_driver_sql(PATIENCE)
            connection.exec_driver_sql(LOCK.format(shared=""))
            yield connection


def month(first: date, number: int) -> date:
    """The first of the month that comes `number` months after the one of `first` (or before, when negative)."""
    months = first.year * 12 + first.month - 1 + number
    return date(months // 12, months % 12 + 1, 1)


def month_tables(connection: sa.Connection) -> list[str]:
    """`events` and the names of the detached months: together every stored event, once, until the transaction ends."""
    connection.exec_driver_sql(LOCK.format(shared="_shared"))
    return ["events", *(one.name for one in _tables(connection) if not one.attached)]


def _tables(connection: sa.Connection) -> list[EventTable]:
    found = connection.exec_driver_sql(TABLES)
    return [EventTable(row.name, _first(row.name), row.attached, row.size_bytes) for row in found]


def _first(name: str) -> date | None:
    return None if name == DEFAULT else date(int(name[7:11]), int(name[12:]), 1)


# Identifiers and bounds come from dates and numbers alone: DDL takes no parameters.


def _name(first: date) -> str:
    return f"events_{first.year}_{first.month:02d}"


def _bounds(first: date) -> str:
    return f"time >= '{first}+00' AND time < '{month(first, 1)}+00'"


def _create(connection: sa.Connection, name: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
    )


def _move(connection: sa.Connection, first: date, rows: str = "true") -> int:
    """Move a month's rows, of those named, from the default partition to a table of its own. Returns how many."""
    _create(connection, _name(first))
    moved = f"DELETE FROM {DEFAULT} WHERE {_bounds(first)} AND {rows} RETURNING *"
    return connection.exec_driver_sql(
        f"WITH moved AS ({moved}) INSERT INTO {_name(first)} SELECT * FROM moved"
    ).rowcount
