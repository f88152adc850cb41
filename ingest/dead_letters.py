"""Dead letters: what is kept of a refused message, when too many are too many, and publishing them again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import msgspec

from core.bus import Bus, Message
from core.errors import InvalidEvent, TooManyDeadLetters
from core.events import decode, partition_key
from core.requests import decode_request
from core.settings import Settings
from core.store import Store
from core.store.dead_letters import BuriedMessage
from core.store.events import Claim, Coordinates, DeadLetter
from core.store.mentions import PLAIN
from ingest.reader import Record

HEADERS_BYTES = 8_192  # kept with a dead letter, at most


def bury(record: Record, at: Coordinates, refusal: InvalidEvent, keep_bytes: int) -> DeadLetter:
    """The dead letter of a refused message: at most `keep_bytes` of its payload, but its whole size and hash.

    Headers are kept percent-encoded, because they may hold any bytes. Where they are too large neither they nor the
    payload are kept: without them the message is another one.
    """
    payload = record.value or b""
    headers = tuple((quote(name, PLAIN), quote(value or b"", PLAIN)) for name, value in record.headers)
    if sum(len(name) + len(value) for name, value in headers) > HEADERS_BYTES:
        headers, keep_bytes = (), 0
    return DeadLetter(
        at,
        refusal.reason,
        refusal.detail,
        payload[:keep_bytes],
        len(payload),
        hashlib.sha256(payload).hexdigest(),
        headers,
        _user(payload),
    )


class _Whole(msgspec.Struct):
    user: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")


def _user(payload: bytes) -> str | None:
    """Whom a refused message is about, in either mode of CloudEvents, as far as it can be read at all."""
    try:
        whole = msgspec.json.decode(payload, type=_Whole)
        user = whole.user or msgspec.json.decode(whole.data, type=_Whole | None)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    user = user.user if isinstance(user, _Whole) else user
    return user if isinstance(user, str) else None


def halt_if_too_many(settings: Settings, store: Store, claim: Claim) -> None:
    """Raise TooManyDeadLetters when too much of the partition's last `dead_letter_window_events` messages was refused.

    Counted from what is stored, by offset: neither a restart nor another consumer begins a new window.
    """
    window, share = settings.dead_letter_window_events, settings.dead_letter_max_share
    bad = store.dead_letters.bad_between(claim.topic_id, claim.partition, claim.next_offset - window, claim.next_offset)
    if bad > share * window:
        raise TooManyDeadLetters(
            f"{bad:,} of the last {window:,} messages of {claim.topic}[{claim.partition}] were refused, more than the share of "
            f"{share:g} allowed. See what is wrong with them: headwater events dead list. They are kept; once the producer "
            "is right (or a newer Headwater understands them), headwater events dead replay publishes them again and "
            "clears the count. To go on regardless, set HEADWATER_DEAD_LETTER_MAX_SHARE=1."
        )


def replay(store: Store, bus: Bus, letters: Sequence[BuriedMessage]) -> int:
    """Publish dead letters again, the oldest first, and remember it. Returns how many; those not kept whole are left.

    What is still refused becomes a dead letter again, at its new place. Raises BrokerUnavailable with nothing marked:
    some may have been published all the same, and publishing them again is harmless.
    """
    whole = sorted((letter for letter in letters if letter.whole), key=lambda letter: letter.number)
    bus.publish([_message(letter) for letter in whole])
    store.dead_letters.mark_replayed([letter.number for letter in whole])
    return len(whole)


def _message(letter: BuriedMessage) -> Message:
    payload = letter.payload or b""
    headers = tuple((unquote_to_bytes(name).decode(), unquote_to_bytes(value)) for name, value in letter.headers)
    return Message(_key(payload, headers) or str(letter.number).encode(), payload, headers)


def _key(payload: bytes, headers: tuple[tuple[str, bytes], ...]) -> bytes | None:
    """The key it had; None where there is no owner to keep it in order with: spread them."""
    with suppress(InvalidEvent):
        return partition_key(decode(payload, headers, max_bytes=len(payload) + 1).body)
    with suppress(InvalidEvent):
        return decode_request(payload).item.encode()
    return None
