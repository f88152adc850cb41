"""Dead letters: a bad message never stops the stream, too many of them do, and what was kept can be published again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bus import Bus, Message
from core.errors import InvalidEvent, TooManyDeadLetters
from core.events import Interaction, UserErased, encode
from core.store.dead_letters import BuriedMessage
from core.store.events import Coordinates
from ingest.dead_letters import _message, bury, replay

if TYPE_CHECKING:
    from tests.ingest.conftest import World

VIEW = encode(
    Interaction(user="u1", item="i1", kind="view"), id="e", source="/t", time=datetime(2026, 1, 1, tzinfo=UTC)
)
GARBAGE = {
    b"": "empty",
    b"\x00\x01\x02": "malformed",
    b"{" * 5000: "malformed",
    VIEW[:-1]: "malformed",
    VIEW.replace(b'"u1"', b"NaN"): "malformed",
    VIEW.replace(b"u1", b"u\\u0000"): "invalid",
    VIEW.replace(b'"u1"', b"[" * 50_000 + b"]" * 50_000): "too_deep",
    VIEW.replace(b"interaction.view", b"order.placed"): "unknown_type",
    VIEW.replace(b"2026", b"2999"): "from_the_future",
    b'"' + b"x" * 10_000_000 + b'"': "too_large",
}


def test_a_bad_message_is_kept_and_the_stream_goes_on(worlds: Callable[..., World]) -> None:
    world = worlds(dead_letter_payload_bytes=1000)
    world.publish(world.interactions(20))
    world.publish_garbage(*GARBAGE)
    world.publish(world.interactions(20))
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    letters = world.store.dead_letters.list()
    hashes = {hashlib.sha256(payload).hexdigest(): payload for payload in GARBAGE}
    for letter in letters:
        payload = hashes[letter.payload_sha256]
        assert letter.reason == GARBAGE[payload]
        assert letter.payload == payload[:1000]
        assert letter.payload_bytes == len(payload)
        assert letter.topic == world.settings.topic
        assert letter.detail
    places = {(letter.partition, letter.offset) for letter in letters}
    assert len(places) == len(GARBAGE)
    assert sum(report.dead for report in world.reports) == len(GARBAGE)


def test_a_null_value_is_a_dead_letter_too(world: World) -> None:
    world._publish([Message(b"u1", None)])  # type: ignore[arg-type]  # a tombstone, as compacted topics have them
    world.garbage += 1
    with world.consumer():
        world.wait_until_settled()
    assert world.store.dead_letters.counts() == {"empty": 1}


def test_everything_bad_halts_the_consumer_and_a_restart_halts_again(worlds: Callable[..., World]) -> None:
    world = worlds(dead_letter_window_events=100, dead_letter_max_share=0.5, topic_partitions=1, ingest_batch_events=20)
    world.publish_garbage(*[b"bad"] * 300)
    with (
        pytest.raises(TooManyDeadLetters, match=r"of the last 100 messages.*headwater events dead list"),
        world.consumer() as stop,
    ):
        stop.wait(30)
    reached = world.reached()
    assert 50 < reached <= 80, "it stopped at the limit, a batch later at most, instead of emptying the topic"
    assert world.dead() == reached, "what it read is kept"
    for _ in range(2):
        with pytest.raises(TooManyDeadLetters), world.consumer() as stop:
            stop.wait(30)
    assert world.reached() == reached, "a restart reads no further"


def test_after_too_many_one_can_go_on_on_purpose(worlds: Callable[..., World]) -> None:
    world = worlds(dead_letter_window_events=20, dead_letter_max_share=0.5, topic_partitions=1, ingest_batch_events=5)
    world.publish_garbage(*[b"bad"] * 40)
    with pytest.raises(TooManyDeadLetters), world.consumer() as stop:
        stop.wait(30)
    world.publish(world.interactions(30))
    with world.consumer(msgspec.structs.replace(world.settings, dead_letter_max_share=1)):
        world.wait_until_settled()
    with world.consumer():  # the window has passed: the limit holds again and is not exceeded
        world.publish(world.interactions(5))
        world.wait_until_settled()
    assert world.troubles() == []


def test_a_few_bad_ones_do_not_halt(worlds: Callable[..., World]) -> None:
    world = worlds(dead_letter_window_events=50, dead_letter_max_share=0.5, topic_partitions=1, ingest_batch_events=10)
    for _ in range(10):
        world.publish_garbage(*[b"bad"] * 4)
        world.publish(world.interactions(6))
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []


def test_a_letter_about_an_erased_user_keeps_nothing_whenever_it_comes(worlds: Callable[..., World]) -> None:
    world = worlds(event_max_future_s=60, topic_partitions=1)
    ahead = datetime.now(UTC) + timedelta(hours=1)

    def early(user: str, id: str) -> Message:
        return world.event(Interaction(user=user, item="i1", kind="view"), id=id, time=ahead)

    world._publish([early("gone-user", "a"), early("stays", "b")])
    world._publish([world.event(UserErased(user="gone-user"), id="c")])
    world._publish([early("gone-user", "d"), Message(b"x", b'{"data":{"user":"gone-user"}}')])
    world.garbage = 5
    with world.consumer():
        world.wait_until_settled()
    letters = world.store.dead_letters.list()
    assert len(letters) == 4
    assert [letter.offset for letter in letters if letter.payload is not None] == [1]
    assert world.number("SELECT count(*) FROM dead_letters d WHERE d::text LIKE '%gone-user%'") == 0


def test_replaying_publishes_again_what_is_understood_now(worlds: Callable[..., World]) -> None:
    world = worlds(event_max_future_s=60)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    world._publish([world.event(Interaction(user="u1", item="i1", kind="view"), id="early", time=ahead)])
    headers = (("ce_id", b"binary"), ("ce_source", b"/t"), ("ce_type", b"interaction.view"), ("ce_specversion", b"1.0"))
    data = msgspec.json.encode({"user": "u2", "item": "i2"})
    world._publish([Message(b"u2", data, (*headers, ("ce_time", ahead.isoformat().encode()), ("x", b"\xff\x00%")))])
    world._publish([Message(b"x", b"never right")])
    world.garbage = 3
    with world.consumer():
        world.wait_until_settled()
    assert world.store.dead_letters.counts() == {"from_the_future": 2, "malformed": 1}

    letters = world.store.dead_letters.list(replayable=True)
    with Bus(str(world.settings.kafka_bootstrap), world.settings.topic) as bus:
        assert replay(world.store, bus, letters) == 3
    assert world.store.dead_letters.list(replayable=True) == []
    world.garbage = 6
    with world.consumer(msgspec.structs.replace(world.settings, event_max_future_s=86_400)):
        world.wait_until_settled()
    assert {row[0] for row in world.ask("SELECT id FROM events")} == {"early", "binary"}
    (again,) = world.store.dead_letters.list(replayable=True)
    assert again.payload == b"never right", "what is still wrong is a dead letter again, at its new place"


def record(value: bytes | None, headers: list[tuple[str, bytes]]) -> SimpleNamespace:
    return SimpleNamespace(offset=7, timestamp=0, key=b"k", value=value, headers=headers)


REFUSAL = InvalidEvent("malformed", "why")
AT = Coordinates("t", "id", 0, 7)


@given(
    payload=st.binary(max_size=100),
    headers=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.binary(max_size=50)), max_size=4
    ),
)
def test_a_letter_kept_whole_is_replayed_byte_for_byte(payload: bytes, headers: list[tuple[str, bytes]]) -> None:
    letter = bury(record(payload, headers), AT, REFUSAL, 100)
    assert "\0" not in repr(letter.headers)
    stored = BuriedMessage(
        1, "t", 0, 7, "malformed", "", letter.payload, letter.payload_bytes, letter.payload_sha256, letter.headers, False,
        datetime.now(UTC),
    )  # fmt: skip
    assert stored.whole
    message = _message(stored)
    assert (message.value, list(message.headers)) == (payload, headers)


@pytest.mark.parametrize(
    ("payload", "user"),
    [
        (VIEW, "u1"),
        (b'{"user":"u2","item":7}', "u2"),
        (b'{"data":{"user":7}}', None),
        (b'{"data":[1]}', None),
        (b'{"data":null}', None),
        (VIEW[:-1], None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_whom_a_letter_is_about_is_told_where_it_can_be_read(payload: bytes, user: str | None) -> None:
    assert bury(record(payload, []), AT, REFUSAL, 10).user == user


def test_plain_headers_stay_readable() -> None:
    headers = [
        ("ce_type", b"interaction.view"),
        ("ce_source", b"/shop/web"),
        ("content-type", b"application/json; charset=utf-8"),
    ]
    assert bury(record(b"{", headers), AT, REFUSAL, 10).headers == tuple(
        (name, value.decode()) for name, value in headers
    )


def test_what_is_too_large_is_kept_by_size_and_hash() -> None:
    cut = bury(record(b"x" * 1000, []), AT, REFUSAL, 10)
    assert (cut.payload, cut.payload_bytes) == (b"x" * 10, 1000)
    assert cut.payload_sha256 == hashlib.sha256(b"x" * 1000).hexdigest()
    headless = bury(record(b"x" * 5, [("h", b"y" * 10_000)]), AT, REFUSAL, 10)
    assert (headless.payload, headless.headers, headless.payload_bytes) == (b"", (), 5)
