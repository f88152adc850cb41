"""The producer: acknowledged means the broker has it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from core.bus import Bus, Message, ensure_topic
from core.errors import BrokerUnavailable
from core.progress import Silent
from headwater.broker import EmbeddedBroker


def consume(bootstrap: str, topic: str, partitions: int, count: int) -> list[object]:
    """The messages of a topic, by partition, read by a plain consumer."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        found: list[object] = []
        end = time.monotonic() + 20
        while len(found) < count and time.monotonic() < end:
            found += [record for records in consumer.poll(500).values() for record in records]
        return found
    finally:
        consumer.close()


@pytest.fixture
def bus(kafka_bootstrap: str, topic: str) -> Iterator[Bus]:
    ensure_topic(kafka_bootstrap, topic, 3)
    with Bus(kafka_bootstrap, topic) as one:
        yield one


def test_a_topic_is_created_once_and_keeps_its_id(kafka_bootstrap: str, topic: str) -> None:
    first = ensure_topic(kafka_bootstrap, topic, 3)
    assert first == ensure_topic(kafka_bootstrap, topic, 5)
    assert len(first) > 10
    assert first != ensure_topic(kafka_bootstrap, topic + "2", 1)


def test_published_messages_arrive_whole_with_keys_and_headers(bus: Bus, kafka_bootstrap: str, topic: str) -> None:
    bus.publish([Message(b"u1", b'{"n":1}', (("ce_id", b"\xff\x00"),)), Message(b"u1", b"x" * 3_000_000)])
    first, second = consume(kafka_bootstrap, topic, 3, 2)
    assert (first.key, first.value, first.headers) == (b"u1", b'{"n":1}', [("ce_id", b"\xff\x00")])
    assert len(second.value) == 3_000_000
    assert first.partition == second.partition, "one owner's messages stay in one partition, in order"


def test_messages_published_together_arrive_whole_and_are_heard_of_when_all_are_acknowledged(
    bus: Bus, kafka_bootstrap: str, topic: str
) -> None:
    for first in (0, 100):
        bus.publish_together([Message(b"u%d" % (n % 7), b"%d" % n, (("of", b"x"),)) for n in range(first, first + 100)])
        found = consume(kafka_bootstrap, topic, 3, first + 100)
        assert sorted(int(record.value) for record in found) == list(range(first + 100))
        assert {tuple(record.headers) for record in found} == {(("of", b"x"),)}
    bus.publish_together([])
    with pytest.raises(BrokerUnavailable, match="headwater up"):
        bus.publish_together([Message(b"u1", b"fits"), Message(b"u1", b"x" * 13_000_000)])  # refused as too large


def test_messages_published_together_while_the_broker_hangs_are_said_not_to_be_acknowledged(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    bootstrap = broker.start()
    try:
        ensure_topic(bootstrap, "t", 1)
        with Bus(bootstrap, "t") as bus:
            bus.publish_together([Message(b"u1", b"before")])
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            with pytest.raises(BrokerUnavailable, match="headwater up"):
                bus.publish_together([Message(b"u1", b"lost")], timeout_s=0.5)
            os.kill(broker.pid, signal.SIGCONT)
            bus.publish_together([Message(b"u1", b"after")], timeout_s=60)
    finally:
        broker.stop()


def test_a_long_stream_is_published_at_the_rate_asked_for(bus: Bus, kafka_bootstrap: str, topic: str) -> None:
    start = time.monotonic()
    messages = (Message(b"%d" % number, b"%d" % number) for number in range(300))
    assert bus.publish_all(messages, 300, Silent(), rate=300) == 300
    assert time.monotonic() - start > 0.8, "not faster than asked"
    assert {record.value for record in consume(kafka_bootstrap, topic, 3, 300)} == {b"%d" % n for n in range(300)}


def test_a_missing_broker_is_said_to_be_missing_and_how_to_start_one() -> None:
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1.*headwater up"):
        Bus("127.0.0.1:1", "t")
    with pytest.raises(BrokerUnavailable, match="HEADWATER_KAFKA_BOOTSTRAP"):
        ensure_topic("127.0.0.1:1", "t", 1)
