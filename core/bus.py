"""The producer: whoever publishes events does it through here, and believes nothing before the broker acknowledged."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from core.errors import BrokerUnavailable
from core.progress import Reporter

HOW_TO_START = "start one with `headwater up`, or set HEADWATER_KAFKA_BOOTSTRAP=host:port"
CONNECT_S = 3.0
PUBLISH_WINDOW = 10_000  # unacknowledged messages at most: bounds memory


@dataclass(frozen=True)
class Message:
    """What goes on the wire: the partition key, the value, and headers (binary-mode CloudEvents, dead-letter replays)."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Bus:
    """A producer to one topic: idempotent, acks=all. Thread-safe. Close it, or use it as a context manager."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        reach(bootstrap)
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_request_size=12_000_000,
                max_block_ms=5_000,
                delivery_timeout_ms=15_000,
                request_timeout_ms=5_000,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=1_000,
            )
        except (KafkaError, ValueError, OSError) as error:
            raise unreachable(bootstrap, error) from error

    def publish(self, messages: Sequence[Message], timeout_s: float = 10) -> None:
        """Send and wait until every message is acknowledged. Raises BrokerUnavailable: some may have arrived all the
        same, so the caller sends the same ids again, which is harmless.
        """
        deadline = time.monotonic() + timeout_s
        try:
            futures = [self._send(message) for message in messages]
            for future in futures:
                future.get(timeout=max(0.001, deadline - time.monotonic()))
        except (KafkaError, OSError) as error:
            raise unreachable(self._bootstrap, error) from error

    def publish_all(
        self, messages: Iterable[Message], total: int, reporter: Reporter, rate: float | None = None
    ) -> int:
        """Publish a long stream with bounded memory and progress, at most `rate` messages/s. Returns the number
        acknowledged. Raises BrokerUnavailable at the first message that is not.
        """
        sent, window, start = 0, [], time.monotonic()
        try:
            with reporter.task("publishing", total) as task:
                for message in messages:
                    window.append(self._send(message))
                    if len(window) == PUBLISH_WINDOW or (rate is not None and len(window) >= max(1, rate // 10)):
                        sent += self._settle(window)
                        task.advance(len(window), f"{sent / (time.monotonic() - start):,.0f} events/s")
                        window.clear()
                    if rate is not None:
                        time.sleep(max(0.0, start + sent / rate - time.monotonic()))
                sent += self._settle(window)
                task.advance(len(window), f"{sent / (time.monotonic() - start):,.0f} events/s")
        except (KafkaError, OSError) as error:
            raise unreachable(self._bootstrap, error) from error
        return sent

    def _send(self, message: Message) -> Any:
        return self._producer.send(self.topic, key=message.key, value=message.value, headers=list(message.headers))

    def _settle(self, futures: list[Any]) -> int:
        self._producer.flush(timeout=30)
        for future in futures:
            future.get(timeout=1)
        return len(futures)

    def close(self) -> None:
        """Send what is buffered, briefly, and disconnect."""
        self._producer.close(timeout=5)

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def ensure_topic(bootstrap: str, topic: str, partitions: int) -> str:
    """Create the topic where absent; returns its id, which changes when a topic is recreated. Raises BrokerUnavailable."""
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
