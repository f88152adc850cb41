"""How far behind the consumers are, as they last said."""

from __future__ import annotations

import sqlalchemy as sa

from core.settings import Settings
from core.store import open_store


def test_what_the_consumers_say_is_added_up_and_forgotten_when_they_fall_silent(settings: Settings) -> None:
    with open_store(settings) as store:
        assert store.lag.behind() is None
        store.lag.say("a", 5)
        store.lag.say("b", 7)
        store.lag.say("a", 0)
        assert store.lag.behind() == 7
        with store.database.begin() as connection:
            connection.execute(sa.text("UPDATE consumers SET at = now() - interval '1 hour' WHERE consumer = 'b'"))
        assert store.lag.behind() == 0
        store.lag.say("a", 1)
        with store.database.read() as connection:
            assert connection.execute(sa.text("SELECT array_agg(consumer) FROM consumers")).scalar_one() == ["a"]
