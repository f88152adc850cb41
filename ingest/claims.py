"""The partitions that are ours to write: claimed in Postgres, confirmed, mended, given up. What every consumer does alike.

Kafka's group says which partitions are a member's; the epoch that a claim raises is what proves it to the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from core import telemetry
from core.errors import BrokerUnavailable, Fenced
from core.settings import Settings
from core.store import Store
from core.store.events import Claim
from ingest.dead_letters import halt_if_too_many
from ingest.kafka import Stream

log = logging.getLogger(__name__)

RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # between attempts while Postgres or the broker is away
CONFIRM_S = 3.0  # how often a consumer with nothing to do makes sure that it still owns its partitions


class Member(Protocol):
    """Who consumes: how it joins its group, and one step of its loop."""

    def join(self) -> Stream:
        """Become a member of the group."""

    def step(self, stream: Stream) -> None:
        """Poll, and do what there is to do. Raises BrokerUnavailable."""


def consume(member: Member, stop: threading.Event) -> None:
    """Step until `stop` is set, joining anew, ever later, whenever the broker is away."""
    attempt = 0
    while not stop.is_set():
        try:
            with member.join() as stream:
                attempt = 0
                while not stop.is_set():
                    member.step(stream)
        except BrokerUnavailable as error:
            log.warning("%s; trying again", error)
            stop.wait(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1


class Claims:
    """`held` are the claims by partition, for `forgotten` to be told of those that are given up, `lost` of how many messages
    the broker dropped before they were read.
    """

    def __init__(
        self, settings: Settings, store: Store, forgotten: Callable[[set[int]], None], lost: Callable[[int], None]
    ) -> None:
        self._settings, self._store, self._forgotten, self._lost = settings, store, forgotten, lost
        self.held: dict[int, Claim] = {}
        self._failures = 0
        self._retry_at = self._confirmed_at = 0.0

    def keep(self, stream: Stream) -> None:
        """Place every waiting partition where Postgres says; now and then make sure of those that are placed.

        Does nothing while Postgres is left alone after a failure. Raises DatabaseUnavailable, Fenced, TooManyDeadLetters.
        """
        if time.monotonic() < self._retry_at:
            return
        if not stream.waiting and time.monotonic() - self._confirmed_at > CONFIRM_S:
            for claim in self.held.values():
                self._store.events.confirm(claim)
            self._confirmed_at = time.monotonic()
        for partition in sorted(stream.waiting):
            held = self.held.get(partition)
            if held is not None and held.topic_id == stream.topic_id:
                claim = self._store.events.confirm(held)
            else:
                claim = self._store.events.claim(stream.topic, stream.topic_id, partition)
            if partition in stream.cut:
                claim = self._mend(stream, claim)
            halt_if_too_many(self._settings, self._store, claim)
            self.held[partition] = claim
            stream.place(partition, claim.next_offset)
            log.info("reading %s[%d] from %d, epoch %d", claim.topic, partition, claim.next_offset, claim.epoch)

    def reached(self, offsets: dict[int, int]) -> None:
        """What was written moved these partitions on."""
        for partition, offset in offsets.items():
            if partition in self.held:
                self.held[partition] = replace(self.held[partition], next_offset=offset)
        self._confirmed_at, self._failures = time.monotonic(), 0

    def wait(self, stream: Stream, error: Exception) -> None:
        """Postgres is away. Held, not left: the group sees us polling, so nobody else has to fail at the same database."""
        stream.hold()
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures, self._retry_at = self._failures + 1, time.monotonic() + wait_s
        log.warning("%s; trying again in %g s", error, wait_s)

    def fenced(self, stream: Stream, error: Fenced) -> None:
        """Someone else owns what we thought to be ours: ask the group again."""
        telemetry.FENCED.inc()
        log.warning("%s; asking the group again", error)
        self.forget(set(self.held))
        stream.rejoin()

    def forget(self, partitions: set[int]) -> None:
        """These are no longer ours. Called within a poll: it asks Postgres nothing."""
        mine = partitions & self.held.keys()
        for partition in mine:
            del self.held[partition]
        self._forgotten(mine)

    def _mend(self, stream: Stream, claim: Claim) -> Claim:
        """The log holds nothing where we were to go on: go on at its start, and say aloud what that means."""
        earliest = stream.earliest(claim.partition)
        lost = earliest - claim.next_offset
        if lost > 0:
            self._lost(lost)
            log.error(
                "%s[%d]: the broker dropped %d messages before they were read (offsets %d to %d): its retention is "
                "shorter than the consumer was away", claim.topic, claim.partition, lost, claim.next_offset, earliest - 1,
            )  # fmt: skip
        else:
            log.error("%s[%d] ends before %d: reading it again", claim.topic, claim.partition, claim.next_offset)
        return self._store.events.rewind(claim.topic, claim.topic_id, claim.partition, earliest)
