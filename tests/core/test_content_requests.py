"""Requests for texts: found in order, recorded once, published within bounds, settled in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BrokerUnavailable, Fenced, InvalidEvent
from core.events import ItemRemoved
from core.requests import TextKey, TextRequest, decode_request, encode_request
from core.settings import Settings
from core.store import Store, open_store
from core.store.content_requests import Refusal, Settlement, Tried, Wanted
from core.store.contents import Content
from core.store.events import Advance
from core.store.reviews import Decision
from tests.streams import Writer, event, view
from tests.texts import film

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = Wanted([("description", "en")], {"description": "p"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


def key(item: str, kind: str = "description", locale: str = "en") -> TextKey:
    return TextKey(item, kind, locale)


def text(
    item: str, says: str = "It is a film.", *, facts: str = "f", model: str = "scribe@1", at: datetime = WHEN
) -> Content:
    origin = "template" if model == "template" else "model"
    return Content(item, "description", "en", says, "verified", origin, model, facts, at, "p", 1, [])


def request(item: str, priority: float = 0.0, **about: Any) -> TextRequest:
    given = {"kind": "description", "locale": "en", "why": "missing", "facts_at": WHEN, "priority": priority, **about}
    return TextRequest(item=item, **given)


def publish(store: Store, ahead: int = 100, topic_id: str = "t") -> list[str]:
    sent: list[TextRequest] = []
    store.content_requests.publish(ahead, topic_id, sent.extend)
    return [one.item for one in sent]


def ask(store: Store, query: str) -> list[Any]:
    with store.database.begin() as connection:
        return list(connection.execute(sa.text(query)))


def changes(store: Store, item: str) -> int:
    """How often the item's text became another one."""
    return len(store.reviews.history(item, "description", "en"))


# The messages


def test_a_request_travels_as_a_cloud_event_keyed_by_its_item() -> None:
    sent = request("i1", 3.5, requested_at=WHEN)
    message = encode_request(sent)
    assert message.key == b"i1"
    assert decode_request(message.value) == sent
    assert encode_request(sent).value == message.value, "the same request is the same message"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\xff", "malformed"),
        (b"[]", "invalid"),
        (b'{"specversion":"0.3","type":"content.requested"}', "unsupported_version"),
        (b'{"specversion":"1.0","type":"interaction.view","data":{}}', "unknown_type"),
        (b'{"specversion":"1.0","type":"content.requested","data":{"item":"i"}}', "invalid"),
        (b'{"specversion":"1.0","type":"content.requested","data":{"item":"\\u0000","kind":"d","locale":"en","why":"asked",'
         b'"facts_at":"2026-01-01T00:00:00Z"}}', "invalid"),
        (b'{"specversion":"1.0","type":"content.requested","data":{"item":"i","kind":"d","locale":"en","why":"asked",'
         b'"facts_at":"2026-01-01T00:00:00"}}', "invalid"),
        (b'"' + b"x" * 70_000 + b'"', "too_large"),
    ],
)  # fmt: skip
def test_what_is_not_a_request_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode_request(payload)
    assert refused.value.reason == reason


@given(st.binary(max_size=300))
def test_no_message_does_more_than_being_refused(payload: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode_request(payload)


# Which texts are wanted


def test_missing_and_outdated_texts_are_wanted_the_newest_and_most_viewed_first(store: Store) -> None:
    day = 24 * 60
    films = [
        film(1, "old", "Old", minutes=0),
        film(2, "seen", "Seen", minutes=0),
        film(3, "new", "New", minutes=1.5 * day),
    ]
    Writer(store).write([*films, *(view(10 + n, f"u{n}", "seen") for n in range(3))])
    found = store.content_requests.wanting(EVERY, 10)
    assert [(one.item, one.why) for one in found] == [("seen", "missing"), ("new", "missing"), ("old", "missing")]
    store.content_requests.settle(Settlement(texts=[text("seen", at=WHEN)]))
    found = store.content_requests.wanting(EVERY, 10)
    assert [one.item for one in found] == ["new", "old"], "twice the views outweigh a day, not two"
    Writer(store).write([film(4, "seen", "Seen again", minutes=day)])
    assert [(one.item, one.why) for one in store.content_requests.wanting(EVERY, 10)] == [
        ("seen", "changed"), ("new", "missing"), ("old", "missing"),
    ]  # fmt: skip
    only_stale = Wanted([], {"description": "p"})
    assert [one.item for one in store.content_requests.wanting(only_stale, 10)] == ["seen"]
    assert [one.item for one in store.content_requests.wanting(EVERY, 1)] == ["seen"]


def test_removed_items_and_texts_of_people_are_not_wanted(store: Store) -> None:
    Writer(store).write([film(1, "gone", "Gone"), film(2, "kept", "Kept"), event(3, ItemRemoved(item="gone"))])
    store.content_requests.settle(Settlement(texts=[text("kept")]))
    store.reviews.decide("kept", "description", "en", Decision("edit", "ann", 1, "Mine."))
    Writer(store).write([film(4, "kept", "Kept otherwise")])
    assert store.content_requests.wanting(EVERY, 10) == []


def test_only_what_was_written_since_a_transaction_is_looked_at(store: Store) -> None:
    Writer(store).write([film(1, "a", "A")])
    horizon = store.events.horizon()
    Writer(store).write([film(2, "b", "B")])
    assert [one.item for one in store.content_requests.wanting(EVERY, 10, since_txn=horizon)] == ["b"]


def test_a_template_is_wanted_from_the_model_once_for_the_same_facts_and_prompt(store: Store) -> None:
    Writer(store).write([film(1, "a", "A")])
    store.content_requests.settle(Settlement(texts=[text("a", model="template", at=WHEN + timedelta(days=9))]))
    asked = Wanted([], {"description": "p"}, "scribe@1")
    assert store.content_requests.wanting(EVERY, 10) == []
    assert [one.why for one in store.content_requests.wanting(asked, 10)] == ["model"]
    store.content_requests.settle(Settlement(tries=[Tried(key("a"), "f", "p", "scribe@1")]))
    assert store.content_requests.wanting(asked, 10) == []
    assert len(store.content_requests.wanting(Wanted([], {"description": "p"}, "scribe@2"), 10)) == 1
    assert len(store.content_requests.wanting(Wanted([], {"description": "q"}, "scribe@1"), 10)) == 1


# From the record to the topic


def test_what_is_requested_is_not_wanted_again_nor_requested_twice(store: Store) -> None:
    Writer(store).write([film(1, "a", "A"), film(2, "b", "B")])
    found = store.content_requests.wanting(EVERY, 10)
    assert store.content_requests.request(found) == 2
    assert store.content_requests.request(found) == 0
    assert store.content_requests.wanting(EVERY, 10) == []
    assert len(store.content_requests.wanting(EVERY, 10, requested_too=True)) == 2


def test_no_more_than_so_many_requests_are_in_the_topic_the_most_urgent_first(store: Store) -> None:
    store.content_requests.request([request("a", 1.0), request("b", 3.0), request("c", 2.0)])
    assert publish(store, 2) == ["b", "c"]
    assert publish(store, 2) == []
    store.content_requests.settle(Settlement(done=[key("c")]))
    assert publish(store, 2) == ["a"]


def test_what_could_not_be_published_waits(store: Store) -> None:
    store.content_requests.request([request("a")])

    def away(requests: Sequence[TextRequest]) -> None:
        raise BrokerUnavailable("no answer")

    with pytest.raises(BrokerUnavailable):
        store.content_requests.publish(9, "t", away)
    assert publish(store) == ["a"]


def test_what_a_lost_topic_was_told_is_published_to_its_successor(store: Store) -> None:
    store.content_requests.request([request("a")])
    assert publish(store, topic_id="first") == ["a"]
    assert publish(store, topic_id="first") == []
    assert publish(store, topic_id="second") == ["a"]
    assert store.content_requests.publish_again() == 1
    assert publish(store, topic_id="second") == ["a"]


def test_two_publishers_pass_over_one_anothers_requests(store: Store) -> None:
    store.content_requests.request([request("a"), request("b")])
    seen: list[list[str]] = []

    def meanwhile(requests: Sequence[TextRequest]) -> None:
        seen.append([one.item for one in requests])
        seen.append(publish(store))

    store.content_requests.publish(1, "t", meanwhile)
    assert seen == [["a"], ["b"]]


# Settling


def test_texts_requests_tokens_and_offsets_change_together_or_not_at_all(store: Store) -> None:
    Writer(store).write([film(1, "a", "A")])
    store.content_requests.request([request("a")])
    former = store.events.claim("requests", "t", 0)
    owner = store.events.claim("requests", "t", 0)
    whole = Settlement(done=[key("a")], texts=[text("a")], tries=[Tried(key("a"), "f", "p", "scribe@1")], tokens=7)
    with pytest.raises(Fenced):
        store.content_requests.settle(whole, advances=[Advance(former, 1)])
    assert changes(store, "a") == 0
    assert store.content_requests.counts().states["waiting"] == 1
    assert store.content_requests.spent()[0] == 0
    assert store.content_requests.settle(whole, advances=[Advance(owner, 1)]) == 1
    assert changes(store, "a") == 1
    assert store.content_requests.counts().states == {"waiting": 0, "later": 0, "published": 0, "dead": 0}
    tokens, left_s = store.content_requests.spent()
    assert tokens == 7
    assert 0 < left_s <= 3600
    assert store.events.confirm(owner).next_offset == 1


def test_the_same_text_is_never_written_twice(store: Store) -> None:
    Writer(store).write([film(1, "a", "A")])
    for says in ("It is a film.", "A film, it is."):
        store.content_requests.settle(Settlement(texts=[text("a", says)]))
    assert changes(store, "a") == 1
    store.content_requests.settle(Settlement(texts=[text("a", "Template.", model="template")]))
    assert changes(store, "a") == 1, "nor does the template replace what the model said of the same facts"
    store.content_requests.settle(Settlement(texts=[text("a", "Another.", facts="g")]))
    store.content_requests.settle(Settlement(texts=[text("a", "By another.", facts="g", model="scribe@2")]))
    assert changes(store, "a") == 3


def test_two_writers_of_a_new_text_write_it_once(store: Store) -> None:
    Writer(store).write([film(n, f"i{n}", f"Film {n}") for n in range(20)])
    together = threading.Barrier(2)
    stored: list[int] = []

    def write(says: str) -> None:
        together.wait()
        stored.extend(store.content_requests.settle(Settlement(texts=[text(f"i{n}", says)])) for n in range(20))

    threads = [threading.Thread(target=write, args=(says,)) for says in ("One.", "Two.")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(stored) == 20
    assert [changes(store, f"i{n}") for n in range(20)] == [1] * 20


def test_a_text_of_a_person_stays(store: Store) -> None:
    Writer(store).write([film(1, "a", "A")])
    store.content_requests.settle(Settlement(texts=[text("a")]))
    store.reviews.decide("a", "description", "en", Decision("edit", "ann", 1, "Mine."))
    assert store.content_requests.settle(Settlement(texts=[text("a", "Mine too.", facts="g")])) == 0
    found = store.contents.content("a", "description", "en")
    assert found is not None
    assert found[0].text == "Mine."


def test_what_waits_for_the_model_is_published_again_later_each_time_after_a_longer_wait(store: Store) -> None:
    store.content_requests.request([request("a")])
    waits = []
    for _ in range(3):
        store.content_requests.settle(Settlement(later=[key("a")]))
        ((wait,),) = ask(store, "SELECT extract(epoch FROM not_before - now()) FROM content_requests")
        waits.append(round(float(wait)))
        assert publish(store) == []
    assert store.content_requests.counts().states["later"] == 1
    assert waits == [15, 30, 60]
    with store.database.begin() as connection:
        connection.execute(sa.text("UPDATE content_requests SET not_before = now()"))
    assert publish(store) == ["a"]


def test_a_refused_request_waits_for_a_person_or_a_change(store: Store) -> None:
    Writer(store).write([film(1, "a", "A", minutes=0)])
    store.content_requests.request(store.content_requests.wanting(EVERY, 10))
    store.content_requests.settle(Settlement(refused=[Refusal(key("a"), "failed", "RuntimeError")]))
    assert store.content_requests.counts().states["dead"] == 1
    assert store.content_requests.wanting(EVERY, 10) == []
    assert store.content_requests.request([request("a")]) == 0
    assert store.content_requests.request(store.content_requests.about(["a", "unheard-of"], "description", "en")) == 1
    store.content_requests.settle(Settlement(refused=[Refusal(key("a"), "failed", "RuntimeError")]))
    Writer(store).write([film(2, "a", "A again", minutes=5)])
    assert store.content_requests.request(store.content_requests.wanting(EVERY, 10)) == 1
    assert publish(store) == ["a"]


def test_facts_that_did_not_change_with_their_item_make_a_text_fresh_again(store: Store) -> None:
    Writer(store).write([film(1, "a", "A", minutes=0)])
    store.content_requests.settle(Settlement(texts=[text("a")]))
    Writer(store).write([film(2, "a", "A", minutes=5)])
    assert len(store.content_requests.wanting(EVERY, 10)) == 1
    store.content_requests.settle(Settlement(true=[(key("a"), WHEN + timedelta(minutes=5))]))
    assert store.content_requests.wanting(EVERY, 10) == []
    assert changes(store, "a") == 1


# Reasons, which are about pairs


def pairs(store: Store) -> list[tuple[str, str]]:
    query = "SELECT item_id, about ->> 'item' FROM content_requests WHERE kind = 'because' ORDER BY priority DESC"
    return [tuple(row) for row in ask(store, query)]


def test_the_reasons_shown_most_are_requested_once_and_no_more_than_there_may_be(store: Store) -> None:
    Writer(store).write(
        [film(n, f"i{n}", f"Film {n}", minutes=0) for n in range(1, 5)] + [event(9, ItemRemoved(item="i4"))]
    )
    shown = {("i1", "i2", "view", "en"): 8, ("i2", "i1", "view", "en"): 9, ("i3", "i1", "cart", "de"): 7}
    gone = {("i4", "i1", "view", "en"): 99, ("i1", "i4", "view", "en"): 99, ("i1", "unheard-of", "view", "en"): 99}
    assert store.content_requests.wish({**shown, **gone}, most=2) == 2
    assert pairs(store) == [("i2", "i1"), ("i1", "i2")]
    assert store.content_requests.wish(shown, most=2) == 0, "there is no room for the third"
    sent: list[TextRequest] = []
    store.content_requests.publish(100, "t", sent.extend)
    assert [decode_request(encode_request(one).value) for one in sent] == sent
    assert [one.about for one in sent] == [{"item": "i1", "event": "view"}, {"item": "i2", "event": "view"}]
    store.content_requests.settle(Settlement(done=[sent[0].key], tries=[Tried(sent[0].key, "f", "p", "m")]))
    assert pairs(store) == [("i1", "i2")], "of one item others may be wanted"
    assert store.content_requests.wish(shown, most=99) == 1, "what a model was asked just now is not asked again"
    assert ("i3", "i1") in pairs(store)


def test_requests_about_the_same_item_and_other_pairs_are_settled_apart(store: Store) -> None:
    Writer(store).write([film(n, f"i{n}", f"Film {n}", minutes=0) for n in range(1, 4)])
    store.content_requests.wish({("i1", other, "view", "en"): 5 for other in ("i2", "i3")}, most=9)
    sent: list[TextRequest] = []
    store.content_requests.publish(100, "t", sent.extend)
    first, second = sent
    assert first.key[:3] == second.key[:3]
    assert first.key != second.key
    store.content_requests.settle(Settlement(later=[first.key], refused=[Refusal(second.key, "nothing_to_say", "")]))
    states = dict(ask(store, "SELECT input_hash, state FROM content_requests"))
    assert states == {first.key.input_hash: "waiting", second.key.input_hash: "dead"}
