"""What a worker does for the topic of requests: find what is wanted, keep the topic supplied, write what is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core import telemetry
from core.bus import Bus
from core.errors import ConfigurationError
from core.requests import TextRequest, encode_request
from core.store.content_requests import Settlement
from jobs.context import JobContext
from jobs.generate import TextWriter
from models.content import ITEM_KINDS

LOOK_S = 1.0  # between looks for what has changed
TAKEN = 4096  # requests recorded by one look, at most
SHARE = 0.1  # of the time at most is spent looking, while there is something to write
FAILED_REST_S = 30.0
SWEEP_S = 300.0  # between looks at the whole catalogue, when nothing is known to be left
COUNT_S = 5.0  # between counts for the metrics


class RequestWorker:
    """The Worker that ingest/requests.py calls. Any number may run: each keeps the topic supplied, none of them twice."""

    def __init__(self, context: JobContext, writer: TextWriter) -> None:
        self._context, self._writer = context, writer
        self._requests = context.store.content_requests
        self._bus: Bus | None = None
        self._seen_txn = 0  # everything written by earlier transactions was looked at
        self._left = False  # whether more was found then than was taken
        self._model = ""  # whose texts were wanted at the last look
        self._looked_at = self._swept_at = self._counted_at = -SWEEP_S
        self._rest_s = 0.0
        unknown = {kind for kind, _ in context.settings.wanted_texts} - ITEM_KINDS.keys()
        if unknown:
            raise ConfigurationError(
                f"HEADWATER_CONTENT_KINDS: {', '.join(sorted(unknown))}: choose from {', '.join(ITEM_KINDS)}, or off"
            )

    def write(self, requests: Sequence[TextRequest]) -> Settlement:
        """See TextWriter.write."""
        return self._writer.write(requests)

    def pause_s(self) -> float:
        """See TextWriter.pause_s."""
        return self._writer.pause_s()

    def tend(self, topic_id: str) -> None:
        """Request what is wanted, publish what waits, count. Raises DatabaseUnavailable, BrokerUnavailable."""
        idle_s = time.monotonic() - self._looked_at
        if idle_s > LOOK_S:
            states = self._requests.counts().states
            if idle_s > self._rest_s or (self._left and states["waiting"] + states["published"] == 0):
                self._look(states)
        self._requests.publish(self._context.settings.content_requests_ahead, topic_id, self._publish)
        if time.monotonic() - self._counted_at > COUNT_S:
            self._count()

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._bus is not None:
            self._bus.close()

    def _look(self, states: dict[str, int]) -> None:
        """Request what changed since the last look; of the whole catalogue where more is left than is taken at once."""
        began = self._looked_at = time.monotonic()
        self._rest_s = FAILED_REST_S  # where looking fails, or takes too long for Postgres, writing goes on meanwhile
        model = self._writer.model.name if self._writer.model is not None else ""
        dry = states["waiting"] < TAKEN // 2
        sweep = (self._left and dry) or model != self._model or began - self._swept_at > SWEEP_S
        horizon = self._context.store.events.horizon()
        wanted = self._writer.wanted(self._context.settings.wanted_texts)
        found = self._requests.wanting(wanted, TAKEN, since_txn=0 if sweep else self._seen_txn)
        if found:
            self._requests.request(found)
        if sweep:
            self._swept_at, self._left = began, False
        self._left = self._left or len(found) == TAKEN
        self._looked_at, self._model, self._seen_txn = time.monotonic(), model, horizon
        self._rest_s = (self._looked_at - began) / SHARE

    def _publish(self, requests: Sequence[TextRequest]) -> None:
        if self._bus is None:
            settings = self._context.settings
            assert settings.kafka_bootstrap is not None
            self._bus = Bus(settings.kafka_bootstrap, settings.requests_topic)
        self._bus.publish([encode_request(one) for one in requests])

    def _count(self) -> None:
        counts = self._requests.counts()
        for state, count in counts.states.items():
            telemetry.TEXT_REQUESTS.labels(state).set(count)
        telemetry.TEXT_REQUESTS_AGE.set(counts.oldest_s)
        telemetry.TEXT_TOKENS_HOUR.set(counts.tokens)
        self._counted_at = time.monotonic()
