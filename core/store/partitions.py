"""Months of the event table: attached ahead, so that ingest never waits for a table to be made."""

from __future__ import annotations

from datetime import UTC, date, datetime

import sqlalchemy as sa

from core.store.database import Database

MONTHS = sa.text("""
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass ORDER BY c.relname
""")


class PartitionStore:
    """Makes and lists the partitions of `events`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def partitions(self) -> list[str]:
        """Names of the attached partitions, the default one included."""
        with self._database.read() as connection:
            return list(connection.execute(MONTHS).scalars())

    def attach_ahead(self, months: int, now: datetime | None = None) -> list[str]:
        """Attach this month and the next `months`, each in its own short transaction. Returns the names made.

        Rows that fell into the default partition meanwhile are moved. Raises DatabaseUnavailable when a lock is not
        had within 5 s: a later run tries again.
        """
        today = (now or datetime.now(UTC)).date()
        first = date(today.year, today.month, 1)
        made, existing = [], set(self.partitions())
        for _ in range(months + 1):
            after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
            name = f"events_{first:%Y_%m}"
            if name not in existing:
                self._attach(name, first, after)
                made.append(name)
            first = after
        return made

    def _attach(self, name: str, first: date, after: date) -> None:
        # Identifiers and bounds come from dates alone: DDL takes no parameters.
        bounds = f"time >= '{first:%Y-%m-%d}+00' AND time < '{after:%Y-%m-%d}+00'"
        with self._database.begin() as connection:
            for statement in (
                "SET LOCAL lock_timeout = '5s'",
                "LOCK TABLE events_default IN SHARE ROW EXCLUSIVE MODE",
                f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)",
                f"ALTER TABLE {name} ADD CONSTRAINT {name}_bounds CHECK ({bounds})",
                f"WITH moved AS (DELETE FROM events_default WHERE {bounds} RETURNING *) INSERT INTO {name} SELECT * FROM moved",
                f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{first:%Y-%m-%d}+00') TO ('{after:%Y-%m-%d}+00')",
                f"ALTER TABLE {name} DROP CONSTRAINT {name}_bounds",
            ):
                connection.exec_driver_sql(statement)
