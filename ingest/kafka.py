"""The member of a consumer group: kafka-python keeps the membership, ingest/reader.py brings the messages.

The group hands out partitions; where to read them from is not Kafka's to say but the store's. So a partition that
was just assigned is *waiting*: assigned, unread, until `place` gives it the store's offset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError

from core.bus import ensure_topic, unreachable
from ingest.reader import Reader, Record

log = logging.getLogger(__name__)

LEAVE_MS = 3_000  # longest wait for the broker to note that we left
METADATA_MS = 5_000  # how soon new partitions and a topic made anew are noticed
PATIENCE_S = 3.0  # over two sessions: how long a group may take to form
SILENCE_S = 15.0  # without a coordinator for this long, the broker counts as unreachable


class Stream:
    """One member of a consumer group on one topic, which is created where absent.

    `waiting` are our partitions that are not read yet, `placed` those that are, and `cut` those of the waiting whose log
    holds nothing at the place where they were to be read. `revoked` is called, within `poll`, with the partitions that
    are no longer ours. Not thread-safe. Any method may raise BrokerUnavailable: close the stream then, open another.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        revoked: Callable[[set[int]], None],
        *,
        partitions: int,
        batch_events: int,
        session_timeout_ms: int,
    ) -> None:
        self.topic = topic
        self.waiting: set[int] = set()
        self.placed: set[int] = set()
        self.cut: set[int] = set()
        self._bootstrap, self._partitions = bootstrap, partitions
        self._listener = _Listener(self, revoked)
        self._group, self._patience_s = group, PATIENCE_S + 2 * session_timeout_ms / 1000
        self._last_heard = self._last_made = self._last_joined = time.monotonic()
        self._dissolved = False  # since it was whole last
        self.topic_id = ensure_topic(bootstrap, topic, partitions)
        try:
            # No group_instance_id: a killed static member keeps its partitions from everyone until its session ends.
            self._consumer = KafkaConsumer(
                bootstrap_servers=bootstrap.split(","),
                group_id=group,
                enable_auto_commit=False,  # offsets are in Postgres, beside the rows
                allow_auto_create_topics=False,
                session_timeout_ms=session_timeout_ms,
                heartbeat_interval_ms=session_timeout_ms // 4,
                metadata_max_age_ms=METADATA_MS,
                reconnect_backoff_max_ms=1_000,
                request_timeout_ms=10_000,
                bootstrap_timeout_ms=5_000,
                metrics_enabled=False,
            )
        except (KafkaError, ValueError, OSError) as error:
            raise unreachable(bootstrap, error) from error
        self._consumer.subscribe([topic], listener=self._listener)
        self._reader = Reader(bootstrap, topic, batch_events)

    def poll(self, timeout_ms: int) -> Mapping[int, Sequence[Record]]:
        """Messages of placed partitions, in order, by partition; waits `timeout_ms` at most for the first."""
        self.stay(0 if self.placed else timeout_ms)
        if not self.placed:
            return {}
        records = self._reader.poll(timeout_ms)
        if self._reader.cut:
            self._cut(set(self._reader.cut))
        return records

    def stay(self, timeout_ms: int = 0) -> None:
        """Keep the membership without reading on; waits `timeout_ms` at most for something to happen to the group."""
        try:
            # All its partitions are paused: it fetches nothing.
            self._consumer.poll(timeout_ms)
        except KafkaError as error:
            raise unreachable(self._bootstrap, error) from error
        self._watch()
        self._recreated()

    def place(self, partition: int, offset: int) -> None:
        """Read a waiting partition from `offset` on."""
        self._reader.read(partition, offset)
        self.waiting.discard(partition)
        self.cut.discard(partition)
        self.placed.add(partition)

    def hold(self) -> None:
        """Stop reading; every partition waits to be placed again. We stay a member of the group."""
        self._wait_for_place(set(self.placed))

    def rejoin(self) -> None:
        """Leave the group and join it again: to learn from the group which partitions are really ours."""
        self._part()
        self._consumer.unsubscribe()
        self._reader.leave(self.placed)
        self.waiting, self.placed, self.cut = set(), set(), set()
        self._consumer.subscribe([self.topic], listener=self._listener)

    def end(self, partition: int) -> int | None:
        """The offset that the next published message will get, as of the last fetch; None before the first."""
        return self._reader.end(partition)  # not end_offsets(): the embedded broker answers it wrongly

    def earliest(self, partition: int) -> int:
        """The oldest offset that the log still holds."""
        place = TopicPartition(self.topic, partition)
        try:
            return int(self._consumer.beginning_offsets([place], timeout_ms=10_000)[place])
        except KafkaError as error:
            raise unreachable(self._bootstrap, error) from error

    def close(self) -> None:
        """Leave the group, so that others take over at once, and disconnect."""
        self._part()
        self._reader.close()
        try:
            self._consumer.close(autocommit=False, timeout_ms=LEAVE_MS)
        except KafkaError as error:
            log.warning("left %s without telling the broker: %s", self.topic, error)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _part(self) -> None:
        """Before leaving: while the group forms, leave without a word, and be forgotten when the session ends.

        The embedded broker never forgets a leader that says good-bye in the middle of that; nobody can join any more.
        """
        coordinator = self._consumer._coordinator
        if not coordinator.stable() or coordinator.need_rejoin():
            coordinator.reset_generation()

    def _wait_for_place(self, partitions: set[int]) -> None:
        self._reader.leave(partitions)
        self.placed -= partitions
        self.waiting |= partitions

    def _cut(self, partitions: set[int]) -> None:
        """Offsets that the log does not hold: because the topic is another one by now, or else because it was cut."""
        self._wait_for_place(partitions & self.placed)
        topic_id = ensure_topic(self._bootstrap, self.topic, self._partitions)
        if topic_id == self.topic_id:
            self.cut |= partitions
        else:
            self._restart(topic_id)

    def _recreated(self) -> None:
        """Notice that the topic is another one than before: all its partitions wait, under the new `topic_id`."""
        current = self._consumer._cluster.topic_id(self.topic)
        if current is not None and str(current) != self.topic_id:
            self._restart(str(current))

    def _restart(self, topic_id: str) -> None:
        log.warning(
            "topic %s was created anew (%s, before %s): reading it from its start", self.topic, topic_id, self.topic_id
        )
        self.topic_id = topic_id
        self.hold()

    def _watch(self) -> None:
        """Look after what kafka-python waits for in silence: a coordinator, the group, the topic's existence."""
        now, coordinator = time.monotonic(), self._consumer._coordinator
        if not coordinator.coordinator_unknown():
            self._last_heard = now
        elif now - self._last_heard > SILENCE_S:
            raise unreachable(self._bootstrap, TimeoutError())
        if coordinator.stable():
            self._last_joined, self._dissolved = now, False
        elif now - self._last_joined > self._patience_s:
            if (
                self._dissolved
            ):  # by us, and it has not helped: it may be this client that is stuck, and a new one is not
                raise unreachable(self._bootstrap, TimeoutError(f"the group {self._group} does not form"))
            self._dissolve()
            self._last_joined, self._dissolved = now, True
        missing = self._consumer._cluster.partitions_for_topic(self.topic) is None
        if missing and now - self._last_made > METADATA_MS / 1000:
            ensure_topic(self._bootstrap, self.topic, self._partitions)
            self._last_made = now

    def _dissolve(self) -> None:
        """Have the broker forget a group that does not form; its members then form another.

        The embedded broker can wait for ever for a leader that left (see _part). Kafka refuses this while anyone is a
        member, and then it does nothing; no offsets are kept there.
        """
        try:
            admin = KafkaAdminClient(bootstrap_servers=self._bootstrap.split(","), bootstrap_timeout_ms=5_000)
            try:
                answer = admin.delete_groups([self._group])
            finally:
                admin.close()
        except KafkaError as error:
            raise unreachable(self._bootstrap, error) from error
        log.warning("the group %s has not formed for %.0f s; dissolving it: %s", self._group, self._patience_s, answer)


def offsets_from(bootstrap: str, topic: str, partitions: int, start: datetime | int) -> tuple[str, dict[int, int]]:
    """The topic's id, and by partition the offset of the first message at or after `start`, a time or an offset.

    Partitions with none so late are left out where that can be told. Raises BrokerUnavailable.
    """
    topic_id = ensure_topic(bootstrap, topic, partitions)
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
        )  # fmt: skip
        try:
            places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
            oldest = consumer.beginning_offsets(places)
            if isinstance(start, int):
                return topic_id, {place.partition: max(start, oldest[place]) for place in places}
            found = consumer.offsets_for_times(dict.fromkeys(places, int(start.timestamp() * 1000)))
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise unreachable(bootstrap, error) from error
    # None so late: Kafka answers nothing, the embedded broker offset 0 with timestamp -1.
    return topic_id, {place.partition: at.offset for place, at in found.items() if at is not None and at.timestamp >= 0}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs within poll, on the client's own thread, which also sends heartbeats: so it must never wait for Postgres."""

    def __init__(self, stream: Stream, revoked: Callable[[set[int]], None]) -> None:
        self._stream, self._revoked = stream, revoked

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._stream._consumer.pause(*assigned)
        for place in assigned:
            self._stream._consumer.seek(place, 0)  # only so that the client does not ask Kafka for an offset
        self._stream._reader.leave(self._stream.placed)
        self._stream.waiting = {place.partition for place in assigned}
        self._stream.placed, self._stream.cut = set(), set()

    def on_partitions_revoked(self, revoked: Any) -> None:
        partitions = {place.partition for place in revoked}
        self._stream._reader.leave(partitions)
        self._stream.waiting -= partitions
        self._stream.placed -= partitions
        self._stream.cut -= partitions
        self._revoked(partitions)

    def on_partitions_lost(self, lost: Any) -> None:
        self.on_partitions_revoked(lost)
