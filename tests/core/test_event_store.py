"""The event log on a real Postgres: one transaction a batch, fenced, idempotent, and the same whatever the order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from itertools import permutations
from typing import Any

import pytest

from core.errors import (
    Fenced,
    InvalidEvent,
    NotFound,
)
from core.events import (
    Impression,
    ItemChanged,
    ItemRemoved,
    UserChanged,
    UserErased,
)
from core.settings import Settings
from core.store import Store, open_store
from core.store.events import Advance, Claim, Coordinates, DeadLetter
from tests.stored import NOW, TOPIC, append, ask, ask_admin, received, view


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        yield one


@pytest.fixture
def claim(store: Store) -> Claim:
    return store.events.claim(TOPIC, "topic-1", 0)


def letter(offset: int, payload: bytes | None = b"{", reason: str = "malformed") -> DeadLetter:
    return DeadLetter(Coordinates(TOPIC, "topic-1", 0, offset), reason, "why\0", payload, len(payload or b""), "ab")


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


def msgspec_replace(one: DeadLetter, **changes: Any) -> DeadLetter:
    return DeadLetter(**{**{name: getattr(one, name) for name in DeadLetter.__dataclass_fields__}, **changes})
