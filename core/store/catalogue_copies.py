"""Copies of the catalogue that outlive the process that read them: whether Postgres is the one that a copy was made of, and what
of it is not in the copy.

A copy names a mark: a row that was written into Postgres after everything in the copy had been read. Where the row is, everything
before it is as well; a backup from before it lacks the row, and one that came as a dump has other tables. From there on only rows
of later transactions can differ, and those are found by what Postgres itself says of them, not by a column that a person or a
tool may have written.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import msgspec
import sqlalchemy as sa

from core.store.catalogue import LINE, Item, Source, lines_of, read_lines, source_of
from core.store.database import Database
from core.tables import catalogue_marks as marks

MOST_CHANGED = 0.2  # of the items: beyond that all of them are read as fast
LONGEST_TRANSACTIONS = 2**30  # since the copy: Postgres tells the order of no more than twice as many
FORGOTTEN_AFTER = "30 days"
WRITTEN_AFTER = "age(xmin) <= age(CAST(%s AS xid))"
COUNTED = f"SELECT count(*) FILTER (WHERE {WRITTEN_AFTER}), count(*) FROM items"
WRITTEN = f"SELECT {LINE} FROM items WHERE {WRITTEN_AFTER}"


class Position(msgspec.Struct, frozen=True):
    """Where a copy stands: it holds all of `place` that transactions below `horizon` wrote, and nothing later than `mark`."""

    place: str
    horizon: int
    mark: str


@dataclass(frozen=True)
class Later:
    """What is not in a copy: `items` written since, of which it may hold earlier states, beside `unchanged` that it must hold."""

    source: Source
    items: list[Item]
    unchanged: int


class CatalogueCopies:
    """Marks copies, and says what is later than one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, source: Source, horizon: int, gone: str) -> Position | None:
        """Mark a copy of all that was read from `source` up to now, which holds everything below `horizon`; `gone` is the mark
        of one that is no more. None where Postgres is another by now, or was started again: it may be an earlier one.
        """
        with self._database.begin() as connection:
            if source_of(connection) != source:
                return None
            mark = str(uuid4())
            connection.execute(sa.insert(marks).values(mark=mark))
            old = marks.c.marked_at < sa.func.now() - sa.cast(FORGOTTEN_AFTER, sa.Interval)
            connection.execute(sa.delete(marks).where(sa.or_(old, sa.cast(marks.c.mark, sa.Text) == gone)))
        return Position(source.place, horizon, mark)

    def later_than(self, position: Position) -> Later | None:
        """What a copy lacks. None where it was made of another database, of another state of this one, or where so much has
        changed that all may as well be read.
        """
        with self._database.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            source = source_of(connection)
            marked = sa.select(sa.func.count()).where(sa.cast(marks.c.mark, sa.Text) == position.mark)
            if source is None or source.place != position.place or not connection.execute(marked).scalar_one():
                return None
            horizon = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
            passed = int(connection.exec_driver_sql(horizon).scalar_one()) - position.horizon
            if not 0 <= passed < LONGEST_TRANSACTIONS:
                return None
            since = (str(position.horizon % 2**32),)
            written, n = connection.exec_driver_sql(COUNTED, since).one()
            if written > MOST_CHANGED * n:
                return None
            found: list[Item] = []
            if written:
                lines_of(connection, WRITTEN, since, lambda part: found.extend(read_lines(part)))
        return Later(source, found, n - written)
