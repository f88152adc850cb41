"""The Kafka adapter: what it hands out, in which order, and what it says when the broker is not as it should be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError as ConfluentError
from kafka.errors import KafkaError

from core.bus import Bus, Message, ensure_topic
from core.errors import BrokerUnavailable
from core.settings import Settings
from ingest.kafka import Stream, offsets_from

PARTITIONS = 3
BATCH = 10


@pytest.fixture
def join(quick_settings: Settings) -> Iterator[Callable[..., Stream]]:
    """Opens members of one group; all leave at the end."""
    with ExitStack() as stack:

        def one(revoked: Callable[[set[int]], None] = lambda partitions: None) -> Stream:
            stream = Stream(
                str(quick_settings.kafka_bootstrap),
                quick_settings.topic,
                "group",
                revoked,
                partitions=PARTITIONS,
                batch_events=BATCH,
                session_timeout_ms=quick_settings.session_timeout_ms,
            )
            return stack.enter_context(stream)

        yield one


@pytest.fixture
def publish(quick_settings: Settings) -> Callable[[int], None]:
    """Publishes so many messages to every partition's worth of keys."""

    def some(count: int) -> None:
        ensure_topic(str(quick_settings.kafka_bootstrap), quick_settings.topic, PARTITIONS)
        with Bus(str(quick_settings.kafka_bootstrap), quick_settings.topic) as bus:
            bus.publish([Message(b"%d" % number, b"%d" % number) for number in range(count)])

    return some


def poll_until(happened: Callable[[], bool], stream: Stream) -> None:
    """Poll until `happened`; no message may come meanwhile."""
    end = time.monotonic() + 40
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        assert stream.poll(50) == {}


def read(stream: Stream, count: int) -> list[tuple[int, int]]:
    """(partition, offset) of the next messages, at least `count`."""
    found: list[tuple[int, int]] = []
    end = time.monotonic() + 40
    while len(found) < count:
        assert time.monotonic() < end, f"only {found} came"
        records = stream.poll(50)
        assert sum(map(len, records.values())) <= BATCH, "no more than the batch asked for"
        found += [(partition, one.offset) for partition, some in records.items() for one in some]
    return found


def test_nothing_is_read_before_it_is_placed(join: Callable[..., Stream], publish: Callable[[int], None]) -> None:
    publish(60)
    stream = join()
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)
    assert [stream.poll(50) for _ in range(5)] == [{}] * 5
    assert stream.end(0) is None
    for partition in range(PARTITIONS):
        stream.place(partition, 5)
    found = read(stream, 60 - 5 * PARTITIONS)
    for partition in range(PARTITIONS):
        offsets = [offset for where, offset in found if where == partition]
        assert offsets == list(range(5, 5 + len(offsets))), "in order, from where it was placed"
        assert stream.end(partition) == 5 + len(offsets)
        assert stream.earliest(partition) == 0


def test_held_partitions_wait_without_leaving(join: Callable[..., Stream], publish: Callable[[int], None]) -> None:
    publish(30)
    left: list[set[int]] = []
    stream = join(left.append)
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)
    for partition in range(PARTITIONS):
        stream.place(partition, 0)
    stream.hold()
    assert stream.waiting == set(range(PARTITIONS))
    assert [stream.poll(50) for _ in range(5)] == [{}] * 5
    assert [one for one in left if one] == [], "still a member"
    stream.place(1, 0)
    assert {partition for partition, _ in read(stream, 1)} == {1}


def test_members_share_the_partitions_and_hear_of_those_they_lose(join: Callable[..., Stream]) -> None:
    lost: list[set[int]] = []
    first = join(lost.append)
    poll_until(lambda: len(first.waiting) == PARTITIONS, first)
    first.place(0, 0)
    second, leave = join(), threading.Event()

    def live() -> None:  # a group waits for all its members, so each needs a thread
        while not leave.is_set():
            second.poll(50)
        second.close()

    other = threading.Thread(target=live)
    other.start()
    try:
        poll_until(lambda: bool(first.waiting and second.waiting) and len(first.waiting) < PARTITIONS, first)
        assert first.waiting | second.waiting == set(range(PARTITIONS))
        assert not first.waiting & second.waiting
        assert set(range(PARTITIONS)) in lost
        assert first.placed == set(), "what was placed before has to be placed again"
    finally:
        leave.set()
        other.join(10)
    poll_until(lambda: len(first.waiting) == PARTITIONS, first)


def test_rejoining_asks_for_the_partitions_anew(join: Callable[..., Stream]) -> None:
    stream = join()
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)
    stream.place(0, 0)
    stream.rejoin()
    assert not stream.waiting | stream.placed
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)


@pytest.mark.slow_fault
def test_a_group_that_two_members_left_at_once_forms_again(join: Callable[..., Stream]) -> None:
    # The embedded broker waits for a leader that is gone; on Kafka this group forms at once.
    leader = join()
    poll_until(lambda: len(leader.waiting) == PARTITIONS, leader)
    follower, left = join(), threading.Event()

    def live() -> None:
        while not left.is_set():
            follower.poll(50)
        follower.close()

    other = threading.Thread(target=live)
    other.start()
    poll_until(lambda: bool(leader.waiting and follower.waiting) and len(leader.waiting) < PARTITIONS, leader)
    left.set()
    other.join(10)
    leader.close()  # it has not heard yet that the other is gone
    last = join()
    poll_until(lambda: len(last.waiting) == PARTITIONS, last)


def test_a_place_that_the_log_does_not_hold_is_reported_as_cut(
    join: Callable[..., Stream], publish: Callable[[int], None]
) -> None:
    publish(30)
    stream = join()
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)
    stream.place(1, 999)
    stream.poll(10)
    # The embedded broker says nothing of an offset past its end, so what Kafka says of it is said by hand.
    stream._reader._stumble(1, ConfluentError(ConfluentError._AUTO_OFFSET_RESET))
    assert stream.poll(10) == {}
    assert stream.cut == {1}
    assert 1 in stream.waiting
    stream.place(1, 0)
    assert stream.cut == set()
    assert {partition for partition, _ in read(stream, 1)} == {1}


def test_errors_of_the_client_become_ours(join: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = join()
    monkeypatch.setattr(stream._consumer, "poll", raising(KafkaError("it said so")))
    with pytest.raises(BrokerUnavailable, match="KafkaError"):
        stream.poll(10)


def test_a_group_that_does_not_form_once_it_was_dissolved_is_joined_by_another_client(
    join: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, dissolved = join(), []
    poll_until(lambda: len(stream.waiting) == PARTITIONS, stream)
    monkeypatch.setattr(stream, "_patience_s", 0.0)
    monkeypatch.setattr(stream, "_dissolve", lambda: dissolved.append(1))
    stuck = [True]
    monkeypatch.setattr(stream._consumer._coordinator, "stable", lambda: not stuck[0])
    stream.stay()
    stuck[0] = False
    stream.stay()
    stuck[0] = True
    time.sleep(0.001)
    stream.stay()
    assert len(dissolved) == 2, "it was whole in between"
    time.sleep(0.001)
    with pytest.raises(BrokerUnavailable):
        stream.stay()


def raising(error: Exception) -> Callable[..., Any]:
    def poll(_timeout_ms: int) -> Any:
        raise error

    return poll


def test_a_missing_broker_is_said_to_be_missing() -> None:
    with pytest.raises(BrokerUnavailable, match="headwater up"):
        Stream("127.0.0.1:1", "t", "g", print, partitions=1, batch_events=1, session_timeout_ms=6000)
    with pytest.raises(BrokerUnavailable):
        offsets_from("127.0.0.1:1", "t", 1, 0)


def test_a_time_is_found_in_the_log(quick_settings: Settings, publish: Callable[[int], None]) -> None:
    publish(30)
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    publish(30)

    def offsets(start: datetime | int) -> dict[int, int]:
        return offsets_from(str(quick_settings.kafka_bootstrap), quick_settings.topic, PARTITIONS, start)[1]

    assert offsets(between - timedelta(hours=1)) == dict.fromkeys(range(PARTITIONS), 0)
    assert sum(offsets(between).values()) == 30
    assert offsets(between + timedelta(hours=1)) == {}
    assert offsets(7) == dict.fromkeys(range(PARTITIONS), 7)
