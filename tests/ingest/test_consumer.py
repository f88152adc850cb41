"""The consumer on a real Postgres and a real Kafka protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client import REGISTRY

from core.errors import ConfigurationError
from core.events import Interaction, ItemChanged, UserChanged, UserErased
from core.store import open_store
from ingest import claims
from ingest.consumer import run_consumer
from ingest.kafka import Stream
from ingest.reader import Reader
from ingest.replay import replay_topic

if TYPE_CHECKING:
    from tests.ingest.conftest import World


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"headwater_{name}", labels) or 0.0


def test_what_is_published_becomes_rows_counts_and_catalogue(world: World) -> None:
    world.publish(world.interactions(200))
    world.publish([world.event(ItemChanged(item="i1", title="One"))])
    world.publish([world.event(UserChanged(user="u1", attributes={"a": 1}))])
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    item = world.store.catalogue.item("i1")
    assert item is not None
    assert item.title == "One"
    assert world.store.catalogue.user("u1") == {"a": 1}
    assert sum(count for _, count in world.store.catalogue.popular(1000)) == 200


def test_each_batch_is_reported_and_measured(world: World) -> None:
    names = ("events_inserted_total", "events_duplicate_total", "events_late_total", "ingest_batch_events_sum")
    labels = {"events_inserted_total": {"family": "interaction"}}
    before = {name: metric(name, **labels.get(name, {})) for name in names}
    bad = metric("dead_letters_total", reason="malformed")
    late = world.interactions(2)[0]
    views = world.interactions(50)
    old = world.event(
        Interaction(user="u", item="i", kind="view"),
        time=datetime.now(UTC) - timedelta(days=3),
    )
    world.publish([*views, *views[:7], old, late])
    world.publish_garbage(b"bad")
    with world.consumer():
        world.wait_until_settled()
        world.wait_until(lambda: bool(world.reports) and world.reports[-1].lag == 0, 10)
        assert (
            metric("consumer_lag_messages", partition=str(world.ask("SELECT max(partition) FROM dead_letters")[0][0]))
            == 0
        )
    grown = {name: metric(name, **labels.get(name, {})) - before[name] for name in names}
    assert grown == {
        "events_inserted_total": 52, "events_duplicate_total": 7, "events_late_total": 1, "ingest_batch_events_sum": 60,
    }  # fmt: skip
    assert metric("dead_letters_total", reason="malformed") == bad + 1
    assert sum(report.messages for report in world.reports) == 60
    assert sum(report.duplicates for report in world.reports) == 7
    assert sum(report.dead for report in world.reports) == 1
    assert all(report.seconds > 0 for report in world.reports)


def test_batches_are_as_large_as_asked_and_memory_is_bounded_by_it(worlds: Callable[..., World]) -> None:
    world = worlds(ingest_batch_events=30)
    world.publish(world.interactions(500))
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    assert max(report.messages for report in world.reports) == 30


def test_a_restart_goes_on_where_it_stopped(world: World) -> None:
    for _ in range(3):
        world.publish(world.interactions(50))
        with world.consumer():
            world.wait_until_settled()
    assert world.troubles() == []
    assert sum(report.messages for report in world.reports) == 150, "nothing was read twice"


def test_a_stop_finishes_the_batch_and_hands_over_at_once(worlds: Callable[..., World]) -> None:
    world = worlds(ingest_batch_events=10)
    world.publish(world.interactions(400))
    with world.consumer() as stop:
        world.wait_until(lambda: len(world.reports) >= 3, 30)
        stop.set()
    assert world.reached() == sum(report.messages for report in world.reports)
    with world.consumer():  # it would wait for a session to expire if the first had not left
        world.wait_until_settled()
    assert world.troubles() == []


def test_a_message_that_only_postgres_refuses_becomes_the_dead_letter(world: World) -> None:
    world.execute("ALTER TABLE events ADD CONSTRAINT no_poison CHECK (item_id NOT LIKE 'poison%')")
    good = world.interactions(200)
    bad = [world.event(Interaction(user="u1", item=f"poison{n}", kind="view"), id=f"p{n}") for n in range(3)]
    messages = [*good, *bad]
    world.random.shuffle(messages)
    world.publish(messages)
    for number in range(3):
        del world.published[f"p{number}"]
    world.garbage += 3
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    letters = world.store.dead_letters.list()
    assert {letter.reason for letter in letters} == {"refused_by_database"}
    assert {msgspec.json.decode(letter.payload)["id"] for letter in letters if letter.payload} == {"p0", "p1", "p2"}
    assert "no_poison" in letters[0].detail


def test_the_same_events_leave_the_same_tables_in_any_order(worlds: Callable[..., World]) -> None:
    first = worlds()
    messages = first.mixture(400)
    messages += [first.event(UserErased(user=user)) for user in ("u1", "u2")]
    digests = []
    for number in range(3):
        world = first if number == 0 else worlds(ingest_batch_events=first.random.choice([7, 50, 1000]))
        world.publish(messages)
        with world.consumer():
            world.wait_until_settled()
        digests.append(world.digest())
        first.random.shuffle(messages)
        messages += first.random.sample(messages, 50)  # repeated, at new offsets
    assert digests[1:] == digests[:1] * 2, f"seed {first.seed}"
    assert first.rows() > 250


def test_publishing_again_changes_nothing(world: World) -> None:
    messages = world.mixture(300)
    world.publish(messages)
    with world.consumer():
        world.wait_until_settled()
        before = world.digest()
        world.publish(messages)
        world.wait_until_settled()
    assert world.digest() == before
    assert world.troubles() == []


def test_a_replay_reads_everything_again_changes_nothing_and_brings_no_erased_user_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "CONFIRM_S", 0.3)
    world.publish(world.mixture(300))
    world.publish_garbage(b"bad", b"worse")
    with world.consumer():
        world.wait_until_settled()
        world.publish([world.event(UserErased(user="u1"))])
        world.wait_until_settled()
        before = world.digest()
        rewound = replay_topic(world.settings, world.store, 0)
        assert sum(one.reached for one in rewound) == 303
        world.wait_until(lambda: sum(report.messages for report in world.reports) == 606, 30)
        world.wait_until_settled()
    assert world.digest() == before
    assert world.number("SELECT count(*) FROM events WHERE user_id = 'u1'") == 0
    assert world.store.dead_letters.counts()["malformed"] == 2


def test_a_replay_from_a_time_reads_what_came_since(world: World) -> None:
    world.publish(world.interactions(40))
    with world.consumer():
        world.wait_until_settled()
    threading.Event().wait(0.05)
    since = datetime.now(UTC)
    world.publish(world.interactions(10))
    with world.consumer():
        world.wait_until_settled()
    rewound = replay_topic(world.settings, world.store, since)
    assert sum(one.reached - one.start for one in rewound) == 10
    assert replay_topic(world.settings, world.store, since + timedelta(hours=1)) == []


@pytest.mark.parametrize("oldest", [7, 0])
def test_a_log_that_was_cut_is_read_from_its_oldest_message_and_what_is_lost_is_counted(
    worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, oldest: int
) -> None:
    # The embedded broker never drops anything, so what a broker with a retention says is said by hand, once.
    world = worlds(topic_partitions=1)
    lost, poll, said = metric("events_lost_total"), Reader.poll, threading.Event()
    world.publish(world.interactions(20))

    def cut_once(reader: Reader, timeout_ms: int) -> object:
        if said.is_set():
            return poll(reader, timeout_ms)
        said.set()
        reader.leave([0])
        reader.cut.add(0)
        return {}

    monkeypatch.setattr(Reader, "poll", cut_once)
    monkeypatch.setattr(Stream, "earliest", lambda stream, partition: oldest)
    with world.consumer():
        world.wait_until_settled()
    assert world.rows() == 20 - oldest
    assert metric("events_lost_total") - lost == oldest
    assert ("7 messages before they were read" if oldest else "ends before 0") in caplog.text


def test_tables_that_were_never_made_stop_it_with_advice(world: World) -> None:
    settings = msgspec.structs.replace(world.settings, namespace=world.settings.namespace + "_empty")
    with open_store(settings) as store, pytest.raises(ConfigurationError, match="headwater migrate"):
        run_consumer(settings, store, stop=threading.Event())


def test_two_namespaces_on_one_database_and_broker_are_apart(worlds: Callable[..., World]) -> None:
    one, other = worlds(), worlds()
    one.publish(one.interactions(30))
    other.publish(other.mixture(20))
    with one.consumer(), other.consumer():
        one.wait_until_settled()
        other.wait_until_settled()
    assert one.troubles() == other.troubles() == []
