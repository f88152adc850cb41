"""Months are attached ahead, whatever already fell into the default partition."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from core.settings import Settings
from core.store import open_store
from jobs.context import job_context
from jobs.maintain import maintain
from tests.streams import EPOCH, Writer, habits


def test_this_month_and_three_more_are_attached_once(settings: Settings) -> None:
    with open_store(settings) as store:
        context = job_context(settings, store)
        made = maintain(context)
        assert len(made) == 4
        assert made[0] == f"events_{datetime.now(UTC):%Y_%m}"
        assert maintain(context) == []
        assert set(store.partitions.partitions()) == {*made, "events_default"}


def test_rows_in_the_default_partition_move_to_their_month_and_none_is_lost(settings: Settings) -> None:
    with open_store(settings) as store:
        Writer(store).write(habits(users=5, items=5, length=10))
        before = store.history.history("u1", 100)
        assert store.partitions.attach_ahead(1, now=EPOCH) == ["events_2026_01", "events_2026_02"]
        with store.database.read() as connection:
            counts = [
                connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
                for name in ("events_2026_01", "events_default", "events")
            ]
        assert counts == [50, 0, 50]
        assert store.history.history("u1", 100) == before


def test_a_december_is_followed_by_a_january(settings: Settings) -> None:
    with open_store(settings) as store:
        assert store.partitions.attach_ahead(1, now=datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == [
            "events_2026_12",
            "events_2027_01",
        ]
