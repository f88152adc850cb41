"""The producer: whoever publishes events does it through here, and believes nothing before the broker acknowledged."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from confluent_kafka import KafkaException, Producer

from core import tracing
from core.errors import BrokerUnavailable
from core.progress import Reporter

HOW_TO_START = "start one with `headwater up`, or set HEADWATER_KAFKA_BOOTSTRAP=host:port"
CONNECT_S = 3.0
PUBLISH_WINDOW = 10_000  # unacknowledged messages at most: bounds memory
SETTLE_S = 30.0  # for each window of a long stream
WAIT_S = 0.1  # of the thread that hears of acknowledgements: how late it may notice that it is over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """What goes on the wire: the partition key, the value, and headers (binary-mode CloudEvents, dead-letter replays, traces)."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Bus:
    """A producer to one topic: acks=all. Thread-safe. Close it, or use it as a context manager.

    librdkafka, which spends a tenth of kafka-python's time on a message, and none of it in Python's (docs/adr/0012). It is not
    idempotent: an event is known by its identity, whatever is sent twice, and a broker that has lost its memory ends an
    idempotent producer for good.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        reach(bootstrap)
        self._producer = _producer(bootstrap)
        self._together: Producer | None = None
        self._closed = threading.Event()
        self._hearing = threading.Thread(target=self._hear, name="acknowledgements", daemon=True)
        self._hearing.start()

    def publish(self, messages: Sequence[Message], timeout_s: float = 10) -> None:
        """Send and wait until every message is acknowledged. Raises BrokerUnavailable: some may have arrived all the
        same, so the caller sends the same ids again, which is harmless.
        """
        about: dict[str, Any] = {"messaging.system": "kafka", "messaging.batch.message_count": len(messages)}
        with tracing.span(f"publish {self.topic}", "PRODUCER", attributes=about):
            self._deliver(messages, timeout_s)

    def publish_together(self, messages: Sequence[Message], timeout_s: float = 10) -> None:
        """The same, of one thread alone and of many messages: whoever waits hears once of all of them. `publish` hears of each,
        and each time a thread takes the interpreter's lock from one that may be answering.
        """
        if self._together is None:
            self._together = _producer(self._bootstrap, {"delivery.report.only.error": True})
        failed = _Batch(len(messages))
        deadline = time.monotonic() + timeout_s
        try:
            for message in messages:
                self._send(self._together, message, failed, deadline)
            left = self._together.flush(max(0.001, deadline - time.monotonic()))
        except (KafkaException, BufferError) as error:
            raise unreachable(self._bootstrap, error) from error
        if left or failed.error is not None:
            raise unreachable(self._bootstrap, failed.error or TimeoutError("not acknowledged in time"))

    def publish_all(
        self, messages: Iterable[Message], total: int, reporter: Reporter, rate: float | None = None
    ) -> int:
        """Publish a long stream with bounded memory and progress, at most `rate` messages/s. Returns the number
        acknowledged. Raises BrokerUnavailable at the first window of messages that are not.
        """
        sent, start, stream = 0, time.monotonic(), iter(messages)
        size = PUBLISH_WINDOW if rate is None else min(PUBLISH_WINDOW, max(1, int(rate // 10)))
        with reporter.task("publishing", total) as task:
            while window := list(islice(stream, size)):
                self._deliver(window, SETTLE_S)
                sent += len(window)
                task.advance(len(window), f"{sent / (time.monotonic() - start):,.0f} events/s")
                if rate is not None:
                    time.sleep(max(0.0, start + sent / rate - time.monotonic()))
        return sent

    def _deliver(self, messages: Sequence[Message], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        batch = _Batch(len(messages))
        try:
            for message in messages:
                self._send(self._producer, message, batch, deadline)
        except (KafkaException, BufferError) as error:
            raise unreachable(self._bootstrap, error) from error
        if not batch.settled.wait(max(0.001, deadline - time.monotonic())):
            raise unreachable(self._bootstrap, TimeoutError("not acknowledged in time"))
        if batch.error is not None:
            raise unreachable(self._bootstrap, batch.error)

    def _send(self, producer: Producer, message: Message, batch: _Batch, deadline: float) -> None:
        headers: list[tuple[str, str | bytes | None]] = [*message.headers]
        if tracing.on() and all(name != tracing.TRACEPARENT for name, _ in headers):
            headers += tracing.headers()  # beside the event, which stays as it is
        while True:
            try:
                producer.produce(self.topic, message.value, message.key, headers=headers, on_delivery=batch.hear)
                return
            except BufferError:  # as many wait as may
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _hear(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(WAIT_S)

    def close(self) -> None:
        """Send what is buffered, briefly, and disconnect."""
        self._producer.flush(5)
        if self._together is not None:
            self._together.flush(1)  # whoever waited has given up
        self._closed.set()
        self._hearing.join()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _producer(bootstrap: str, more: Mapping[str, Any] | None = None) -> Producer:
    try:
        return Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "linger.ms": 5,
                "socket.nagle.disable": True,
                "partitioner": "murmur2_random",  # as every other client: one owner's events in one partition
                "message.max.bytes": 12_000_000,
                "message.timeout.ms": 15_000,
                "request.timeout.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "error_cb": lambda error: log.debug("the broker: %s", error),
                "logger": log,
                "log_level": 3,
                **(more or {}),
            }
        )
    except (KafkaException, ValueError) as error:
        raise unreachable(bootstrap, error) from error


class _Batch:
    """Messages sent together: `settled` once the broker has said of each what became of it, `error` if it refused one."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.settled = threading.Event()
        self.error: BaseException | None = None
        if size == 0:
            self.settled.set()

    def hear(self, error: Any, message: Any) -> None:
        """Of one message. Called by one thread alone, or by `flush` when that one is waited for."""
        if error is not None:
            self.error = KafkaException(error)
        self._left -= 1
        if self._left == 0:
            self.settled.set()


def ensure_topic(bootstrap: str, topic: str, partitions: int) -> str:
    """Create the topic where absent; returns its id, which changes when a topic is recreated. Raises BrokerUnavailable."""
    from kafka import KafkaAdminClient  # a tenth of a second, and a server makes no topics
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    reach(bootstrap)
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","), bootstrap_timeout_ms=5_000, request_timeout_ms=10_000
        )
    except (KafkaError, ValueError, OSError) as error:
        raise unreachable(bootstrap, error) from error
    try:
        if topic not in admin.list_topics():
            try:
                options = {topic: {"num_partitions": partitions, "replication_factor": -1}}
                admin.create_topics(options, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                pass  # another process was faster
        return str(admin.describe_topics([topic])[0]["topic_id"])
    except (KafkaError, OSError) as error:
        raise unreachable(bootstrap, error) from error
    finally:
        admin.close()


def reach(bootstrap: str) -> None:
    """Raise BrokerUnavailable unless one of the addresses accepts a connection.

    Asked before every kafka-python client is made: one that cannot connect leaves its thread and sockets behind.
    """
    failure: Exception = ValueError("no address")
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
            return
        except (OSError, ValueError) as error:
            failure = error
    raise unreachable(bootstrap, failure) from failure


def unreachable(bootstrap: str, error: BaseException) -> BrokerUnavailable:
    """The error for a broker that does not answer, saying how to get one."""
    return BrokerUnavailable(f"no Kafka broker answers at {bootstrap} ({type(error).__name__}): {HOW_TO_START}")
