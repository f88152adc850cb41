"""The consumer, on one page: poll -> decode -> write in one transaction -> advance.

Three kinds of failure and no more. *Invalid*: the message becomes a dead letter, the stream goes on. *Unavailable*:
nothing was decided; wait, ask Postgres how far we really are, read again from there. *Fenced*: someone else owns the
partition; forget it and ask the group again. Whatever happens, rows and offsets change together or not at all
(DESIGN I1), so doing it again is always right.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core import telemetry
from core.errors import DatabaseUnavailable, Fenced, InvalidEvent
from core.events import decode
from core.settings import Settings
from core.store import Store
from core.store.events import Advance, Appended, Coordinates, DeadLetter, Received
from ingest.claims import Claims, consume
from ingest.dead_letters import bury, halt_if_too_many
from ingest.kafka import Stream
from ingest.reader import Record
from ingest.traces import transaction

log = logging.getLogger(__name__)

LATE = timedelta(days=1)
SAMPLES = 100  # messages of a batch at most whose time to be servable is observed


Decoded = tuple[Record, Received | DeadLetter]


@dataclass(frozen=True)
class BatchReport:
    """What one committed batch did. `lag` is in messages, over the partitions of this consumer, as far as known."""

    messages: int
    inserted: Mapping[str, int]
    duplicates: int
    dead: int
    lag: int
    seconds: float


def run_consumer(
    settings: Settings,
    store: Store,
    *,
    stop: threading.Event,
    on_batch: Callable[[BatchReport], None] | None = None,
) -> None:
    """Consume the namespace's topic into Postgres until `stop` is set; then finish the batch and leave the group.

    Run any number of these, in any number of processes. Waits for a broker or a Postgres that is away. Raises
    TooManyDeadLetters when more of the stream is refused than the settings allow, ConfigurationError when Postgres
    has not been migrated.
    """
    consume(Consumer(settings, store, on_batch or (lambda report: None)), stop)


class Consumer:
    """The claims held, and one step of the loop."""

    def __init__(self, settings: Settings, store: Store, on_batch: Callable[[BatchReport], None]) -> None:
        self._settings, self._store, self._on_batch = settings, store, on_batch
        self._claims = Claims(settings, store, self._forget, telemetry.EVENTS_LOST.inc)
        self._newest: dict[int, float] = {}  # by partition, when the newest message written was published

    def join(self) -> Stream:
        """Become a member of the group."""
        settings = self._settings
        assert settings.kafka_bootstrap is not None
        self._claims.held.clear()
        gc.unfreeze()
        gc.collect()  # what an earlier membership left: frozen, its sockets would stay open for ever
        gc.freeze()  # what is loaded by now stays: collecting garbage need not walk it for every few hundred messages
        return Stream(
            settings.kafka_bootstrap, settings.topic, f"{settings.namespace}.ingest", self._claims.forget,
            partitions=settings.topic_partitions, batch_events=settings.ingest_batch_events,
            session_timeout_ms=settings.session_timeout_ms,
        )  # fmt: skip

    def step(self, stream: Stream) -> None:
        """Poll, decode, write, advance; or find out why not."""
        records = stream.poll(self._settings.ingest_poll_ms)
        try:
            self._claims.keep(stream)
            if records:
                self._write(stream, self._decode(stream, records))
        except DatabaseUnavailable as error:
            self._claims.wait(stream, error)
            for partition, published in self._newest.items():
                telemetry.LAG_SECONDS.labels(str(partition)).set(time.time() - published)
        except Fenced as error:
            self._claims.fenced(stream, error)

    def _decode(self, stream: Stream, records: Mapping[int, Sequence[Record]]) -> list[Decoded]:
        settings, topic, topic_id = self._settings, stream.topic, stream.topic_id
        batch: list[Decoded] = []
        for partition, messages in records.items():
            for record in messages:
                at = Coordinates(topic, topic_id, partition, record.offset)
                value = record.value or b""
                try:
                    event = decode(
                        value,
                        record.headers,
                        max_bytes=settings.event_max_bytes,
                        max_future_s=settings.event_max_future_s,
                    )
                    batch.append((record, Received(event, at, len(value))))
                except InvalidEvent as refusal:
                    batch.append((record, bury(record, at, refusal, settings.dead_letter_payload_bytes)))
        return batch

    def _write(self, stream: Stream, batch: Sequence[Decoded]) -> None:
        """Write the batch and advance. What Postgres refuses is found by halving the batch, and becomes a dead letter."""
        start = time.perf_counter()
        received = [one for _, one in batch if isinstance(one, Received)]
        dead = [one for _, one in batch if isinstance(one, DeadLetter)]
        reached = {one.at.partition: one.at.offset + 1 for _, one in batch}
        advances = [Advance(self._claims.held[partition], offset) for partition, offset in reached.items()]
        try:
            with transaction(batch):
                appended = self._store.events.append(received, dead, advances)
        except InvalidEvent as refusal:
            for part in self._parts(batch, refusal):
                self._write(stream, part)
            return
        self._claims.reached(reached)
        self._account(stream, batch, appended, time.perf_counter() - start)
        for partition in {letter.at.partition for letter in dead}:
            halt_if_too_many(self._settings, self._store, self._claims.held[partition])

    def _parts(self, batch: Sequence[Decoded], refusal: InvalidEvent) -> Sequence[Sequence[Decoded]]:
        """What to write instead of a batch that was refused: its halves, or the dead letter of its only message."""
        if len(batch) > 1:
            return batch[: len(batch) // 2], batch[len(batch) // 2 :]
        record, message = batch[0]
        if isinstance(message, DeadLetter):
            raise refusal  # it holds nothing that Postgres could refuse: a fault of ours, not of the message
        return ([(record, bury(record, message.at, refusal, self._settings.dead_letter_payload_bytes))],)

    def _account(self, stream: Stream, batch: Sequence[Decoded], appended: Appended, seconds: float) -> None:
        """Count a committed batch, and tell whoever listens."""
        now, lag = datetime.now(UTC), self._measure_lag(stream, batch)
        dead = Counter(one.reason for _, one in batch if isinstance(one, DeadLetter))
        telemetry.BATCH_SECONDS.observe(seconds)
        telemetry.BATCH_EVENTS.observe(len(batch))
        telemetry.EVENTS_DUPLICATE.inc(appended.duplicates)
        telemetry.EVENTS_LATE.inc(sum(one.event.time < now - LATE for _, one in batch if isinstance(one, Received)))
        for family, count in appended.inserted.items():
            telemetry.EVENTS_INSERTED.labels(family).inc(count)
        for reason, count in [*dead.items(), *([("erased_user", appended.erased)] if appended.erased else [])]:
            telemetry.DEAD_LETTERS.labels(reason).inc(count)
        for record, _ in batch[:: 1 + len(batch) // SAMPLES]:
            telemetry.SERVABLE_SECONDS.observe(max(0.0, now.timestamp() - record.timestamp / 1000))
        dead_or_erased = dead.total() + appended.erased
        self._on_batch(BatchReport(len(batch), appended.inserted, appended.duplicates, dead_or_erased, lag, seconds))

    def _measure_lag(self, stream: Stream, batch: Sequence[Decoded]) -> int:
        """Set the lag metrics of the batch's partitions; returns the messages behind over all partitions."""
        newest = {one.at.partition: record.timestamp / 1000 for record, one in batch}
        behind = {
            partition: max(0, (stream.end(partition) or 0) - claim.next_offset)
            for partition, claim in self._claims.held.items()
        }
        for partition, published in newest.items():
            telemetry.LAG_MESSAGES.labels(str(partition)).set(behind[partition])
            age_s = max(0.0, time.time() - published) if behind[partition] else 0.0
            telemetry.LAG_SECONDS.labels(str(partition)).set(age_s)
        self._newest |= newest
        return sum(behind.values())

    def _forget(self, partitions: set[int]) -> None:
        for partition in partitions:
            self._newest.pop(partition, None)
            for gauge in (telemetry.LAG_MESSAGES, telemetry.LAG_SECONDS):
                gauge.remove_by_labels({"partition": str(partition)})  # its next owner shows it
