"""DESIGN I3 for every recipe and fallback: nothing hidden, removed, unavailable, unwanted or (when asked) seen is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.events import ItemChanged, ItemRemoved
from core.store.catalogue import Item
from core.store.history import History, HistoryEvent
from serving.expression import parse
from serving.lists import Listing, listing, similar
from serving.query import Ask, Boost, Pin
from serving.service import Service
from serving.shapes import Answer
from tests.serving.world import ITEMS, World
from tests.streams import event, view

LIVE = ("als", "transitions", "popularity", "blend")
NEW = 5  # items that no model has seen
DAY = timedelta(days=1)
USERS = ("u1", "u2", "u3", "stranger")
KINDS: tuple[Listing, ...] = ("popular", "trending", "latest")
HISTORY = 8  # events that models are shown: of everyone here something is older than that
FILTERS: dict[str, Callable[[Item], bool]] = {  # and what they say, in other words
    "price < 20": lambda one: one.attributes.get("price", 99) < 20,
    'brand in ["x"] and price >= 5': lambda one: one.attributes.get("brand") == "x" and one.attributes["price"] >= 5,
    'not brand == "y"': lambda one: one.attributes.get("brand") != "y",
    'category == "b" or price == null': lambda one: "b" in one.categories or "price" not in one.attributes,
    "price > 1000": lambda one: False,
}


def state(chance: Random, number: int) -> ItemChanged | ItemRemoved:
    """An item in any state there is; more than half of them may be shown."""
    if chance.random() < 0.05:
        return ItemRemoved(item=f"i{number}")
    now = datetime.now(UTC)
    return ItemChanged(
        item=f"i{number}", title=chance.choice(["", f"Item {number}"]), hidden=chance.random() < 0.1,
        available=chance.random() > 0.1, published_at=chance.choice([None, now - DAY, now - DAY, now + DAY]),
        expires_at=chance.choice([None, now + DAY, now + DAY, now - DAY]),
        categories=tuple(name for name in "abc" if chance.random() < 0.3),
        attributes=chance.choice([{}, {"price": number}, {"price": number, "brand": chance.choice("xy")}]),
    )  # fmt: skip


@st.composite
def pasts(draw: st.DrawFn) -> tuple[HistoryEvent, ...]:
    """What someone did: items known and unknown, kinds wanted and not."""
    done = st.builds(
        HistoryEvent, item=st.integers(0, ITEMS + NEW + 2).map("i{}".format),
        kind=st.sampled_from(["view", "purchase", "dislike", "hide", "rating"]),
        time=st.datetimes(datetime(2026, 1, 1), datetime(2026, 2, 1), timezones=st.just(UTC)),
        value=st.sampled_from([None, 1.0, -1.0]),
    )  # fmt: skip
    return tuple(draw(st.lists(done, max_size=30)))


@pytest.fixture
def service(full_world: World) -> Iterator[Service]:
    """The parts of a server on the full world; u3 said no to some items long ago."""
    said_no = [("hide", None), ("dislike", None), ("rating", -1.0)]
    full_world.writer.write([view(1 + n, "u3", f"i{n}", kind, value) for n, (kind, value) in enumerate(said_no)])
    full_world.train("blend")
    settings = msgspec.structs.replace(full_world.settings, history_events=HISTORY)
    service = Service(settings, full_world.store, full_world.registry)
    service.models.refresh()
    service.catalogue.refresh_counts()
    yield service
    service.stop()


def unwanted(done: HistoryEvent) -> bool:
    return done.kind in ("dislike", "hide") or (done.value is not None and done.value < 0)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Any request: users known and not, with or without a history, a filter, a set to rank, a campaign, a share for chance."""
    numbers = st.integers(0, ITEMS + NEW + 3).map("i{}".format)
    pins = st.lists(
        st.builds(Pin, numbers, st.integers(1, 8)), max_size=4, unique_by=(lambda p: p.item, lambda p: p.position)
    )
    boosts = st.lists(
        st.builds(Boost, st.sampled_from([*FILTERS]).map(parse), st.sampled_from([0.1, 3.0, 100.0])), max_size=2
    )
    return Ask(
        user=draw(st.sampled_from([None, *USERS])), limit=draw(st.sampled_from([1, 5, 60])),
        filter=draw(st.none() | st.sampled_from([*FILTERS]).map(parse)), hide=tuple(draw(st.lists(numbers, max_size=4))),
        seen_kinds=draw(st.sets(st.sampled_from(["purchase", "rating", "hide"])).map(frozenset)), pins=tuple(draw(pins)),
        boosts=tuple(draw(boosts)), exploration=draw(st.sampled_from([0.0, 0.0, 0.3, 1.0])),
        events=draw(pasts()), category=draw(st.sampled_from([None, None, None, "a", "unheard-of"])),
        exclude_seen=draw(st.booleans()), diversity=draw(st.sampled_from([0.0, 0.3, 1.0])), logged=False,
        among=draw(st.none() | st.none() | st.lists(numbers, max_size=8).map(tuple)),
    )  # fmt: skip


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],  # every try writes a catalogue: shrinking takes minutes
)  # fmt: skip
@given(
    seed=st.integers(0, 1_000_000), live=st.sets(st.sampled_from(LIVE)), asked=st.lists(asks(), min_size=3, max_size=6),
    gone=st.booleans(),
)  # fmt: skip
def test_nothing_is_ever_shown_that_may_not_be(
    full_world: World, service: Service, seed: int, live: set[str], asked: list[Ask], gone: bool
) -> None:
    full_world.number += 1
    chance, first = Random(seed), full_world.number * 1000
    states = [state(chance, number) for number in range(ITEMS + NEW)]
    full_world.writer.write([event(first + n, body, source="/catalogue") for n, body in enumerate(states)])
    service.catalogue.refresh()
    service.newcomers.refresh()
    known = {one.item: one for one in full_world.store.catalogue.items([f"i{n}" for n in range(ITEMS + NEW)])}
    loaded = service.models.served
    service.models.served = MappingProxyType({name: loaded[name] for name in live})
    for user in USERS:
        service.histories.read(user)
    service.histories._rest_until = math.inf if gone else 0.0  # as after a read that Postgres did not answer
    try:
        for ask in asked:
            check(full_world, service, ask, known, live, gone)
    finally:
        service.models.served = loaded


def check(world: World, service: Service, ask: Ask, known: dict[str, Item], live: set[str], gone: bool) -> None:
    """Ask for everything there is, and hold every answer against what Postgres says."""
    answer = service.pipeline.recommend(ask)
    wanted = ask.filter.text if ask.filter else None
    lists = [listing(service.pipeline, kind, ask.limit, ask.category, wanted) for kind in KINDS]
    lists.append(similar(service.pipeline, "i3", ask.limit, ask.category, wanted))
    now = datetime.now(UTC)
    may_be_shown = {
        name for name, one in known.items()
        if one.servable(now) and ask.category in (None, *one.categories) and (wanted is None or FILTERS[wanted](one))
    }  # fmt: skip
    for found in lists:
        assert {one.item for one in found.items} <= may_be_shown

    stored = world.store.history.history(ask.user, 1000) if ask.user else History((), frozenset())
    done = (*ask.events, *stored.events)
    allowed = may_be_shown - {one.item for one in done if unwanted(one)} - set(ask.hide)
    if ask.exclude_seen:
        allowed -= {one.item for one in done if not ask.seen_kinds or one.kind in ask.seen_kinds}
    if ask.among is not None:
        allowed &= set(ask.among)
    shown = [one.item for one in answer.items]
    assert set(shown) <= allowed
    assert len(shown) == len(set(shown)) == min(ask.limit, len(allowed))  # and the list is as full as it can be
    for pin in ask.pins:  # what is pinned and may be shown is at its place, or at the end of a list without that place
        if pin.item in allowed and pin.position <= len(shown):
            assert shown[pin.position - 1] == pin.item
    described(ask, answer, done)
    if gone and ask.user is not None:
        assert answer.fallback in ("session", "popular", "static")
        return
    sources = {one.source for one in answer.items}
    assert answer.fallback in ((None, "item-item", "popular", "static") if live else ("item-item", "popular", "static"))
    assert answer.fallback is not None or live & {"als", "blend"}
    assert live & {"als", "transitions", "blend"} or "text" in sources or answer.fallback in ("popular", "static")
    assert sources <= {*live, "popular", "counts", "latest", "given", "text", "pinned", "exploration"}


def described(ask: Ask, answer: Answer, done: tuple[HistoryEvent, ...]) -> None:
    """What is said of each item is in its range, and names nothing that the user did not do."""
    scores = [one.score for one in answer.items]
    assert all(0 <= score <= 1 for score in scores)
    assert ask.diversity > 0 or ask.exploration > 0 or scores == sorted(scores, reverse=True)
    for one in answer.items:
        assert one.reason is not None
        assert one.reason.text
        assert set(one.reason.because) <= {event.item for event in done}
        assert one.propensity == 1.0 if ask.exploration == 0 or one.source == "pinned" else 0 < one.propensity <= 1
