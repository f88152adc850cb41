"""The way out to the broker: connects when first needed, so that serving starts and answers without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.bus import Bus, Message
from core.errors import BrokerUnavailable
from core.settings import Settings

ACKNOWLEDGE_S = 5.0
REST_S = 1.0  # after a failure the broker is left alone this long, and callers hear so at once


class Publisher:
    """One producer for the process. Thread-safe. `trouble` is why the last attempt failed, None when it did not."""

    def __init__(self, settings: Settings, bus: Bus | None = None) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._topic = settings.topic
        self._bus = bus
        self._owned = bus is None
        self._lock = threading.Lock()
        self._rest_until = 0.0
        self.trouble: BrokerUnavailable | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish and wait for the acknowledgement of each. Raises BrokerUnavailable."""
        bus = self._connected()
        with self._rest_after_failure():
            bus.publish(messages, ACKNOWLEDGE_S)
        self.trouble = None

    def publish_together(self, messages: Sequence[Message]) -> None:
        """The same, for one thread that has many: core.bus.Bus.publish_together."""
        bus = self._connected()
        with self._rest_after_failure():
            bus.publish_together(messages, ACKNOWLEDGE_S)
        self.trouble = None

    def close(self) -> None:
        """Disconnect, if the connection is ours."""
        with self._lock:
            if self._owned and self._bus is not None:
                self._bus.close()
                self._bus = None

    def _connected(self) -> Bus:
        with self._lock:
            # Not an attempt, so it prolongs nothing: however many ask, the next attempt comes when the rest is over.
            if self.trouble is not None and time.monotonic() < self._rest_until:
                raise BrokerUnavailable(str(self.trouble))
            if self._bus is None:
                with self._rest_after_failure():
                    self._bus = self._connect()
            return self._bus

    def _connect(self) -> Bus:
        if self._bootstrap is None:
            raise BrokerUnavailable(
                "no Kafka broker is configured: start one with `headwater up`, or set HEADWATER_KAFKA_BOOTSTRAP=host:port"
            )
        return Bus(self._bootstrap, self._topic)

    @contextmanager
    def _rest_after_failure(self) -> Iterator[None]:
        try:
            yield
        except BrokerUnavailable as error:
            self.trouble, self._rest_until = error, time.monotonic() + REST_S
            raise
