"""The stretches of histories around new interactions: what counts of steps are brought up to date from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import sqlalchemy as sa

from core.store.database import Database
from core.store.partitions import month_tables

COLUMNS = "key, user_id, item_id, type, value, time, txn"
# The index (user_id, time DESC) serves both halves, and the BRIN index on txn finds what is new.
STRETCHES = """
COPY (
WITH fresh AS MATERIALIZED (
    SELECT user_id, min(time) AS since FROM {stored} AS stored
    WHERE txn >= %(since)s AND txn < %(until)s AND type LIKE 'interaction.%%' GROUP BY user_id
)
SELECT key, stretch.user_id, item_id, substr(type, 13), value, (extract(epoch FROM time) * 1000000)::bigint,
    (txn >= %(since)s)::int
FROM fresh CROSS JOIN LATERAL (
    (SELECT {columns} FROM {stored} AS stored
     WHERE stored.user_id = fresh.user_id AND time >= fresh.since AND txn < %(until)s AND type LIKE 'interaction.%%')
    UNION ALL
    (SELECT {columns} FROM {stored} AS stored
     WHERE stored.user_id = fresh.user_id AND time < fresh.since AND txn < %(until)s AND type LIKE 'interaction.%%'
       AND type <> ALL (%(unwanted)s::text[]) AND (value IS NULL OR value >= 0)
     ORDER BY time DESC, key DESC LIMIT %(before)s)
) AS stretch
) TO STDOUT (FORMAT csv)
"""


class TailStore:
    """Reads stretches of histories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def copy_stretches(
        self, from_txn: int, to_txn: int, before: int, unwanted_kinds: Sequence[str], out: BinaryIO
    ) -> None:
        """Write as CSV, for every user with interactions of transactions [from_txn, to_txn): those, whatever is as late or
        later, and the `before` wanted ones before the earliest of them. Nothing of transactions from `to_txn` on.

        key,user,item,kind,value,time (epoch us),fresh (1: of those transactions). Wanted are interactions of other than the
        `unwanted_kinds` whose value is not negative. Raises DatabaseUnavailable.
        """
        with self._database.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            tables = month_tables(connection)
            selects = " UNION ALL ".join(f"SELECT {COLUMNS} FROM {table}" for table in tables)
            stored = tables[0] if len(tables) == 1 else f"({selects})"
            cursor = connection.connection.cursor()
            values = {
                "since": from_txn, "until": to_txn, "before": before,
                "unwanted": [f"interaction.{kind}" for kind in unwanted_kinds],
            }  # fmt: skip
            query = cursor.mogrify(STRETCHES.format(stored=stored, columns=COLUMNS), values)
            cursor.copy_expert(query, out)
