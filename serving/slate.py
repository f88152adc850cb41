"""Slates: what was shown, to whom, by which source and model version. A signed token ties later events to it.

The slate itself is published as an `impression` event off the request path. Losing one costs no answer, and is counted.
"""

from __future__ import annotations

import base64
import hmac
import logging
import os
import threading
from binascii import b2a_base64
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from core import tracing
from core.bus import Message
from core.errors import BrokerUnavailable, InvalidRequest
from core.events import Impression, decode, encode, partition_key
from core.telemetry import SLATES_LOST
from serving.publisher import Publisher
from serving.query import Ask, Query
from serving.shapes import Recommended

log = logging.getLogger(__name__)

SOURCE = "/headwater/serving"
WAITING_SLATES = 10_000
BATCH_SLATES = 500
PUBLISHED_EVERY_S = 0.05  # waking a thread for each slate would cost more than making it
URL_SAFE = bytes.maketrans(b"+/", b"-_")


def sign(secret: str, now: datetime) -> str:
    """A new token: "s1.<time and chance>.<signature>", 40 characters that are safe in a URL."""
    body = int(now.timestamp() * 1000).to_bytes(6, "big") + os.urandom(9)
    text = _url_safe(body)
    return f"s1.{text}.{_signature(secret, text)}"


def issued_at(secret: str, token: str) -> datetime:
    """When a token was issued. Raises InvalidRequest for one that this secret did not sign."""
    version, _, rest = token.partition(".")
    text, _, signature = rest.partition(".")
    if version != "s1" or not hmac.compare_digest(signature.encode(), _signature(secret, text).encode()):
        raise InvalidRequest("slate: not a token that this Headwater issued")
    return datetime.fromtimestamp(int.from_bytes(base64.urlsafe_b64decode(text)[:6], "big") / 1000, UTC)


def _signature(secret: str, text: str) -> str:
    return _url_safe(hmac.digest(secret.encode(), b"slate:" + text.encode(), "sha256")[:12])


def _url_safe(content: bytes) -> str:
    return b2a_base64(content, newline=False).translate(URL_SAFE).decode()


class _Slate(NamedTuple):
    """What was shown, as it waits to be published. Not an event yet: to make a hundred of them one after the other takes a third
    of the time that each would take in its own request."""

    token: str
    ask: Ask
    at: datetime
    items: Sequence[Recommended]
    versions: dict[str, str]
    fallback: str | None
    headers: tuple[tuple[str, bytes], ...]

    def message(self) -> Message:
        """As it is published. Raises ValueError where something of it is no Unicode."""
        ask, items = self.ask, self.items
        context = {
            "surface": ask.surface, "sources": [one.source for one in items], "models": self.versions,
            "fallback": self.fallback,
            # Where chance had no say all are 1.
            **({"propensities": [one.propensity for one in items]} if ask.exploration else {}),
            **({"request": ask.context} if ask.context else {}),
        }  # fmt: skip
        shown = Impression(
            slate=self.token,
            items=tuple([one.item for one in items]),
            user=ask.user,
            session=ask.session,
            context=context,
        )
        event = encode(shown, id=self.token, source=SOURCE, time=self.at, type="impression")
        return Message(partition_key(shown), event, self.headers)


class Slates:
    """Issues tokens and publishes slates from a thread between `start` and `stop`."""

    def __init__(self, publisher: Publisher, secret: str) -> None:
        self._publisher = publisher
        self._secret = secret
        self._waiting: deque[_Slate] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slates", daemon=True)
        self._losing = False

    def log(self, query: Query, items: Sequence[Recommended], versions: dict[str, str], fallback: str | None) -> str:
        """Issue a slate's token and leave the slate to be published. Never waits.

        Raises InvalidEvent when the caller's context is nothing that an event may hold.
        """
        token = sign(self._secret, query.now)
        if items and query.ask.logged:
            slate = _Slate(token, query.ask, query.now, items, versions, fallback, tracing.headers())
            if query.ask.context:
                decode(slate.message().value)
            if len(self._waiting) < WAITING_SLATES:
                self._waiting.append(slate)
            else:
                SLATES_LOST.inc()
        return token

    def start(self) -> None:
        """Begin publishing."""
        self._thread.start()

    def stop(self) -> None:
        """Publish what waits, as far as the broker answers, and end."""
        if self._thread.is_alive():
            self._stopping.set()
            self._thread.join(timeout=10)

    def flush(self) -> None:
        """Publish what waits, from here: for a batch, which has no thread for it. Raises BrokerUnavailable."""
        while self._waiting:
            self._publisher.publish(list(self._batch()))

    def _batch(self) -> Iterator[Message]:
        for _ in range(min(BATCH_SLATES, len(self._waiting))):
            try:
                yield self._waiting.popleft().message()
            except Exception as error:  # noqa: BLE001 -- whatever is wrong with one, the others go on
                SLATES_LOST.inc()
                log.warning("a slate is lost: %s", error)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(PUBLISHED_EVERY_S)
            while self._waiting:
                self._publish(list(self._batch()))

    def _publish(self, batch: list[Message]) -> None:
        try:
            self._publisher.publish_together(batch)
        except BrokerUnavailable as error:
            SLATES_LOST.inc(len(batch))
            if not self._losing:
                log.warning("slates are lost while the broker is away: %s", error)
            self._losing = True
        else:
            self._losing = False
