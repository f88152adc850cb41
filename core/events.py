"""Events: CloudEvents 1.0 in (structured JSON or Kafka binary mode), typed values out, one clear reason per refusal.

Specification: CloudEvents v1.0.2, its JSON format and Kafka protocol binding. Names: DESIGN section 4.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from core.errors import InvalidEvent

MAX_TEXT = 20_000
MAX_DEPTH = 16
KIND = re.compile(r"interaction\.([a-z][a-z0-9_]{0,47})")

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Short = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Time = Annotated[datetime, Meta(tz=True)]


class _Envelope(msgspec.Struct):
    specversion: str
    id: Id
    source: Id
    type: Id
    time: Time
    data: Any = None


class _Outline(msgspec.Struct, gc=False):
    """An envelope whose data is not looked into yet."""

    specversion: str
    id: Id
    source: Id
    type: Id
    time: Time
    data: msgspec.Raw = msgspec.Raw(b"null")


class Interaction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A user did something with an item. `kind` is view, click, purchase, rating, ...; `value` a rating or amount."""

    user: Id
    item: Id
    value: float | None = None
    session: Short | None = None
    slate: Annotated[str, Meta(max_length=2048)] | None = None
    position: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    context: dict[str, Any] = {}
    kind: str = ""


class Impression(msgspec.Struct, frozen=True, kw_only=True):
    """A slate was shown: which items in which order, from which sources and model versions (in `context`)."""

    slate: Annotated[str, Meta(min_length=1, max_length=2048)]
    items: Annotated[tuple[Id, ...], Meta(max_length=1000)]
    user: Id | None = None
    session: Short | None = None
    context: dict[str, Any] = {}


class ItemChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state of a catalogue item as of the event's time; the newest event time wins."""

    item: Id
    title: Annotated[str, Meta(max_length=1000)] = ""
    description: Text = ""
    categories: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    attributes: Annotated[dict[str, Any], Meta(max_length=200)] = {}
    available: bool = True
    hidden: bool = False
    published_at: Time | None = None
    expires_at: Time | None = None
    locale: Annotated[str, Meta(max_length=35)] = "en"
    context: dict[str, Any] = {}


class ItemRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """The item left the catalogue. A later item.changed brings it back."""

    item: Id
    context: dict[str, Any] = {}


class UserChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The whole set of a user's attributes as of the event's time; the newest event time wins."""

    user: Id
    attributes: Annotated[dict[str, Any], Meta(max_length=200)] = {}
    context: dict[str, Any] = {}


class UserErased(msgspec.Struct, frozen=True, kw_only=True):
    """Forget the user, for good: rows, histories, snapshots, and any replay of them."""

    user: Id
    context: dict[str, Any] = {}


Body = Interaction | Impression | ItemChanged | ItemRemoved | UserChanged | UserErased

_BODIES: dict[str, type[Any]] = {
    "impression": Impression,
    "item.changed": ItemChanged,
    "item.removed": ItemRemoved,
    "user.changed": UserChanged,
    "user.erased": UserErased,
}
_KINDS: tuple[type[Any], ...] = (Interaction, *_BODIES.values())
_FIELDS = {kind: frozenset(kind.__struct_fields__) - {"kind"} for kind in _KINDS}


class Event(msgspec.Struct, frozen=True, gc=False):
    """One accepted event: its identity (source, id), its type and time, and its typed body."""

    id: str
    source: str
    type: str
    time: datetime
    body: Body

    @property
    def identity(self) -> str:
        """The 128-bit identity of (source, id) as 32 hexadecimal digits: what the database holds unique."""
        return hashlib.blake2b(f"{self.source}\0{self.id}".encode(), digest_size=16).hexdigest()

    @property
    def key(self) -> UUID:
        """The identity as a UUID, by which ties are broken."""
        return UUID(self.identity)


def decode(
    raw: bytes | None,
    headers: Iterable[tuple[str, bytes | None]] = (),
    *,
    max_bytes: int = 1_000_000,
    max_future_s: int = 86_400,
) -> Event:
    """Decode and validate one message.

    `headers` with a `ce_id` mean Kafka binary mode (`raw` is the data alone), otherwise `raw` is structured JSON.
    Unknown fields of the data are kept in the body's `context`. Raises InvalidEvent with one reason out of: empty,
    too_large, malformed, invalid, unknown_type, unsupported_version, too_deep, from_the_future.
    """
    if not raw:
        raise InvalidEvent("empty", "the message has no value")
    if len(raw) > max_bytes:
        raise InvalidEvent("too_large", f"{len(raw)} bytes; at most {max_bytes} are accepted")
    attributes = _attributes(headers) if headers else {}
    event = (None if attributes else _decode_plainly(raw)) or _decode_carefully(raw, attributes)
    if event.time.timestamp() > time.time() + max_future_s:
        raise InvalidEvent("from_the_future", f"time {event.time.isoformat()} is more than {max_future_s} s ahead")
    if event.time.year < 1900:
        raise InvalidEvent("invalid", f"time {event.time.isoformat()} is before 1900")
    return event


def encode(body: Body, *, id: str, source: str, time: datetime, type: str | None = None) -> bytes:
    """One structured-mode CloudEvent as JSON bytes. An Interaction's type comes from its `kind`."""
    data = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None and name != "kind"}
    if not data.get("context"):
        data.pop("context", None)
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": type or type_of(body),
            "time": time,
            "data": data,
        }
    )


def type_of(body: Body) -> str:
    """The CloudEvents type of a body."""
    if isinstance(body, Interaction):
        return f"interaction.{body.kind}"
    return next(name for name, kind in _BODIES.items() if isinstance(body, kind))


def partition_key(body: Body) -> bytes:
    """The Kafka key: the user's id, or the item's for catalogue events, so that one owner's events stay in order."""
    owner = getattr(body, "user", None) or getattr(body, "item", None) or getattr(body, "slate", "")
    return str(owner).encode()


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_outline = msgspec.json.Decoder(_Outline).decode
_decode_interaction = msgspec.json.Decoder(Interaction).decode


@lru_cache(maxsize=1024)
def _interaction_kind(type: str) -> str | None:
    match = KIND.fullmatch(type)
    return match.group(1) if match else None


def _decode_plainly(raw: bytes) -> Event | None:
    """What nearly every message is, an interaction with known fields only, four times as fast as the careful way.

    None for all else, also for what is wrong: the careful way has the words for it.
    """
    if b"\\u0000" in raw:
        return None
    try:
        outline = _decode_outline(raw)
        kind = _interaction_kind(outline.type)
        if kind is None or outline.specversion != "1.0":
            return None
        body = _decode_interaction(outline.data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if body.kind or (raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(body.context, 1) > MAX_DEPTH):
        return None
    msgspec.structs.force_setattr(body, "kind", kind)  # ours alone so far
    return Event(outline.id, outline.source, outline.type, outline.time, body)


def _attributes(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """What the headers say of the event in binary mode; nothing where they hold something else, a trace for one."""
    found = {name.lower()[3:]: value for name, value in headers if value is not None and name.lower().startswith("ce_")}
    return found if "id" in found else {}


def _decode_carefully(raw: bytes, attributes: dict[str, bytes]) -> Event:
    try:
        envelope = _binary(raw, attributes) if attributes else _decode_envelope(raw)
        kind = _BODIES.get(envelope.type)
        interaction_kind = None if kind else _interaction_kind(envelope.type)
        if kind is None and interaction_kind is None:
            raise InvalidEvent(
                "unknown_type",
                f"type {envelope.type[:80]!r} is none of interaction.<kind>, {', '.join(_BODIES)}",
            )
        if envelope.specversion != "1.0":
            raise InvalidEvent("unsupported_version", f"specversion {envelope.specversion[:20]!r}; expected 1.0")
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(envelope.data, 0) > MAX_DEPTH:
            raise RecursionError
        if b"\\u0000" in raw:
            _refuse_nul(envelope.data, envelope.id, envelope.source)
        body = _body(kind or Interaction, envelope.data, interaction_kind or "")
    except msgspec.ValidationError as error:
        raise InvalidEvent("invalid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise InvalidEvent("malformed", f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidEvent("too_deep", f"nested more than {MAX_DEPTH} levels") from None
    return Event(envelope.id, envelope.source, envelope.type, envelope.time, body)


def _binary(raw: bytes, attributes: dict[str, bytes]) -> _Envelope:
    texts = {name: value.decode() for name, value in attributes.items()}
    _refuse_nul(*texts.values())
    return msgspec.convert({**texts, "data": msgspec.json.decode(raw)}, _Envelope)


def _body(kind: type[Any], data: Any, interaction_kind: str) -> Body:
    if not isinstance(data, dict):
        raise InvalidEvent("invalid", "data must be a JSON object")
    unknown = data.keys() - _FIELDS[kind]
    if unknown:
        context = data.get("context", {})
        if not isinstance(context, dict):
            raise InvalidEvent("invalid", "data.context must be an object")
        known = {name: value for name, value in data.items() if name not in unknown}
        data = {**known, "context": {**context, **{name: data[name] for name in unknown}}}
    if kind is Interaction:
        data["kind"] = interaction_kind
    body: Body = msgspec.convert(data, kind)
    return body


def _depth(value: Any, level: int) -> int:
    """Nesting of a decoded value, also where it is a list; stops looking one past the limit."""
    if level > MAX_DEPTH:
        return level
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((_depth(child, level + 1) for child in children if isinstance(child, (dict, list))), default=level)


def _refuse_nul(*values: Any) -> None:
    """Postgres text and jsonb cannot hold U+0000; nor can UTF-8 hold a lone surrogate."""
    for value in values:
        if isinstance(value, str):
            if "\0" in value:
                raise InvalidEvent("invalid", "text holds a NUL character")
        elif isinstance(value, dict):
            _refuse_nul(*value.keys(), *value.values())
        elif isinstance(value, list):
            _refuse_nul(*value)
