"""The consumer of requests for texts: poll -> decode -> have written -> settle in one transaction -> advance.

Its guarantees are those of the events' consumer (ingest/consumer.py, docs/ingest.md): what came of a request and the offset
behind it change together or not at all, under an epoch taken at assignment. What differs is that writing takes its time: it
happens in a thread, while the member stays in its group.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from core import telemetry
from core.errors import BrokerUnavailable, DatabaseUnavailable, Fenced, HeadwaterError, InvalidEvent
from core.requests import TextKey, TextRequest, decode_request
from core.settings import Settings
from core.store import Store
from core.store.content_requests import Refusal, Settlement
from core.store.events import Advance, Claim, Coordinates, DeadLetter
from ingest.claims import Claims, consume
from ingest.dead_letters import bury, halt_if_too_many
from ingest.kafka import Stream
from ingest.reader import Record

log = logging.getLogger(__name__)

POLL_MS = 100
TEND_S = 1.0
STAY_S = 0.2  # how often a member shows itself while texts are written
LOOK_S = 5.0  # how often the budget is looked at while it is spent


class Worker(Protocol):
    """Who writes the texts."""

    def write(self, requests: Sequence[TextRequest]) -> Settlement:
        """What came of these requests, each of another text; nothing is stored yet. Called in a thread, one call at a time."""

    def pause_s(self) -> float:
        """How long no text may be written: the budget is spent. 0: go on."""

    def tend(self, topic_id: str) -> None:
        """Called about once a second by a member of the group: request what is wanted, publish what waits."""


@dataclass(frozen=True)
class _Asked:
    """A request, and the message that brought it."""

    request: TextRequest
    record: Record
    at: Coordinates


@dataclass
class _Part:
    """What was polled of one partition: the claim to it, the offsets not settled yet, and where it goes on."""

    claim: Claim
    unsettled: set[int]
    end: int
    behind: int  # messages that were not polled yet


def run_requests(settings: Settings, store: Store, worker: Worker, *, stop: threading.Event) -> None:
    """Have requests written until `stop` is set; then settle what is being written and leave the group.

    Run any number of these, in any number of processes. Waits for a broker or a Postgres that is away. Raises
    TooManyDeadLetters as the events' consumer does, ConfigurationError when Postgres has not been migrated.
    """
    consumer = RequestConsumer(settings, store, worker, stop)
    try:
        consume(consumer, stop)
    finally:
        consumer.close()


class RequestConsumer:
    """The claims held, and one step of the loop."""

    def __init__(self, settings: Settings, store: Store, worker: Worker, stop: threading.Event) -> None:
        self._settings, self._store, self._worker, self._stop = settings, store, worker, stop
        self._claims = Claims(settings, store, self._forget, self._lost)
        self._writing = ThreadPoolExecutor(1, "texts")
        self._tokens = 0  # written and not counted yet: what was written for a lost partition was written all the same
        self._tended_at = 0.0

    def join(self) -> Stream:
        """Become a member of the group."""
        settings = self._settings
        assert settings.kafka_bootstrap is not None
        self._claims.held.clear()
        return Stream(
            settings.kafka_bootstrap, settings.requests_topic, f"{settings.namespace}.content", self._claims.forget,
            partitions=settings.topic_partitions, batch_events=settings.content_requests_ahead,
            session_timeout_ms=settings.session_timeout_ms,
        )  # fmt: skip

    def step(self, stream: Stream) -> None:
        """Poll, decode, have written, settle; or find out why not."""
        records = stream.poll(POLL_MS)
        try:
            self._claims.keep(stream)
            self._tend(stream)
            if records:
                self._work(stream, records)
        except DatabaseUnavailable as error:
            self._claims.wait(stream, error)
        except Fenced as error:
            self._claims.fenced(stream, error)

    def close(self) -> None:
        """Wait for nothing that is still being written."""
        self._writing.shutdown(wait=False, cancel_futures=True)

    def _tend(self, stream: Stream) -> None:
        if time.monotonic() - self._tended_at > TEND_S:
            self._worker.tend(stream.topic_id)
            self._tended_at = time.monotonic()

    def _work(self, stream: Stream, records: Mapping[int, Sequence[Record]]) -> None:
        """The newest and most viewed first, as many at once as are settled together. What is no longer ours is left."""
        asked, letters = self._decode(stream, records)
        parts = {
            partition: _Part(self._claims.held[partition], {one.offset for one in found}, found[-1].offset + 1,
                             max(0, (stream.end(partition) or 0) - found[-1].offset - 1))
            for partition, found in records.items()
        }  # fmt: skip
        asked.sort(key=lambda one: -one.request.priority)
        for partition in {letter.at.partition for letter in letters}:
            mine = [letter for letter in letters if letter.at.partition == partition]
            self._settle(parts[partition], [], mine, Settlement())
        while asked:
            asked = [
                one for one in asked if one.at.partition in stream.placed and one.at.partition in self._claims.held
            ]
            if not asked or not self._may_write(stream):
                break
            size = self._settings.content_batch_requests
            chunk, asked = asked[:size], asked[size:]
            settlement, away = self._written(stream, chunk)
            self._settle_all(parts, chunk, settlement)
            if away is not None:
                raise away
        if any(part.unsettled for part in parts.values()):
            stream.hold()  # what is left is read again from where Postgres says

    def _decode(self, stream: Stream, records: Mapping[int, Sequence[Record]]) -> tuple[list[_Asked], list[DeadLetter]]:
        asked, letters = [], []
        for partition, messages in records.items():
            for record in messages:
                at = Coordinates(stream.topic, stream.topic_id, partition, record.offset)
                try:
                    asked.append(_Asked(decode_request(record.value), record, at))
                except InvalidEvent as refusal:
                    letters.append(bury(record, at, refusal, self._settings.dead_letter_payload_bytes))
        return asked, letters

    def _may_write(self, stream: Stream) -> bool:
        """Wait while the budget is spent; False when we are stopped meanwhile."""
        until = time.monotonic()
        while not self._stop.is_set():
            if time.monotonic() >= until:
                pause_s = self._worker.pause_s()
                telemetry.TEXT_BUDGET_WAIT.set(pause_s)
                if pause_s <= 0:
                    return True
                until = time.monotonic() + min(pause_s, LOOK_S)
            stream.stay(int(1000 * STAY_S))
            self._tend(stream)
            if not stream.placed:  # handed out anew: others wait for us to say where we are
                return False
        return False

    def _written(self, stream: Stream, chunk: Sequence[_Asked]) -> tuple[Settlement, BrokerUnavailable | None]:
        """Have a chunk written while we stay in the group. A broker that goes away meanwhile is only told of afterwards."""
        requests = list({one.request.key: one.request for one in chunk}.values())
        future: Future[Settlement] = self._writing.submit(self._write, requests)
        away: BrokerUnavailable | None = None
        while not wait([future], STAY_S).done:
            try:
                if away is None:
                    stream.stay()
            except BrokerUnavailable as error:
                away = error
        return future.result(), away

    def _write(self, requests: Sequence[TextRequest]) -> Settlement:
        """What came of them. What cannot be written at all is found by halving, and refused."""
        try:
            return self._worker.write(requests)
        except HeadwaterError:
            raise
        except Exception as error:  # noqa: BLE001 -- one text must not stop all others; logged, and kept as a dead letter
            log.error("%d texts could not be written: %s", len(requests), telemetry.told(error))
            if len(requests) == 1:
                return Settlement(refused=[Refusal(requests[0].key, "failed", type(error).__name__)])
            half = len(requests) // 2
            return self._write(requests[:half]) + self._write(requests[half:])

    def _settle_all(self, parts: Mapping[int, _Part], chunk: Sequence[_Asked], settlement: Settlement) -> None:
        """Settle a chunk, each partition by itself: of what was taken from us nothing is written, the rest is.

        Raises Fenced where the group still believes that a partition is ours.
        """
        self._tokens += settlement.tokens
        homes = {one.request.key: one.at.partition for one in reversed(chunk)}
        reasons = {one.key: one for one in settlement.refused}
        fenced: Fenced | None = None
        for partition in sorted({one.at.partition for one in chunk}):
            mine = [one for one in chunk if one.at.partition == partition]
            letters = [self._letter(one, reasons[one.request.key]) for one in mine if one.request.key in reasons]
            ours = _of(settlement, {key for key, home in homes.items() if home == partition})
            try:
                self._settle(parts[partition], mine, letters, ours)
            except Fenced as error:
                if partition in self._claims.held:
                    fenced = error
                log.info("%s: what was written for it is left to its new owner", error)
        if fenced is not None:
            raise fenced

    def _settle(
        self, part: _Part, chunk: Sequence[_Asked], letters: Sequence[DeadLetter], settlement: Settlement
    ) -> None:
        left = part.unsettled - {one.at.offset for one in chunk} - {one.at.offset for one in letters}
        reached = min(left, default=part.end)
        advance = Advance(part.claim, reached)
        counted = replace(settlement, tokens=self._tokens)
        self._store.content_requests.settle(counted, letters=letters, advances=[advance])
        self._tokens, part.unsettled = 0, left
        self._claims.reached({part.claim.partition: reached})
        for outcome, count in _outcomes(settlement).items():
            telemetry.TEXT_REQUESTS_SETTLED.labels(outcome).inc(count)
        for letter in letters:
            telemetry.DEAD_LETTERS.labels(letter.reason).inc()
        if part.claim.partition in self._claims.held:
            telemetry.TEXT_REQUESTS_LAG.labels(str(part.claim.partition)).set(len(left) + part.behind)
        if letters:
            halt_if_too_many(self._settings, self._store, replace(part.claim, next_offset=reached))

    def _letter(self, one: _Asked, why: Refusal) -> DeadLetter:
        refusal = InvalidEvent(why.reason, why.detail)
        return bury(one.record, one.at, refusal, self._settings.dead_letter_payload_bytes)

    def _forget(self, partitions: set[int]) -> None:
        for partition in partitions:
            telemetry.TEXT_REQUESTS_LAG.remove_by_labels({"partition": str(partition)})

    def _lost(self, messages: int) -> None:
        log.warning("%d requests were dropped by the broker: publishing what is not settled again", messages)
        self._store.content_requests.publish_again()


def _of(whole: Settlement, keys: set[TextKey]) -> Settlement:
    """The part of a settlement that is about these texts; tokens are counted apart."""
    return Settlement(
        done=[one for one in whole.done if one in keys],
        later=[one for one in whole.later if one in keys],
        refused=[one for one in whole.refused if one.key in keys],
        texts=[one for one in whole.texts if one.key in keys],
        true=[one for one in whole.true if one[0] in keys],
        tries=[one for one in whole.tries if one.key in keys],
        listed=[one for one in whole.listed if one.key in keys],
    )


def _outcomes(settlement: Settlement) -> dict[str, int]:
    written = len(settlement.texts)
    by_model = sum(text.origin == "model" for text in settlement.texts)
    return {
        "model": by_model, "template": written - by_model, "later": len(settlement.later),
        "refused": len(settlement.refused),
        "unchanged": len(settlement.done) + len(settlement.later) - written,
    }  # fmt: skip
