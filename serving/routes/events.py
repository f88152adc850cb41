"""POST /v1/events: from HTTP onto the broker, checked first, believed only once acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
from litestar import post
from litestar.params import JSONBody

from core.bus import Message
from core.errors import InvalidEvent, InvalidRequest
from core.events import Body, decode, encode, partition_key
from core.settings import Settings
from serving.problems import InvalidEvents, documented
from serving.routes.parameters import EVENTS, Serving
from serving.service import Service, run
from serving.shapes import MAX_EVENTS, Accepted, CloudEvent

BODY_BYTES = 8_000_000


@post(
    "/events", status_code=202, opt=EVENTS, responses=documented(413), request_max_body_size=BODY_BYTES,
    summary="Publish one event or up to 500", tags=["events"],
)  # fmt: skip
async def publish_events(service: Serving, data: JSONBody[CloudEvent | list[CloudEvent]]) -> Accepted:
    """202 once the broker has acknowledged every event. One invalid event refuses them all; send again with the same ids."""
    given = data if isinstance(data, list) else [data]
    if not 1 <= len(given) <= MAX_EVENTS:
        raise InvalidRequest(f"send 1 to {MAX_EVENTS} events at a time, not {len(given)}")
    identified = [one if one.id is not None else msgspec.structs.replace(one, id=uuid4().hex) for one in given]
    messages = _checked(identified, service.settings)
    await run(service.threads.broker, service.publisher.publish, messages)
    return Accepted(len(identified), [one.id or "" for one in identified])


async def publish(service: Service, body: Body, source: str) -> Accepted:
    """Publish one event made here, of now. Raises InvalidEvent when `body` breaks a rule of events, BrokerUnavailable."""
    event_id = uuid4().hex
    value = encode(body, id=event_id, source=source, time=datetime.now(UTC))
    decode(value, max_bytes=service.settings.event_max_bytes)
    await run(service.threads.broker, service.publisher.publish, [Message(partition_key(body), value)])
    return Accepted(1, [event_id])


def _checked(given: list[CloudEvent], settings: Settings) -> list[Message]:
    """The messages to send. Raises InvalidEvents naming every event that is refused."""
    messages, errors = [], []
    now = datetime.now(UTC).isoformat()
    for index, one in enumerate(given):
        value = msgspec.json.encode(one if one.time is not None else msgspec.structs.replace(one, time=now))
        try:
            event = decode(value, max_bytes=settings.event_max_bytes, max_future_s=settings.event_max_future_s)
            messages.append(Message(partition_key(event.body), value))
        except InvalidEvent as error:
            errors.append({"index": index, "reason": error.reason, "detail": error.detail})
    if errors:
        raise InvalidEvents(errors)
    return messages


ROUTES = [publish_events]
