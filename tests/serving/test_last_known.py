"""A server that begins with the catalogue as it was known last has the one that Postgres holds, or reads all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.errors import DatabaseUnavailable
from core.events import ItemRemoved
from core.registry import open_registry
from core.settings import Settings
from core.store import Store, catalogue_copies, open_store
from core.store import catalogue as store_catalogue
from core.store.catalogue import TXN
from core.store.catalogue_copies import Position
from headwater.postgres import EmbeddedPostgres
from migrations.run import upgrade
from serving import last_known
from serving.catalogue import LiveCatalogue
from serving.last_known import LastKnown
from serving.live import LiveModels
from tests.conftest import THROWAWAY
from tests.serving.world import World, item
from tests.streams import event


class Process:
    """What a server has of the catalogue, from its start on."""

    def __init__(self, world: World) -> None:
        self.catalogue = LiveCatalogue(world.store)
        self.known = LastKnown(world.settings, self.catalogue, LiveModels(world.registry, self.catalogue))
        self.copied: list[bool] = []
        later = self.catalogue._read_later
        self.catalogue._read_later = lambda copy: self._noted(later(copy))  # type: ignore[method-assign]

    def _noted(self, found: Any) -> Any:
        self.copied.append(found is not None)
        return found

    def state(self) -> dict[str, Any]:
        """All that requests read of the catalogue, by item."""
        view = self.catalogue.view
        timed = zip(view.timed.tolist(), view.from_s.tolist(), view.until_s.tolist(), strict=True)
        return {
            "items": {view.ids[row]: one for row, one in view.items.every()},
            "asked": {name: view.items[view.row(name)] for name in view.ids},
            "shown": {view.ids[row] for row in np.flatnonzero(view.servable(datetime.now(UTC)))},
            "later": {view.ids[row] for row in np.flatnonzero(view.servable(datetime.now(UTC) + timedelta(days=3)))},
            "timed": {view.ids[row] for row, _, _ in timed}, "fresh": dict(zip(view.ids, view.fresh_s.tolist(), strict=True)),
            "categories": {name: {view.ids[row] for row in rows} for name, rows in view.categories.items()},
        }  # fmt: skip


def started(world: World, known_to_models: list[str] | None = None) -> Process:
    """A server that has started."""
    process = Process(world)
    process.catalogue.rows_for(known_to_models or [])
    process.catalogue.refresh()
    return process


def all_read(world: World) -> dict[str, Any]:
    """What a server that has no copy has."""
    process = Process(world)
    process.catalogue.copy = lambda: None
    process.catalogue.refresh()
    return process.state()


def by_hand(world: World, statement: str) -> None:
    """What a person does to the table, past everything that the product keeps up."""
    with world.store.database.begin() as connection:
        connection.execute(sa.text(statement))


MOMENTS = st.none() | st.integers(-2, 2).map(lambda days: datetime.now(UTC) + timedelta(days=days))


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """A new state of an item, or its removal."""
    number = draw(st.integers(0, 12))
    state = item(
        number, categories=tuple(sorted(draw(st.sets(st.sampled_from("abc"))))), hidden=draw(st.booleans()),
        available=draw(st.booleans()), published_at=draw(MOMENTS), expires_at=draw(MOMENTS),
        title=draw(st.sampled_from(["", "a\nb", "\u2028 é"])),
    )  # fmt: skip
    return draw(st.sampled_from([state, state, ItemRemoved(item=f"i{number}")]))


@settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],  # every try writes: shrinking takes minutes
)  # fmt: skip
@given(
    before=st.lists(changes(), max_size=8), beside=st.lists(changes(), max_size=4), between=st.lists(changes(), max_size=4),
    models=st.lists(st.integers(0, 15).map("i{}".format), unique=True), at_once=st.sampled_from([1, 300, 1 << 26]),
)  # fmt: skip
def test_a_start_from_a_copy_ends_where_reading_everything_does(
    world: World, before: list[Any], beside: list[Any], between: list[Any], models: list[str], at_once: int
) -> None:
    def change(bodies: list[Any]) -> None:  # a transaction each
        for body in bodies:
            world.number += 1
            world.writer.write([event(world.number, body, source="/catalogue")])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(last_known, "LINES_AT_ONCE_BYTES", at_once)
        patch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)  # who else works in Postgres makes rows look younger
        world.change(*(item(number) for number in range(20, 60)))
        change(before)
        first = started(world)
        change(beside)
        first.catalogue.refresh()
        first.known.save(at_once=True)
        change(between)
        second = started(world, models)
    assert second.copied == [True]
    expected, found = all_read(world), second.state()
    unknown = set(models) - expected["items"].keys()
    assert found["shown"] - unknown == expected["shown"]
    assert found["later"] - unknown == expected["later"]
    assert found["timed"] == expected["timed"]
    assert {name: at for name, at in found["fresh"].items() if name not in unknown} == expected["fresh"]
    for name in ("items", "categories"):
        assert found[name] == expected[name]
    assert {name: one for name, one in found["asked"].items() if one is not None} == expected["items"]
    change(before)
    second.catalogue.refresh()  # and it goes on from there
    assert second.state()["shown"] - unknown == all_read(world)["shown"]


def test_a_copy_of_a_copy_is_as_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    world.change(*(item(number) for number in range(20)))
    started(world).known.save(at_once=True)
    for number in range(3):
        world.change(item(number, hidden=True))
        process = started(world)
        assert process.copied == [True]
        process.known.save(at_once=True)
    assert started(world).state() == all_read(world)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET hidden = true WHERE item_id = 'i1'",
        "DELETE FROM items WHERE item_id = 'i1'",
        "WITH gone AS (DELETE FROM items WHERE item_id = 'i1' RETURNING *) INSERT INTO items (item_id, title, changed_at, "
        "changed_key, txn) SELECT 'other', title, changed_at, changed_key, txn FROM gone",
    ],
    ids=["hidden", "deleted", "another in its place"],
)
@pytest.mark.parametrize("running", [False, True], ids=["after the copy", "while the server ran"])
def test_what_a_person_did_to_the_table_is_seen_at_the_next_start(
    world: World, statement: str, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    world.change(*(item(number) for number in range(20)))
    before = started(world)
    if running:
        by_hand(world, statement)
        world.change(item(5, title="so that there is something to save"))
        before.catalogue.refresh()
        before.known.save(at_once=True)
    else:
        before.known.save(at_once=True)
        by_hand(world, statement)
    process = started(world)
    assert "i1" not in process.state()["shown"]
    assert process.state()["shown"] == all_read(world)["shown"]


def restored(world: World) -> None:
    """What a backup of the whole server does that was made before the copy: neither its last changes nor its mark are there."""
    by_hand(world, "DELETE FROM catalogue_marks")


def restored_as_rows(world: World) -> None:
    """What a dump does: tables are made anew, with the very rows."""
    by_hand(world, "CREATE TABLE saved AS TABLE items")
    by_hand(world, "TRUNCATE items")
    by_hand(world, "INSERT INTO items SELECT * FROM saved")
    by_hand(world, "DROP TABLE saved")


def changed_much(world: World) -> None:
    """Most of it is other than it was."""
    world.change(*(item(number, title="other") for number in range(15)))


@pytest.mark.parametrize("what", [restored, restored_as_rows, changed_much])
def test_all_is_read_where_a_copy_may_be_of_another_state(world: World, what: Callable[[World], None]) -> None:
    world.change(*(item(number) for number in range(20)))
    started(world).known.save(at_once=True)
    what(world)
    process = started(world)
    assert process.copied == [False]
    assert process.state() == all_read(world)


def test_another_database_of_the_same_server_is_not_the_one_of_the_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(*(item(number) for number in range(20)))
    process = started(world)
    process.known.save(at_once=True)
    copy = process.known.copy()
    assert copy is not None
    assert copy.position is not None
    place, horizon, mark = copy.position.place, copy.position.horizon, copy.position.mark
    assert world.store.copies.later_than(Position(place, 1, mark)) is None  # all is later than that
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    assert world.store.copies.later_than(copy.position) is not None
    for other in (Position(f"{place}0", horizon, mark), Position(place, horizon + 10**9, mark)):
        assert world.store.copies.later_than(other) is None


def test_a_copy_is_not_marked_once_postgres_was_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.change(*(item(number) for number in range(20)))
    process = started(world)
    assert process.catalogue._source is not None
    again = type(process.catalogue._source)(process.catalogue._source.place, "a moment later")
    monkeypatch.setattr(process.catalogue, "_source", again)
    process.known.save(at_once=True)
    copy = process.known.copy()
    assert copy is not None
    assert copy.position is None
    assert started(world).copied == [False]
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    process.catalogue.refresh()  # reads all of it, and the same is saved again, now with a mark
    process.known.save(at_once=True)
    assert started(world).copied == [True]


def test_marks_of_copies_that_are_no_more_are_removed(world: World) -> None:
    def marks() -> int:
        with world.store.database.begin() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM catalogue_marks")).scalar_one())

    world.change(item(1))
    process = started(world)
    process.known.save(at_once=True)
    before = marks() + 1  # that of the copy before the one in the file
    for number in range(2, 5):
        world.change(item(number))
        process.catalogue.refresh()
        process.known.save(at_once=True)
    assert marks() == before
    process = started(world)
    for number in range(9, 12):
        world.change(item(number))
        process.catalogue.refresh()
        process.known.save(at_once=True)
    assert marks() == before + 1  # a server that is gone left one, for 30 days


def test_a_copy_that_could_not_be_replaced_stays_one_to_begin_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    world.change(*(item(number) for number in range(20)))
    process = started(world)
    process.known.save(at_once=True)
    with monkeypatch.context() as full:
        full.setattr(os, "replace", Mock(side_effect=OSError("no space left on device")))
        for title in ("one", "two"):
            world.change(item(1, title=title))
            process.catalogue.refresh()
            process.known.save(at_once=True)
    process = started(world)
    assert process.copied == [True]
    assert process.state() == all_read(world)


def test_a_start_that_finds_nothing_later_leaves_the_file_as_it_is(world: World) -> None:
    world.change(*(item(number) for number in range(20)))
    started(world).known.save(at_once=True)
    process = started(world)
    assert process.copied == [True]
    before = process.known._file.stat()
    process.known.save(at_once=True)
    assert process.known._file.stat() == before
    world.change(item(1, title="another"))
    process.catalogue.refresh()
    process.known.save(at_once=True)
    assert process.known._file.stat().st_ino != before.st_ino


def test_what_was_written_since_the_copy_is_saved_after_the_start(world: World) -> None:
    world.change(*(item(number) for number in range(20)))
    started(world).known.save(at_once=True)
    world.change(item(1, title="another"))
    process = started(world)
    assert process.copied == [True]
    before = process.known._file.stat()
    process.known.save(at_once=True)
    assert process.known._file.stat().st_ino != before.st_ino


def test_a_save_that_failed_is_tried_again_though_nothing_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(item(1))
    process = started(world)
    with monkeypatch.context() as full:
        full.setattr(os, "replace", Mock(side_effect=OSError("no space left on device")))
        process.known.save()
    process.known.save()
    assert not process.known._file.exists()  # it rests
    process.known._rest_until -= last_known.RETRY_S
    process.known.save()
    assert process.known._file.exists()


def test_a_copy_without_a_mark_is_made_again_once_there_can_be_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    world.change(*(item(number) for number in range(20)))
    process = started(world)
    with monkeypatch.context() as away:
        away.setattr(catalogue_copies.CatalogueCopies, "mark", Mock(side_effect=DatabaseUnavailable("a hiccup")))
        process.known.save(at_once=True)
    process.known.save(at_once=True)
    assert started(world).copied == [True]


def test_a_file_of_another_release_or_a_damaged_one_is_looked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "serving.last_known")
    world.change(*(item(number) for number in range(20)))
    with monkeypatch.context() as older:
        older.setattr(last_known, "FORMAT", "of columns that are no more")
        started(world).known.save(at_once=True)
    known = Process(world).known
    assert known.copy() is None
    assert known.copy() is None
    assert caplog.text.count("is of another release") == 1
    known._file.write_bytes(b"nothing of ours")
    assert known.copy() is None
    assert known.copy() is None
    assert caplog.text.count("cannot be read") == 1


def test_where_postgres_does_not_say_what_it_is_everything_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(*(item(number) for number in range(20)))
    refused = "SET LOCAL ROLE pg_monitor; SELECT rolname, rolpassword FROM pg_authid"
    monkeypatch.setattr(store_catalogue, "SOURCE", refused)
    process = started(world)
    assert len(process.state()["shown"]) == 20
    process.known.save(at_once=True)
    assert started(world).copied == [False]


def test_a_database_without_the_table_of_marks_serves_all_the_same(world: World) -> None:
    world.change(*(item(number) for number in range(20)))
    process = started(world)
    by_hand(world, "ALTER TABLE catalogue_marks RENAME TO other")
    try:
        process.known.save(at_once=True)
        assert started(world).copied == [False]
    finally:
        by_hand(world, "ALTER TABLE other RENAME TO catalogue_marks")


def test_a_cluster_that_was_set_back_and_went_on_since_is_read_anew(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_copies, "MOST_CHANGED", 1.0)
    secret = Settings(home=used_home, secret="s", namespace="shop")

    @contextmanager
    def running() -> Iterator[tuple[Settings, Store]]:
        postgres = EmbeddedPostgres(used_home, THROWAWAY)
        chosen = msgspec.structs.replace(secret, database_url=postgres.start())
        upgrade(chosen.database_url or "", "shop")
        try:
            with open_store(chosen) as store:
                yield chosen, store
        finally:
            postgres.stop()

    def write(store: Store, *names: str) -> None:
        for name in names:  # a transaction each
            with store.database.begin() as connection:
                statement = f"""
                    INSERT INTO items (item_id, changed_at, changed_key, txn) VALUES (:name, now(), gen_random_uuid(), {TXN})
                    ON CONFLICT (item_id) DO UPDATE SET title = 'again', txn = excluded.txn
                """
                connection.execute(sa.text(statement), {"name": name})

    def begun(chosen: Settings, store: Store) -> tuple[LiveCatalogue, LastKnown, Any]:
        catalogue = LiveCatalogue(store)
        known = LastKnown(chosen, catalogue, LiveModels(open_registry(chosen, store), catalogue))
        copy = known.copy()
        later = copy and copy.position and store.copies.later_than(copy.position)
        catalogue.refresh()
        return catalogue, known, later

    with running() as (chosen, store):
        write(store, *"abcdefghijkl")
    saved = used_home.with_name(f"{used_home.name}-saved")
    subprocess.run(["cp", "-a", used_home / "postgres", saved], check=True)
    try:
        with running() as (chosen, store):
            write(store, "later")
            begun(chosen, store)[1].save(at_once=True)
        with running() as (chosen, store):  # started again, and the same
            assert begun(chosen, store)[2] is not None
        shutil.rmtree(used_home / "postgres")
        subprocess.run(["cp", "-a", saved, used_home / "postgres"], check=True)
        with running() as (chosen, store):
            write(store, *("a" * 20))  # past every number that the copy knows
            catalogue, _, later = begun(chosen, store)
            assert later is None
            assert sorted(catalogue.view.ids) == list("abcdefghijkl")
    finally:
        shutil.rmtree(saved, ignore_errors=True)
