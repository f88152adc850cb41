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
from models.content.about import OF_ITEM

LOOK_S = 1.0  # between looks for what has changed
TAKEN = 4096  # requests recorded by one look at what changed, at most
SWEPT = 50_000  # ... by one look at the whole catalogue, which takes seconds for a million items
SHARE = 0.1  # of the time at most is spent on either of them, while there is something to write
FAILED_REST_S = 30.0
TURN_S = 600.0  # a text that is true is left as it is for so long, whatever has become of prompt, style and model
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
        self._rest_s = self._sweep_rest_s = 0.0
        unknown = {kind for kind, _ in context.settings.wanted_texts} - OF_ITEM.keys()
        if unknown:
            raise ConfigurationError(
                f"HEADWATER_CONTENT_KINDS: {', '.join(sorted(unknown))}: choose from {', '.join(OF_ITEM)}, or off"
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
            if self._sweep_due(states):
                self._look(sweep=True)
            elif idle_s > self._rest_s:
                self._look(sweep=False)
        self._requests.publish(self._context.settings.content_requests_ahead, topic_id, self._publish)
        if time.monotonic() - self._counted_at > COUNT_S:
            self._count()

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._bus is not None:
            self._bus.close()

    def _sweep_due(self, states: dict[str, int]) -> bool:
        """Whether to look at the whole catalogue: more was left than was taken, there is another model, or it is time to."""
        idle_s = time.monotonic() - self._swept_at
        if self._left and states["waiting"] + states["published"] == 0:
            return True
        dry = self._left and states["waiting"] < TAKEN // 2
        return idle_s > self._sweep_rest_s and (dry or self._name() != self._model or idle_s > SWEEP_S)

    def _name(self) -> str:
        return self._writer.model.name if self._writer.model is not None else ""

    def _look(self, *, sweep: bool) -> None:
        """Request what changed since the last look, or of the whole catalogue."""
        began = self._looked_at = time.monotonic()
        self._rest_s = FAILED_REST_S  # where looking fails, or takes too long for Postgres, writing goes on meanwhile
        if sweep:
            self._swept_at, self._sweep_rest_s = began, FAILED_REST_S
        horizon = self._context.store.events.horizon()
        wanted = self._writer.wanted(self._context.settings.wanted_texts, rest_s=TURN_S)
        most = SWEPT if sweep else TAKEN
        found = self._requests.wanting(wanted, most, since_txn=0 if sweep else self._seen_txn)
        for start in range(0, len(found), TAKEN):
            self._requests.request(found[start : start + TAKEN])
        self._left = (self._left and not sweep) or len(found) == most
        self._looked_at = time.monotonic()
        self._seen_txn, rest_s = horizon, (self._looked_at - began) / SHARE
        if sweep:
            self._swept_at, self._model, self._sweep_rest_s, self._rest_s = self._looked_at, self._name(), rest_s, 0.0
        else:
            self._rest_s = rest_s

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
