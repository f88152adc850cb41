"""The store on a real Postgres: one transaction a batch, fenced, idempotent, and the same whatever the order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import permutations
from typing import Any

import msgspec
import psycopg2
import pytest
import sqlalchemy as sa

from core.errors import (
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    Fenced,
    InvalidEvent,
    InvalidRequest,
    NotFound,
)
from core.events import (
    Body,
    Event,
    Impression,
    Interaction,
    ItemChanged,
    ItemRemoved,
    UserChanged,
    UserErased,
    type_of,
)
from core.settings import Settings
from core.store import Store, open_store
from core.store.contents import Content
from core.store.events import Advance, Claim, Coordinates, DeadLetter, Received
from core.store.versions import ModelVersion

NOW = datetime.now(UTC).replace(microsecond=0)
TOPIC = "t.events"


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        yield one


@pytest.fixture
def claim(store: Store) -> Claim:
    return store.events.claim(TOPIC, "topic-1", 0)


def received(id: str, body: Body, ago_s: float = 0) -> Received:
    event = Event(id, "/t", type_of(body), NOW - timedelta(seconds=ago_s), body)
    return Received(event, Coordinates(TOPIC, "topic-1", 0, abs(hash(id)) % 10**9), 100)


def view(id: str, user: str = "u1", item: str = "i1", ago_s: float = 0, **more: Any) -> Received:
    return received(id, Interaction(user=user, item=item, kind="view", **more), ago_s)


def append(store: Store, *batch: Received, dead: Sequence[DeadLetter] = ()) -> dict[str, int]:
    """Append outside any partition."""
    return store.events.append(batch, dead, []).inserted


def letter(offset: int, payload: bytes | None = b"{", reason: str = "malformed") -> DeadLetter:
    return DeadLetter(Coordinates(TOPIC, "topic-1", 0, offset), reason, "why\0", payload, len(payload or b""), "ab")


def ask(store: Store, query: str) -> list[Any]:
    with store.database.read() as connection:
        return list(connection.execute(sa.text(query)))


# Claims and fences


def test_a_claim_raises_the_epoch_and_goes_on_where_the_last_one_was(store: Store, claim: Claim) -> None:
    assert (claim.epoch, claim.next_offset) == (1, 0)
    store.events.append([view("e1")], [], [Advance(claim, 7)])
    assert store.events.claim(TOPIC, "topic-1", 0) == Claim(TOPIC, "topic-1", 0, 2, 7)


def test_a_topic_made_anew_starts_at_its_beginning(store: Store, claim: Claim) -> None:
    store.events.append([], [], [Advance(claim, 7)])
    assert store.events.claim(TOPIC, "topic-2", 0).next_offset == 0


def test_a_fenced_batch_changes_nothing(store: Store, claim: Claim) -> None:
    store.events.claim(TOPIC, "topic-1", 0)
    change = received("e2", ItemChanged(item="i1"))
    with pytest.raises(Fenced, match="epoch 1"):
        store.events.append([view("e1"), change], [letter(3)], [Advance(claim, 5)])
    tables = ("events", "event_keys", "item_counts", "user_counts", "items", "dead_letters")
    assert [len(ask(store, f"SELECT 1 FROM {table}")) for table in tables] == [0] * len(tables)
    assert store.events.claim(TOPIC, "topic-1", 0).next_offset == 0


def test_one_lost_partition_fences_the_whole_batch(store: Store, claim: Claim) -> None:
    other = store.events.claim(TOPIC, "topic-1", 1)
    store.events.claim(TOPIC, "topic-1", 1)
    with pytest.raises(Fenced):
        store.events.append([view("e1")], [], [Advance(claim, 1), Advance(other, 1)])
    assert ask(store, "SELECT 1 FROM events") == []


def test_confirming_tells_how_far_the_claim_really_is(store: Store, claim: Claim) -> None:
    store.events.append([], [], [Advance(claim, 9)])
    confirmed = store.events.confirm(claim)
    assert (confirmed.next_offset, confirmed.epoch) == (9, claim.epoch)
    store.events.claim(TOPIC, "topic-1", 0)
    with pytest.raises(Fenced):
        store.events.confirm(claim)


def test_rewinding_shuts_out_the_reader_and_moves_the_place(store: Store, claim: Claim) -> None:
    store.events.append([], [], [Advance(claim, 9)])
    assert store.events.rewind(TOPIC, "topic-1", 0, 4).next_offset == 4
    with pytest.raises(Fenced):
        store.events.append([], [], [Advance(claim, 10)])
    assert store.events.claim(TOPIC, "topic-1", 0).next_offset == 4
    assert store.events.rewind(TOPIC, "topic-1", 5, 3).next_offset == 3


# Events


def test_repeating_a_batch_changes_nothing(store: Store) -> None:
    batch = [
        view("e1"),
        view("e2", item="i2"),
        view("e1"),
        received("e3", Impression(slate="s", items=("i1",), user="u1")),
    ]
    first = store.events.append(batch, [], [])
    assert (first.inserted, first.duplicates) == ({"interaction": 2, "impression": 1}, 1)
    again = store.events.append(batch, [], [])
    assert (again.inserted, again.duplicates) == ({}, 4)
    assert dict(store.catalogue.popular(10)) == {"i1": 1, "i2": 1}
    assert (store.history.interactions("u1"), store.history.interactions("nobody")) == (2, 0)


def test_values_come_back_as_they_went_in(store: Store) -> None:
    nasty = 'a\tb\nc\rd\\e\\N\\.\x0b"\u2028 ü 🙂'
    append(
        store,
        view(
            "e1", user=nasty, item=nasty, value=-0.1, session=nasty, position=7, context={nasty: [nasty, None, 2**70]}
        ),
    )
    append(store, view("e2", user="\\N", item="\\."))
    (row,) = store.history.export(nasty)
    assert (row["item"], row["value"], row["session"], row["position"]) == (nasty, -0.1, nasty, 7)
    assert row["data"] == {nasty: [nasty, None, 2**70]}
    assert store.history.history("\\N", 5).events[0].item == "\\."


def test_what_postgres_refuses_is_named_and_leaves_nothing(store: Store, claim: Claim) -> None:
    append(store, view("e0"))
    ask_admin(store, "ALTER TABLE events ADD CONSTRAINT no_poison CHECK (item_id <> 'poison')")
    with pytest.raises(InvalidEvent, match="no_poison") as caught:
        store.events.append([view("e1"), view("e2", item="poison")], [], [Advance(claim, 2)])
    assert caught.value.reason == "refused_by_database"
    assert ask(store, "SELECT id FROM events") == [("e0",)]
    assert store.events.confirm(claim).next_offset == 0


def test_two_writers_of_the_same_events_insert_each_once(store: Store) -> None:
    batches = [
        [view(f"e{number}", item=f"i{number % 7}") for number in order] for order in (range(500), range(499, -1, -1))
    ]
    inserted: list[int] = []
    writers = [
        threading.Thread(target=lambda batch=batch: inserted.append(sum(append(store, *batch).values())))
        for batch in batches
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sum(inserted) == 500
    assert sum(count for _, count in store.catalogue.popular(100)) == 500
    assert store.history.interactions("u1") == 500


def test_the_export_of_interactions_is_bounded_by_settled_transactions(store: Store) -> None:
    append(store, view("e1", value=2.5))
    horizon = store.events.horizon()
    append(store, view("e2"), received("e3", ItemRemoved(item="i1")))
    before, after = BytesIO(), BytesIO()
    store.events.copy_interactions(0, horizon, before)
    store.events.copy_interactions(horizon, store.events.horizon(), after)
    (line,) = before.getvalue().decode().splitlines()
    assert line.split(",")[1:] == ["u1", "i1", "view", "2.5", str(int(NOW.timestamp() * 1_000_000))]
    assert len(after.getvalue().splitlines()) == 1


# Erasure (I7)


def test_erasing_before_after_or_between_leaves_the_same_tables(store: Store) -> None:
    mine = [
        view("e1", "gone", "i1"),
        view("e2", "gone", "i2"),
        received("e3", UserChanged(user="gone", attributes={"a": 1})),
    ]
    others = [view("e4", "stays", "i1"), received("e5", Impression(slate="s", items=("i1",), user="gone"))]
    erasure = received("e6", UserErased(user="gone"), ago_s=50)
    contents = (
        "SELECT key, id, type, user_id, item_id FROM events ORDER BY key",
        "SELECT key FROM event_keys ORDER BY key",
        "SELECT * FROM item_counts",
        "SELECT * FROM user_counts",
        "SELECT * FROM users",
        "SELECT erased_at FROM erased_users",
    )
    found = set()
    for order in permutations([mine, others, [erasure]]):
        for batch in order:
            append(store, *batch)
        found.add(repr([ask(store, query) for query in contents]))
        ask_admin(store, "TRUNCATE events, event_keys, item_counts, user_counts, users, erased_users, dead_letters")
    assert len(found) == 1
    assert "gone" not in found.pop()


def test_an_erased_user_stays_erased_and_leaves_no_payload(store: Store) -> None:
    append(store, view("e1", "gone"), dead=[letter(1, b'{"user":"gone",'), letter(2, b"{other")])
    append(store, received("e2", UserErased(user="gone")))
    appended = store.events.append([view("e3", "gone")], [], [])
    assert (appended.inserted, appended.erased) == ({}, 1)
    letters = {one.offset: one for one in store.dead_letters.list()}
    assert letters[1].payload is None
    assert letters[2].payload == b"{other"
    assert [one.payload for one in letters.values() if one.reason == "erased_user"] == [None]
    assert store.events.erased_hashes() == {store.events.user_hash("gone")}
    assert store.events.user_hash("gone") != b"gone"


# The catalogue


def test_the_newest_change_wins_in_any_order(store: Store) -> None:
    changes = [
        received("c1", ItemChanged(item="i1", title="old"), ago_s=30),
        received("c2", ItemRemoved(item="i1"), ago_s=20),
        received("c3", ItemChanged(item="i1", title="tie a"), ago_s=10),
        received("c4", ItemChanged(item="i1", title="tie b"), ago_s=10),
    ]
    titles = set()
    for order in permutations(changes):
        for change in order:
            append(store, change)
        item = store.catalogue.item("i1")
        assert item is not None
        titles.add((item.title, item.removed))
        ask_admin(store, "TRUNCATE items, events, event_keys")
    assert len(titles) == 1
    assert titles.pop()[0] in ("tie a", "tie b")


def test_an_older_change_cannot_bring_a_removed_item_back(store: Store) -> None:
    append(store, received("c1", ItemRemoved(item="i1"), ago_s=10))
    append(store, received("c2", ItemChanged(item="i1", title="older"), ago_s=20))
    item = store.catalogue.item("i1")
    assert item is not None
    assert item.removed
    assert not item.servable(NOW)
    append(store, received("c3", ItemChanged(item="i1", title="newer")))
    item = store.catalogue.item("i1")
    assert item is not None
    assert item.servable(NOW)


def test_an_item_is_servable_only_when_everything_allows_it() -> None:
    store_free = ItemChanged(item="i", published_at=NOW, expires_at=NOW + timedelta(hours=1))
    from core.store.catalogue import Item

    def item(**changes: Any) -> Item:
        values = {
            "item": "i", "title": "", "description": "", "categories": (), "attributes": {}, "available": True, "hidden": False,
            "removed": False, "published_at": store_free.published_at, "expires_at": store_free.expires_at, "locale": "en",
            "changed_at": NOW, **changes,
        }  # fmt: skip
        return Item(**values)

    assert item().servable(NOW)
    for change in (
        {"available": False},
        {"hidden": True},
        {"removed": True},
        {"expires_at": NOW},
        {"published_at": NOW + timedelta(1)},
    ):
        assert not item(**change).servable(NOW), change


def test_the_catalogue_answers_what_serving_asks(store: Store) -> None:
    append(
        store,
        received("c1", ItemChanged(item="a", published_at=NOW - timedelta(days=2))),
        received("c2", ItemChanged(item="b", published_at=NOW - timedelta(days=1), attributes={"n": 1.5})),
        received("c3", UserChanged(user="u1", attributes={"x": [1]})),
        view("e1", item="a"), view("e2", item="a"), view("e3", item="b"),
    )  # fmt: skip
    assert [one.item for one in store.catalogue.latest(5)] == ["b", "a"]
    assert store.catalogue.popular(5) == [("a", 2), ("b", 1)]
    assert store.catalogue.user("u1") == {"x": [1]}
    assert store.catalogue.user("nobody") is None
    assert {one.item for one in store.catalogue.items(["a", "b", "zz"])} == {"a", "b"}
    assert store.catalogue.totals() == {"interaction.view": 3, "items": 2, "items_live": 2}
    horizon = store.events.horizon()
    assert store.catalogue.changed_since(horizon) == []
    append(store, received("c4", ItemChanged(item="a", title="new")))
    assert [one.title for one in store.catalogue.changed_since(horizon)] == ["new"]


# Histories


def test_a_history_is_newest_first_and_knows_everything_seen(store: Store) -> None:
    append(store, *[view(f"e{number}", item=f"i{number}", ago_s=number) for number in range(10)])
    history = store.history.history("u1", 3)
    assert [event.item for event in history.events] == ["i0", "i1", "i2"]
    assert history.seen == {f"i{number}" for number in range(10)}
    assert store.history.history("nobody", 3) == type(history)((), frozenset())
    assert [row["id"] for row in store.history.export("u1")] == [f"e{number}" for number in range(9, -1, -1)]
    append(store, view("z", "u2"))
    assert store.history.recent_users(5) == ["u2", "u1"] or store.history.recent_users(5) == ["u1", "u2"]


# Dead letters


def test_a_dead_letter_is_kept_once_with_its_coordinates(store: Store) -> None:
    for _ in range(2):
        append(store, dead=[letter(4), letter(5, b"abc", "invalid")])
    newest, oldest = store.dead_letters.list()
    assert (newest.offset, newest.reason, newest.payload, newest.whole) == (5, "invalid", b"abc", True)
    assert store.dead_letters.show(oldest.number) == oldest
    assert oldest.detail == "why\\0"
    assert store.dead_letters.counts() == {"invalid": 1, "malformed": 1}
    with pytest.raises(NotFound, match="99"):
        store.dead_letters.show(99)


def test_only_whole_letters_not_yet_replayed_can_be_replayed(store: Store) -> None:
    cut = msgspec_replace(letter(2), payload_bytes=1000)
    append(store, dead=[letter(1), cut, letter(3)])
    numbers = [one.number for one in store.dead_letters.list(replayable=True)]
    assert len(numbers) == 2
    store.dead_letters.mark_replayed(numbers[:1])
    assert [one.offset for one in store.dead_letters.list(replayable=True)] == [1]
    assert [one.offset for one in store.dead_letters.list(reason="invalid")] == []


def test_bad_messages_are_counted_by_offset(store: Store) -> None:
    append(store, dead=[letter(offset) for offset in (1, 5, 6, 9)] + [letter(7, None, "erased_user")])
    assert store.dead_letters.bad_between("topic-1", 0, 5, 9) == 2
    store.dead_letters.mark_replayed([one.number for one in store.dead_letters.list() if one.offset == 5])
    assert store.dead_letters.bad_between("topic-1", 0, 5, 9) == 1
    assert store.dead_letters.bad_between("topic-2", 0, 0, 99) == 0


# Texts, models, keys


def content(text: str, status: str = "verified", ago_s: float = 0) -> Content:
    return Content(
        "i1", "description", "en", text, status, "model", "m", "h", NOW - timedelta(seconds=ago_s), "p", 1, []
    )


def test_a_machine_never_overwrites_a_person_nor_newer_facts(store: Store) -> None:
    append(store, received("c1", ItemChanged(item="i1"), ago_s=10))
    assert store.contents.save([content("first", ago_s=10)]) == 1
    assert store.contents.save([content("older", ago_s=20)]) == 0
    assert store.contents.save([content("by hand", "edited", ago_s=5)]) == 1
    assert store.contents.save([content("machine")]) == 0
    found = store.contents.content("i1", "description", "en")
    assert found is not None
    assert found[0].text == "by hand"


def test_a_text_is_stale_once_its_item_changed(store: Store) -> None:
    append(store, received("c1", ItemChanged(item="i1"), ago_s=10))
    store.contents.save([content("text", ago_s=10)])
    append(store, received("c2", ItemChanged(item="i1", title="new")))
    found = store.contents.content("i1", "description", "en")
    assert found is not None
    assert found[1]


def test_one_version_of_a_model_is_live(store: Store) -> None:
    def version(number: int) -> ModelVersion:
        return ModelVersion(
            "als", number, "candidate", f"p{number}", NOW, "s", "c", {"k": 1}, {"hr": 0.1}, "", NOW, None
        )

    for number in (1, 2):
        assert store.versions.reserve("als") == number
        store.versions.add(version(number))
        store.versions.promote("als", number, "better")
    with pytest.raises(Conflict):
        store.versions.add(version(2))
    assert store.versions.live()["als"].version == 2
    assert {one.version: one.state for one in store.versions.versions("als")} == {1: "retired", 2: "live"}
    assert store.versions.before_live("als") == 1
    with pytest.raises(NotFound):
        store.versions.promote("als", 9, "")
    with pytest.raises(Conflict):
        store.versions.before_live("ease")


def test_a_key_is_good_until_revoked(store: Store) -> None:
    key = store.keys.create(["recs:read", "events:write"])
    found = store.keys.find(key)
    assert found is not None
    assert found.scopes == {"recs:read", "events:write"}
    assert store.keys.find(key + "x") is None
    assert key not in repr(ask(store, "SELECT * FROM api_keys"))
    store.keys.revoke(key.split("_")[1])
    assert store.keys.find(key) is None
    with pytest.raises(NotFound):
        store.keys.revoke(key.split("_")[1])
    for scopes in ([], ["root"]):
        with pytest.raises(InvalidRequest):
            store.keys.create(scopes)


# Errors


def test_a_missing_postgres_is_unavailable_not_a_stack_trace(settings: Settings) -> None:
    gone = msgspec.structs.replace(settings, database_url="postgresql://nobody:pw-secret@127.0.0.1:1/x")
    with open_store(gone) as store, pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/x") as caught:
        store.catalogue.item("i1")
    assert "pw-secret" not in str(caught.value)


def test_a_connection_that_is_cut_is_unavailable_even_in_copy_and_then_replaced(store: Store) -> None:
    def copy_while_cut() -> None:
        with store.database.begin() as connection:
            (pid,) = connection.execute(sa.text("SELECT pg_backend_pid()")).one()
            ask_admin(store, f"SELECT pg_terminate_backend({pid})")
            connection.connection.cursor().copy_expert("COPY events FROM STDIN", BytesIO(b""))

    with pytest.raises(DatabaseUnavailable):
        copy_while_cut()
    assert append(store, view("e1")) == {"interaction": 1}


def test_tables_that_are_missing_ask_for_a_migration(settings: Settings) -> None:
    other = msgspec.structs.replace(settings, namespace="never_migrated")
    with open_store(other) as store:
        for use in (lambda: store.catalogue.item("i1"), lambda: append(store, view("e1"))):
            with pytest.raises(ConfigurationError, match="headwater migrate"):
                use()


def test_a_store_needs_an_address_and_a_secret(settings: Settings) -> None:
    for missing in ({"database_url": None}, {"secret": None}, {"database_url": "mysql://x/y"}, {"database_url": "::"}):
        with pytest.raises(ConfigurationError):
            open_store(msgspec.structs.replace(settings, **missing))


def msgspec_replace(one: DeadLetter, **changes: Any) -> DeadLetter:
    return DeadLetter(**{**{name: getattr(one, name) for name in DeadLetter.__dataclass_fields__}, **changes})


def ask_admin(store: Store, statement: str) -> None:
    """A statement on a connection of the test's own."""
    url = store.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url, options=f"-csearch_path={store.database.namespace}")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
