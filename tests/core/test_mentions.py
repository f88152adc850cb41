"""Whom a message that could not be understood names: looked for in every spelling, and not in longer words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import UserErased
from core.settings import Settings
from core.store import Store, open_store
from core.store.events import Coordinates, DeadLetter
from core.store.mentions import words
from tests.streams import Writer, event


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


def letters(*messages: tuple[bytes, str, tuple[tuple[str, str], ...]]) -> list[DeadLetter]:
    """Refused messages: payload, detail, headers."""
    return [
        DeadLetter(Coordinates("dead", "dead-id", 0, place), "invalid", detail, payload, len(payload), "sha", headers)
        for place, (payload, detail, headers) in enumerate(messages)
    ]


@pytest.mark.parametrize(
    ("user", "naming", "other"),
    [
        ("anna@x.org", b'{"user":"anna@x.org",', b'{"user":"johanna@x.org"}'),
        ("u1", b"cut off: user=u1", b'{"user":"u10","x":"au1"}'),
        ("Zoë/1", b'{"user":"Zo\\u00eb/1"}', b'{"user":"Zo\\u00eb/12"}'),
        ("Zoë/1", b'{"user":"Zo\\u00EB\\/1"}', b"Zo"),
        ("Zoë/1", '{"user":"Zoë/1"'.encode(), b""),
        ('a"b', b'{"user":"a\\"b"}', b'{"user":"a"}'),
        ("7", b'{"user":"7","value":1}', b'{"user":"8","value":7,"position":7}'),
        ("7", b'{"user_id": 7}', b'{"user_id": 77}'),
    ],
)  # fmt: skip
def test_an_erased_id_leaves_dead_letters_in_every_spelling_and_others_keep_theirs(
    store: Store, user: str, naming: bytes, other: bytes
) -> None:
    writer = Writer(store)
    before = letters((naming, "", ()), (other, "", ()))
    writer.write([], before)
    assert [one.offset for one in store.dead_letters.naming(user)] == [0]
    writer.write([event(1, UserErased(user=user))])
    kept = {one.offset: one.payload for one in store.dead_letters.list()}
    assert kept == {0: None, 1: other}
    assert store.dead_letters.naming(user) == []


def test_details_and_headers_are_taken_as_well(store: Store) -> None:
    writer = Writer(store)
    writer.write(
        [], letters((b"x", "type 'gone' is none", ()), (b"y", "", (("ce_subject", "gone"),)), (b"z", "fine", ()))
    )
    writer.write([event(1, UserErased(user="gone"))])
    kept = {one.offset: (one.payload, one.detail, one.headers) for one in store.dead_letters.list()}
    assert kept == {0: (None, "", ()), 1: (None, "", ()), 2: (b"z", "fine", ())}


def test_a_letter_that_comes_after_the_erasure_keeps_nothing_wherever_it_names_the_user(store: Store) -> None:
    writer = Writer(store)
    writer.write([event(1, UserErased(user="7")), event(2, UserErased(user="Zoë"))])
    late = [b'{"data":{"who":"Zo\\u00eb"', b'{"user":7}', b'{"user":"\\ud800"}', b'{"value":7}', b"\xff\xfe"]
    writer.write([], letters(*((one, "", ()) for one in late), (b"-", "", (("ce_subject", "Zoë"),))))
    kept = {one.offset: one.payload for one in store.dead_letters.list()}
    assert kept == {0: None, 1: None, 2: late[2], 3: late[3], 4: late[4], 5: None}


@given(st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()), st.booleans())
def test_every_id_is_found_in_json_that_holds_it(user: str, ascii_only: bool) -> None:
    message = json.dumps({"data": {"somebody": user}}, ensure_ascii=ascii_only).encode()
    assert user in words(message, ())
