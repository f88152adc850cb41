"""Requests for texts, as they travel on `<namespace>.content.requests`: CloudEvents 1.0 in structured mode (docs/adr/0021)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from core.bus import Message
from core.errors import InvalidEvent

TYPE = "content.requested"
SOURCE = "/headwater/content"
MAX_BYTES = 65_536

Id = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[^\\x00]+$")]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^\\x00]+$")]
Why = Literal["missing", "changed", "prompt", "model", "asked"]


class TextKey(NamedTuple):
    """Which text: of an item, of a kind, in a language, and of what else it is about, as a hash (see input_hash_of)."""

    item: str
    kind: str
    locale: str
    input_hash: str = ""


def input_hash_of(about: Mapping[str, str]) -> str:
    """What a text about more than its item is kept under: hex sha256, "" for one that is about its item alone."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest() if about else ""


class TextRequest(msgspec.Struct, frozen=True, kw_only=True):
    """See to it that a text is what its item now says. Doing so twice is the same as once.

    `why`: there is none ("missing"), its item "changed", it came from another "prompt" or style, another "model" than its author
    (the template, or an older one) is to be asked, or someone "asked".
    `facts_at` is the item's change that it was requested for; of two requests the one with the higher `priority` goes first.
    `about` names what else the text is about, by ids: of a reason, the item that carried it and what was done with that one.
    """

    item: Id
    kind: Word
    locale: Word
    why: Why
    facts_at: datetime
    priority: float = 0.0
    requested_at: datetime | None = None
    about: Annotated[dict[Word, Id], Meta(max_length=8)] = {}

    @property
    def key(self) -> TextKey:
        """The text that is asked for."""
        return TextKey(self.item, self.kind, self.locale, input_hash_of(self.about))


class _Envelope(msgspec.Struct):
    specversion: str
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


def encode_request(request: TextRequest) -> Message:
    """The message; one item's requests stay in one partition. The same request has the same id whenever it is sent."""
    name = f"{request.kind}/{request.locale}/{request.facts_at.isoformat()}/{request.item}"
    envelope = {
        "specversion": "1.0", "id": f"{name}/{request.key.input_hash}" if request.about else name,
        "source": SOURCE, "type": TYPE, "time": request.requested_at or datetime.now(UTC),
        "datacontenttype": "application/json", "data": request,
    }  # fmt: skip
    return Message(request.item.encode(), msgspec.json.encode(envelope))


def decode_request(raw: bytes | None) -> TextRequest:
    """A request from its message.

    Raises InvalidEvent: empty, too_large, malformed, unsupported_version, unknown_type, invalid.
    """
    if not raw:
        raise InvalidEvent("empty", "the message has no value")
    if len(raw) > MAX_BYTES:
        raise InvalidEvent("too_large", f"{len(raw):,} bytes, {MAX_BYTES:,} allowed")
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
    except msgspec.ValidationError as error:
        raise InvalidEvent("invalid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("malformed", str(error)) from None
    if envelope.specversion != "1.0":
        raise InvalidEvent("unsupported_version", f"specversion {envelope.specversion[:20]!r}; expected 1.0")
    if envelope.type != TYPE:
        raise InvalidEvent("unknown_type", f"{envelope.type[:100]!r} in the topic of requests; expected {TYPE!r}")
    try:
        request = msgspec.json.decode(envelope.data, type=TextRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("invalid", f"data: {error}") from None
    if request.facts_at.tzinfo is None:
        raise InvalidEvent("invalid", "data.facts_at: a time without a zone")
    return request
