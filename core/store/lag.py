"""How far behind the consumers are: each says it now and then, whoever looks adds it up."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.store.database import Database
from core.tables import consumers

FORGOTTEN_AFTER = timedelta(minutes=10)  # a consumer that has ended says nothing any more


class LagStore:
    """Writes and reads what consumers say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def say(self, consumer: str, behind: int) -> None:
        """A consumer is that many messages behind now. Raises DatabaseUnavailable."""
        fresh = insert(consumers).values(consumer=consumer, behind=behind)
        changes = {"behind": fresh.excluded.behind, "at": sa.func.now()}
        with self._database.begin() as connection:
            connection.execute(sa.delete(consumers).where(consumers.c.at < sa.func.now() - FORGOTTEN_AFTER))
            connection.execute(fresh.on_conflict_do_update(index_elements=["consumer"], set_=changes))

    def behind(self) -> int | None:
        """Messages behind, over all consumers, as they last said; None when none has said anything lately."""
        query = sa.select(sa.func.sum(consumers.c.behind)).where(consumers.c.at >= sa.func.now() - FORGOTTEN_AFTER)
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one()
        return None if found is None else int(found)
