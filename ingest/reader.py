"""Messages of given partitions from given offsets on, read with librdkafka: a quarter of kafka-python's time a message.

Which partitions are read, and from where, is decided elsewhere (ingest/kafka.py, docs/adr/0012): this joins no group.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, TopicPartition

log = logging.getLogger(__name__)

# What may wait in memory, whatever the lag. A single larger message still comes, alone.
FETCH_BYTES = 16_000_000
PARTITION_FETCH_BYTES = 2_000_000
FETCH_WAIT_MS = 50  # the embedded broker answers a waiting fetch only when its time is up, not when a message comes

# Offsets that the log does not hold: too old for it, or past its end.
OUTSIDE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class Record(NamedTuple):
    """One message as the broker gave it. `timestamp` is in ms since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Reader:
    """Reads one topic. `cut` are partitions no longer read because their log holds nothing at the offset.

    A broker that is away is waited for in silence: the group's client notices it. Not thread-safe.
    """

    def __init__(self, bootstrap: str, topic: str, batch_events: int) -> None:
        self.cut: set[int] = set()
        self._topic, self._batch_events = topic, batch_events
        self._next: dict[int, int] = {}  # by partition read, the offset of its next message
        self._changed = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{topic}.reader",  # demanded, but never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "check.crcs": True,
                "fetch.max.bytes": FETCH_BYTES,
                "max.partition.fetch.bytes": PARTITION_FETCH_BYTES,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "fetch.error.backoff.ms": 100,
                "queued.max.messages.kbytes": FETCH_BYTES // 1000,
                "reconnect.backoff.max.ms": 1_000,
                "error_cb": lambda error: log.debug("the broker: %s", error),
                "logger": log,
                "log_level": 3,
            }
        )

    def read(self, partition: int, offset: int) -> None:
        """Read the partition from `offset` on."""
        self._next[partition] = offset
        self.cut.discard(partition)
        self._changed = True

    def leave(self, partitions: Iterable[int]) -> None:
        """Read these no more."""
        for partition in partitions:
            self._next.pop(partition, None)
            self.cut.discard(partition)
        self._changed = True

    def poll(self, timeout_ms: int) -> dict[int, list[Record]]:
        """Messages in order, by partition, as many as a batch holds; waits `timeout_ms` at most for the first."""
        if self._changed:
            self._consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])
            self._changed = False
        # consume() waits until it has as many as were asked for: so one, and then what is there.
        messages = self._consumer.consume(1, timeout_ms / 1000)
        if messages:
            messages += self._consumer.consume(self._batch_events - 1, 0)
        found: dict[int, list[Record]] = {}
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None or partition is None or offset is None:
                self._stumble(partition, error)
                continue
            headers: Any = message.headers() or []  # the stubs also name what only a producer may give
            record = Record(offset, message.timestamp()[1], message.key(), message.value(), headers)
            found.setdefault(partition, []).append(record)
            self._next[partition] = offset + 1
        return found

    def end(self, partition: int) -> int | None:
        """The offset that the next published message will get, as of the last fetch; None before the first."""
        if partition not in self._next:
            return None
        watermarks = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return watermarks[1] if watermarks is not None and watermarks[1] > OFFSET_INVALID else None

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _stumble(self, partition: int | None, error: KafkaError | None) -> None:
        if partition is not None and error is not None and error.code() in OUTSIDE:
            self.leave([partition])
            self.cut.add(partition)
        else:
            log.info("%s: %s", self._topic, error)
