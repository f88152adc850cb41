"""Months are attached ahead and detached when old, and what is where depends on the events, the settings and the date alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import pytest
import sqlalchemy as sa

from core.errors import DatabaseUnavailable
from core.events import Event, Interaction, UserErased
from core.progress import Silent
from core.settings import Settings
from core.store import Store, open_store
from features.snapshot import take_snapshot
from jobs.context import JobContext, job_context
from jobs.maintain import Maintained, maintain
from tests.streams import EPOCH, Writer, event, habits

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
def opened(settings: Settings) -> Iterator[Callable[..., JobContext]]:
    """Opens the job's context with changed settings, on one store."""
    with open_store(settings) as store:
        yield lambda **changes: job_context(msgspec.structs.replace(settings, **changes), store)


def view(number: int, month: str, user: str = "u1", item: str = "i1") -> Event:
    """Event `number`, dated the 10th of a month written 2026-03."""
    at = datetime.fromisoformat(f"{month}-10T00:00:00+00:00")
    return event(number, Interaction(user=user, item=item, kind="view"), minutes=(at - EPOCH).total_seconds() / 60)


def ask(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def state(store: Store) -> dict[str, list[str]]:
    """What `events`, each detached month that holds anything, the identities and the counts hold."""
    detached = [one.name for one in store.partitions.tables() if not one.attached]
    columns = dict.fromkeys(["events", *detached], "key, source, id, type, time, user_id, item_id")
    columns |= {"event_keys": "key", "item_counts": "item_id, type, events", "user_counts": "user_id, events"}
    found = {
        table: [str(row[0]) for row in ask(store, f"SELECT ROW({names})::text FROM {table} ORDER BY 1")]
        for table, names in columns.items()
    }
    return {table: rows for table, rows in found.items() if rows}


@contextmanager
def reading(store: Store, query: str) -> Iterator[None]:
    """Someone is in the middle of reading."""
    with store.database.begin() as connection:
        connection.execute(sa.text(query)).all()
        yield


# Ahead


def test_this_month_and_three_more_are_attached_once(opened: Callable[..., JobContext]) -> None:
    context = opened()
    made = maintain(context).attached
    assert len(made) == 4
    assert made[0] == f"events_{datetime.now(UTC):%Y_%m}"
    assert maintain(context) == Maintained(())
    assert set(context.store.partitions.partitions()) == {*made, "events_default"}


def test_rows_in_the_default_partition_move_to_their_month_and_none_is_lost(opened: Callable[..., JobContext]) -> None:
    store = opened().store
    Writer(store).write(habits(users=5, items=5, length=10))
    before = store.history.history("u1", 100)
    assert store.partitions.attach_ahead(1, now=EPOCH) == ["events_2026_01", "events_2026_02"]
    counts = [ask(store, f"SELECT count(*) FROM {name}") for name in ("events_2026_01", "events_default", "events")]
    assert counts == [[(50,)], [(0,)], [(50,)]]
    assert store.history.history("u1", 100) == before


def test_a_december_is_followed_by_a_january(opened: Callable[..., JobContext]) -> None:
    december = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert opened().store.partitions.attach_ahead(1, now=december) == ["events_2026_12", "events_2027_01"]


# Retention


def test_without_a_limit_everything_stays_whatever_its_age(opened: Callable[..., JobContext]) -> None:
    context = opened()
    maintain(context, datetime(2024, 1, 1, tzinfo=UTC))
    Writer(context.store).write([view(1, "2024-01"), view(2, "1998-04")])
    maintain(context, NOW)
    assert len(context.store.history.history("u1", 5).events) == 2
    assert all(one.attached for one in context.store.partitions.tables())


def test_months_wholly_older_than_the_limit_are_detached_and_keep_their_rows(opened: Callable[..., JobContext]) -> None:
    context = opened(retention_months=2)
    store, months = context.store, ("2026-02", "2026-03", "2026-04", "2026-05", "2026-06")
    store.partitions.attach_ahead(4, datetime(2026, 2, 1, tzinfo=UTC))
    Writer(store).write([view(number, month, item=month) for number, month in enumerate(months)])
    assert maintain(context, NOW).detached == ("events_2026_02", "events_2026_03")
    assert [one.item for one in store.history.history("u1", 9).events] == ["2026-06", "2026-05", "2026-04"]
    assert ask(store, "SELECT item_id FROM events_2026_02") == [("2026-02",)]
    assert [row["item"] for row in store.history.export("u1")] == list(months), "an export leaves nothing out"
    assert store.catalogue.totals()["interaction.view"] == 5, "counts are of all time"
    assert maintain(context, NOW) == Maintained(()), "a second run finds nothing to do"


def test_what_is_where_depends_on_neither_the_order_of_events_nor_on_when_it_ran(settings: Settings) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    months = ("1998-04", "2024-12", "2026-01", "2026-02", "2026-03", "2026-04", "2026-06", "2026-07")
    events = [view(number, chance.choice(months), f"u{number % 7}", f"i{number % 5}") for number in range(120)]
    with open_store(settings) as store:
        context = job_context(msgspec.structs.replace(settings, retention_months=2, retention_grace_months=3), store)
        found = []
        for _ in range(4):
            chance.shuffle(events)
            writer = Writer(store)
            for start in range(0, len(events), 20):
                writer.write(events[start : start + 20] + chance.sample(events, 5))  # some of them repeated
                if chance.random() < 0.5:
                    maintain(context, datetime(2026, chance.randrange(1, 7), 1, tzinfo=UTC))
            maintain(context, NOW)
            found.append(state(store))
            for one in store.partitions.tables():
                with store.database.begin() as connection:
                    connection.execute(sa.text(f"DROP TABLE {one.name}" if one.first else f"TRUNCATE {one.name}"))
            with store.database.begin() as connection:
                connection.execute(sa.text("TRUNCATE event_keys, item_counts, user_counts"))
    assert found[1:] == found[:1] * 3, f"seed {seed}"
    tables = {name for name in found[0] if name.startswith("events")}
    assert tables == {"events", "events_2026_01", "events_2026_02", "events_2026_03"}
    assert len(found[0]["event_keys"]) == 120
    assert sum(len(found[0][table]) for table in tables) < 120, "older ones were dropped"


def test_late_events_wait_in_the_default_partition_for_the_next_run(opened: Callable[..., JobContext]) -> None:
    context = opened(retention_months=2)
    maintain(context, NOW)
    Writer(context.store).write([view(1, "2026-01"), view(2, "1998-04"), view(3, "2026-06")])
    assert len(context.store.history.history("u1", 5).events) == 3
    assert maintain(context, NOW).moved_rows == 2
    assert len(context.store.history.history("u1", 5).events) == 1
    detached = [one.name for one in context.store.partitions.tables() if not one.attached]
    assert detached == ["events_1998_04", "events_2026_01"]


@pytest.mark.parametrize("grace", [None, 0])
def test_a_replay_brings_no_event_of_a_detached_or_dropped_month_back(
    opened: Callable[..., JobContext], grace: int | None
) -> None:
    context = opened(retention_months=1, retention_grace_months=grace)
    writer, events = Writer(context.store), [view(number, "2026-01", item=f"i{number}") for number in range(9)]
    writer.write(events)
    assert bool(maintain(context, NOW).dropped) == (grace == 0)
    again = writer.write([*events, view(10, "2026-06")])
    assert (again.inserted, again.duplicates) == ({"interaction": 1}, 9)
    assert ask(context.store, "SELECT id FROM events") == [("10",)]
    assert context.store.catalogue.totals()["interaction.view"] == 10


def test_erasing_reaches_detached_months(opened: Callable[..., JobContext]) -> None:
    context = opened(retention_months=1)
    writer = Writer(context.store)
    writer.write([view(1, "2026-01"), view(2, "2026-02"), view(3, "2026-06"), view(4, "2026-01", "other")])
    maintain(context, NOW)
    writer.write([event(5, UserErased(user="u1"))])
    assert context.store.history.export("u1") == []
    assert ask(context.store, "SELECT user_id FROM events_2026_01 UNION ALL SELECT user_id FROM events_2026_02") == [
        ("other",)
    ]
    assert ask(context.store, "SELECT item_id, events FROM item_counts") == [("i1", 1)]
    assert len(ask(context.store, "SELECT key FROM event_keys")) == 2, "the other's event, and the erasure"


def test_a_detached_month_is_dropped_when_its_grace_is_over(opened: Callable[..., JobContext]) -> None:
    context = opened(retention_months=2, retention_grace_months=1)
    Writer(context.store).write([view(number, f"2026-0{number}") for number in (1, 2, 3, 6)])
    done = maintain(context, NOW)
    assert (done.moved_rows, done.dropped) == (3, ("events_2026_01", "events_2026_02"))
    assert [one.name for one in context.store.partitions.tables() if not one.attached] == ["events_2026_03"]
    assert maintain(context, datetime(2026, 7, 1, tzinfo=UTC)).dropped == ("events_2026_03",)
    assert ask(context.store, "SELECT id FROM events") == [("6",)]


def test_a_higher_limit_attaches_again_what_was_detached(opened: Callable[..., JobContext]) -> None:
    context = opened(retention_months=1)
    store = context.store
    writer = Writer(store)
    writer.write([view(1, "2026-03"), view(2, "2026-06")])
    maintain(context, NOW)
    writer.write([view(3, "2026-03")])  # into the default partition, whose rows the month takes along
    assert maintain(opened(retention_months=3), NOW).attached == ("events_2026_03",)
    assert len(store.history.history("u1", 5).events) == 3
    assert ask(store, "SELECT id FROM events_2026_03 ORDER BY id") == [("1",), ("3",)]


def test_while_someone_reads_for_long_nothing_is_detached_and_a_later_run_does_it(
    opened: Callable[..., JobContext],
) -> None:
    context = opened(retention_months=1)
    store = context.store
    store.partitions.attach_ahead(1, EPOCH)
    Writer(store).write([view(1, "2026-01")])
    with reading(store, "SELECT count(*) FROM events"), pytest.raises(DatabaseUnavailable, match="lock timeout"):
        maintain(context, NOW)
    assert len(store.history.history("u1", 5).events) == 1
    assert maintain(context, NOW).detached == ("events_2026_01", "events_2026_02")
    assert store.history.history("u1", 5).events == ()


def test_training_keeps_what_was_detached_and_a_new_snapshot_lacks_only_what_was_dropped(
    opened: Callable[..., JobContext],
) -> None:
    context = opened(retention_months=1, retention_grace_months=1)
    store, artifacts = context.store, context.artifacts
    writer = Writer(store)
    writer.write([view(1, "2026-03"), view(2, "2026-04"), view(3, "2026-06")])
    assert take_snapshot(store.events, artifacts, Silent()).rows == 3
    writer.write([view(4, "2026-04"), view(5, "2026-06")])  # one of them late
    assert maintain(context, NOW).dropped == ("events_2026_03",)
    snapshot = take_snapshot(store.events, artifacts, Silent())
    assert snapshot.rows == 5, "the late event of a detached month is not overlooked"
    prefix = f"snapshots/{store.events.lineage()}"
    for name in artifacts.list(prefix):
        artifacts.delete(f"{prefix}/{name}")
    assert take_snapshot(store.events, artifacts, Silent()).rows == 4
