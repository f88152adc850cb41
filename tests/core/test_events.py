"""Events: what is accepted means what it says, and what is refused has one reason."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import InvalidEvent
from core.events import (
    MAX_DEPTH,
    Body,
    Event,
    Impression,
    Interaction,
    ItemChanged,
    ItemRemoved,
    UserChanged,
    UserErased,
    _decode_carefully,
    _decode_plainly,
    decode,
    encode,
    partition_key,
    type_of,
)

TIME = datetime(2026, 8, 22, 10, tzinfo=UTC)


def message(data: Any, type: str = "interaction.view", **envelope: Any) -> bytes:
    """A structured CloudEvent; envelope fields replace or, when None, remove."""
    whole = {"specversion": "1.0", "id": "e1", "source": "/t", "type": type, "time": TIME, "data": data, **envelope}
    return msgspec.json.encode({name: value for name, value in whole.items() if value is not None})


def reason(raw: bytes | None, headers: Any = (), **limits: int) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode(raw, headers, **limits)
    assert caught.value.detail, "a refusal explains itself"
    return caught.value.reason


VIEW = {"user": "u1", "item": "i1"}


@pytest.mark.parametrize(
    ("type", "data", "body"),
    [
        ("interaction.view", VIEW, Interaction(user="u1", item="i1", kind="view")),
        (
            "interaction.rating",
            {**VIEW, "value": 4.5, "session": "s", "slate": "token", "position": 3, "context": {"a": [1]}},
            Interaction(
                user="u1",
                item="i1",
                kind="rating",
                value=4.5,
                session="s",
                slate="token",
                position=3,
                context={"a": [1]},
            ),
        ),
        ("impression", {"slate": "s", "items": ["i1", "i2"]}, Impression(slate="s", items=("i1", "i2"))),
        (
            "item.changed",
            {"item": "i1", "title": "T", "categories": ["c"], "attributes": {"year": 1999}, "published_at": TIME},
            ItemChanged(item="i1", title="T", categories=("c",), attributes={"year": 1999}, published_at=TIME),
        ),
        ("item.removed", {"item": "i1"}, ItemRemoved(item="i1")),
        ("user.changed", {"user": "u1", "attributes": {"a": 1}}, UserChanged(user="u1", attributes={"a": 1})),
        ("user.erased", {"user": "u1"}, UserErased(user="u1")),
    ],
)
def test_every_kind_is_decoded_in_both_modes(type: str, data: dict[str, Any], body: Body) -> None:
    expected = Event("e1", "/t", type, TIME, body)
    attributes = {"specversion": "1.0", "id": "e1", "source": "/t", "type": type, "time": TIME.isoformat()}
    binary = [
        ("content-type", b"application/json"),
        *((f"ce_{name}", text.encode()) for name, text in attributes.items()),
    ]
    assert decode(message(data, type)) == expected
    assert decode(msgspec.json.encode(data), binary) == expected
    assert type_of(body) == type


def test_what_was_encoded_is_decoded_again() -> None:
    body = ItemChanged(item="i1", title="T", attributes={"a": {"b": None}}, expires_at=TIME)
    assert decode(encode(body, id="7", source="/s", time=TIME)) == Event("7", "/s", "item.changed", TIME, body)


def test_headers_that_are_not_cloudevents_change_nothing() -> None:
    headers = [("traceparent", b"00-1"), ("ce_id", None), ("\x00", b"\xff")]
    assert decode(message(VIEW), headers) == decode(message(VIEW))


def test_unknown_fields_are_kept_in_context() -> None:
    event = decode(message({**VIEW, "campaign": "c7", "kind": "x", "context": {"a": 1}}, dataschema="/v9", trace="t"))
    assert event.body == Interaction(user="u1", item="i1", kind="view", context={"a": 1, "campaign": "c7", "kind": "x"})


def test_the_identity_is_source_and_id_together() -> None:
    one, other = decode(message(VIEW, source="a", id="bc")), decode(message(VIEW, source="ab", id="c"))
    assert one.key != other.key
    assert one.key == decode(message({"user": "else", "item": "x"}, source="a", id="bc")).key


def test_owners_share_a_partition_key() -> None:
    assert partition_key(Interaction(user="u1", item="i1")) == partition_key(UserErased(user="u1")) == b"u1"
    assert partition_key(ItemChanged(item="i1")) == partition_key(ItemRemoved(item="i1")) == b"i1"
    assert partition_key(Impression(slate="s1", items=())) == b"s1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"x" * 1_000_001, "too_large"),
        (b"{", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"\x00\x00", "malformed"),
        (message(VIEW)[:-1], "malformed"),
        (message(VIEW) + b"}", "malformed"),
        (message({**VIEW, "value": 1}).replace(b":1}", b":NaN}"), "malformed"),
        (message({**VIEW, "session": "X"}).replace(b"X", b"\\ud800"), "malformed"),
        (message({**VIEW, "value": 1}).replace(b":1}", b":1e999}"), "invalid"),
        (message({**VIEW, "context": {"n": 1}}).replace(b":1}", b":" + b"9" * 5000 + b"}"), "invalid"),
        (b"[]", "invalid"),
        (b"null", "invalid"),
        (message(None), "invalid"),
        (message("text"), "invalid"),
        (message(VIEW, id=None), "invalid"),
        (message(VIEW, id=""), "invalid"),
        (message(VIEW, time=None), "invalid"),
        (message(VIEW, time="2026-08-22T10:00:00"), "invalid"),
        (message(VIEW, time="1066-10-14T00:00:00Z"), "invalid"),
        (message(VIEW, time="9999-12-31T23:59:59-14:00"), "from_the_future"),
        (message({"user": "u1"}), "invalid"),
        (message({"user": 1, "item": "i1"}), "invalid"),
        (message({"user": "", "item": "i1"}), "invalid"),
        (message({"user": "u" * 257, "item": "i1"}), "invalid"),
        (message({**VIEW, "session": "a\0b"}), "invalid"),
        (message({**VIEW, "context": {"a\0": 1}}), "invalid"),
        (message({**VIEW, "context": None, "more": 1}), "invalid"),
        (message(VIEW, id="\0"), "invalid"),
        (message(VIEW, specversion="0.3"), "unsupported_version"),
        (message(VIEW, "interaction."), "unknown_type"),
        (message(VIEW, "interaction.View"), "unknown_type"),
        (message(VIEW, "order.placed"), "unknown_type"),
        (message({**VIEW, "context": "X"}).replace(b'"X"', b'{"a":' * 20 + b"1" + b"}" * 20), "too_deep"),
        (
            message({**VIEW, "context": {"a": 0}}).replace(b":0}", b":" + b"[" * 200_000 + b"]" * 200_000 + b"}"),
            "too_deep",
        ),
    ],
)
def test_a_refusal_has_one_clear_reason(raw: bytes | None, expected: str) -> None:
    assert reason(raw) == expected


def test_nul_in_a_binary_attribute_is_refused() -> None:
    attributes = {
        "specversion": b"1.0",
        "id": b"a\0",
        "source": b"/t",
        "type": b"interaction.view",
        "time": b"2026-01-01T00:00:00Z",
    }
    assert reason(msgspec.json.encode(VIEW), [(f"ce_{name}", value) for name, value in attributes.items()]) == "invalid"


def test_wide_data_is_not_deep_data() -> None:
    assert decode(message({**VIEW, "context": {"a": [{}] * 500}})).body.context == {"a": [{}] * 500}


@given(
    data=st.dictionaries(
        st.sampled_from(["user", "item", "value", "session", "slate", "position", "context", "extra", "kind"]),
        st.sampled_from(["a", "a\0b", "é\t\\", "", 3, -1, 2.5, None, True, {"n": [1]}, {"d": 0}, [], "x" * 300]),
    ),
    extension=st.sampled_from(
        [{}, {"dataschema": "/v2", "deep": [[]]}, {"specversion": "0.3"}, {"type": "impression"}]
    ),
    nested=st.sampled_from([0, 3, MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 5000]),
)
def test_the_plain_way_and_the_careful_way_agree(data: dict[str, Any], extension: dict[str, Any], nested: int) -> None:
    assume(data.get("kind") != "")  # the one difference: an empty unknown field is not worth looking for
    raw = message({"user": "u", "item": "i", **data}, **extension)
    raw = raw.replace(b'{"d":0}', b'{"d":' * nested + b"0" + b"}" * nested)
    plain = _decode_plainly(raw)
    if plain is not None:
        assert plain == _decode_carefully(raw, ())


def test_limits_are_the_callers() -> None:
    soon = message(VIEW, time=datetime.now(UTC) + timedelta(minutes=5))
    assert reason(soon, max_future_s=60) == "from_the_future"
    assert decode(soon, max_future_s=600).id == "e1"
    assert reason(message(VIEW), max_bytes=10) == "too_large"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    raw=st.binary(max_size=200), headers=st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=20)))
)
def test_any_bytes_are_decoded_or_refused(raw: bytes, headers: list[tuple[str, bytes]]) -> None:
    with suppress(InvalidEvent):
        assert isinstance(decode(raw, headers), Event)


@given(
    data=st.dictionaries(st.sampled_from(["user", "item", "value", "context", "items", "slate", "x"]), json_values),
    type=st.sampled_from(
        ["interaction.view", "impression", "item.changed", "item.removed", "user.changed", "user.erased"]
    ),
)
def test_any_json_is_decoded_or_refused(data: dict[str, Any], type: str) -> None:
    raw = message(data, type)
    try:
        event = decode(raw)
    except InvalidEvent:
        return
    again = decode(encode(event.body, id=event.id, source=event.source, time=event.time))
    assert again == event, "what was accepted survives being published again"
