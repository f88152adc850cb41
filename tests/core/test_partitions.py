"""Tables of months change while others read, write and erase: nobody overlooks a row that moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from io import BytesIO

import pytest
import sqlalchemy as sa

from core.events import Interaction, UserErased
from core.settings import Settings
from core.store import Store, open_store, partitions
from core.store.partitions import EventTable, month
from tests.streams import EPOCH, Writer, event, habits, view

LIMIT = date(2026, 3, 1)  # later than all that tests/streams.py makes


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        yield one


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short transactions, so that others come between."""
    monkeypatch.setattr(partitions, "SWEEP_PAGES", 1)


def test_months_are_counted_over_the_turn_of_the_year() -> None:
    assert month(date(2026, 1, 31), -1) == date(2025, 12, 1)
    assert month(date(2026, 11, 22), 14) == date(2028, 1, 1)
    assert month(date(2026, 11, 22), -11) == date(2025, 12, 1)


def test_a_table_is_known_by_its_name_and_whether_it_is_attached(store: Store) -> None:
    store.partitions.attach_ahead(0, None)
    with store.database.begin() as connection:
        connection.execute(sa.text("CREATE TABLE events_2024_13 ()"))  # nobody's month
        connection.execute(sa.text("CREATE TABLE events_2024_02 (LIKE events)"))  # detached by hand, perhaps
    first, *_, default = store.partitions.tables()
    assert first == EventTable("events_2024_02", date(2024, 2, 1), False, first.size_bytes)
    assert (default.name, default.first, default.attached) == ("events_default", None, True)
    assert "events_2024_02" not in store.partitions.partitions()


def test_an_identity_holds_across_months_whatever_the_event_says_the_second_time(store: Store) -> None:
    store.partitions.attach_ahead(2, EPOCH)
    writer, day = Writer(store), 24 * 60
    writer.write([event(1, Interaction(user="u1", item="i1", kind="view"), minutes=day)])
    again = writer.write([event(1, Interaction(user="u2", item="i2", kind="view"), minutes=n * day) for n in (40, 400)])
    assert (again.inserted, again.duplicates) == ({}, 2)
    assert [row["item"] for row in store.history.export("u1")] == ["i1"]
    assert store.history.export("u2") == []
    assert store.catalogue.popular(5) == [("i1", 1)]


@pytest.mark.usefixtures("small_steps")
def test_rows_that_move_while_users_are_erased_are_erased_too(store: Store) -> None:
    writer = Writer(store)
    writer.write(habits(users=40, items=10, length=100))
    erased = [f"u{number}" for number in range(0, 40, 2)]
    sweeping = threading.Thread(target=store.partitions.sweep_before, args=(LIMIT,))
    sweeping.start()
    for number, user in enumerate(erased):
        writer.write([event(100_000 + number, UserErased(user=user))])
    sweeping.join()
    store.partitions.sweep_before(LIMIT)
    with store.database.read() as connection:
        left = set(connection.execute(sa.text("SELECT DISTINCT user_id FROM events_2026_01")).scalars())
    assert left == {f"u{number}" for number in range(1, 40, 2)}
    assert store.catalogue.totals()["interaction.view"] == 2000


@pytest.mark.usefixtures("small_steps")
def test_rows_that_move_while_they_are_read_are_read_once(store: Store) -> None:
    Writer(store).write(habits(users=40, items=10, length=100))
    horizon, read = store.events.horizon(), []
    sweeping = threading.Thread(target=store.partitions.sweep_before, args=(LIMIT,))
    sweeping.start()
    while not read or sweeping.is_alive():
        out = BytesIO()
        store.events.copy_interactions(0, horizon, out)
        read.append(len(out.getvalue().splitlines()))
        assert len(store.history.export("u7")) == 100
    sweeping.join()
    assert set(read) == {4000}


def test_ingest_goes_on_while_months_are_detached_and_attached_again(store: Store) -> None:
    writer, stop, failures = Writer(store), threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            try:
                writer.write([view(number + one, f"u{one}", "i1") for one in range(10)])
            except Exception as error:  # noqa: BLE001 -- judged below
                failures.append(error)
                return
            number += 10

    store.partitions.attach_ahead(0, None)
    writing = threading.Thread(target=write)
    writing.start()
    for _ in range(5):
        store.partitions.sweep_before(LIMIT)
        store.partitions.attach_from(date(2026, 1, 1))
        store.partitions.detach_before(LIMIT)
    stop.set()
    writing.join()
    assert failures == []
    store.partitions.sweep_before(LIMIT)
    with store.database.read() as connection:
        stored = connection.execute(sa.text("SELECT count(*) FROM events_2026_01")).scalar_one()
        keys = connection.execute(sa.text("SELECT count(*) FROM event_keys")).scalar_one()
    assert stored == keys > 0
