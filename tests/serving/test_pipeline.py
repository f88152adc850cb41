"""DESIGN I3 for every recipe and fallback: nothing hidden, removed, unavailable, unwanted or (when asked) seen is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.events import ItemChanged, ItemRemoved
from core.store.catalogue import Item
from core.store.history import History, HistoryEvent
from serving.lists import listing, similar
from serving.query import Ask
from serving.service import Service
from tests.serving.world import ITEMS, World
from tests.streams import event

LIVE = ("als", "transitions", "popularity")
NEW = 5  # items that no model has seen
DAY = timedelta(days=1)


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
    service = Service(full_world.settings, full_world.store, full_world.registry)
    service.models.refresh()
    service.catalogue.refresh_counts()
    yield service
    service.stop()


def unwanted(done: HistoryEvent) -> bool:
    return done.kind in ("dislike", "hide") or (done.value is not None and done.value < 0)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Any request: users known and not, with or without a history, a category, a set to rank."""
    numbers = st.integers(0, ITEMS + NEW + 3).map("i{}".format)
    return Ask(
        user=draw(st.sampled_from([None, "u1", "u2", "stranger"])), limit=draw(st.sampled_from([1, 5, 60])),
        events=draw(pasts()), category=draw(st.sampled_from([None, None, None, "a", "unheard-of"])),
        exclude_seen=draw(st.booleans()), diversity=draw(st.sampled_from([0.0, 0.3, 1.0])), logged=False,
        among=draw(st.none() | st.none() | st.lists(numbers, max_size=8).map(tuple)),
    )  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1_000_000), live=st.sets(st.sampled_from(LIVE)), asked=st.lists(asks(), min_size=3, max_size=5)
)
def test_nothing_is_ever_shown_that_may_not_be(
    full_world: World, service: Service, seed: int, live: set[str], asked: list[Ask]
) -> None:
    full_world.number += 1
    chance, first = Random(seed), full_world.number * 1000
    states = [state(chance, number) for number in range(ITEMS + NEW)]
    full_world.writer.write([event(first + n, body, source="/catalogue") for n, body in enumerate(states)])
    service.catalogue.refresh()
    known = {one.item: one for one in full_world.store.catalogue.items([f"i{n}" for n in range(ITEMS + NEW)])}
    loaded = service.models.served
    service.models.served = MappingProxyType({name: loaded[name] for name in live})
    try:
        for ask in asked:
            check(full_world, service, ask, known, live)
    finally:
        service.models.served = loaded


def check(world: World, service: Service, ask: Ask, known: dict[str, Item], live: set[str]) -> None:
    """Ask for everything there is, and hold every answer against what Postgres says."""
    answer = service.pipeline.recommend(ask)
    lists = [listing(service.pipeline, kind, ask.limit, ask.category) for kind in ("popular", "trending", "latest")]
    lists.append(similar(service.pipeline, "i3", ask.limit, ask.category))
    now = datetime.now(UTC)
    may_be_shown = {
        name for name, one in known.items() if one.servable(now) and ask.category in (None, *one.categories)
    }
    for found in lists:
        assert {one.item for one in found.items} <= may_be_shown

    stored = world.store.history.history(ask.user, 200) if ask.user else History((), frozenset())
    done = (*ask.events, *stored.events)
    allowed = may_be_shown - {one.item for one in done if unwanted(one)}
    if ask.exclude_seen:
        allowed -= {one.item for one in done}
    if ask.among is not None:
        allowed &= set(ask.among)
    shown = [one.item for one in answer.items]
    assert set(shown) <= allowed
    assert len(shown) == len(set(shown)) == min(ask.limit, len(allowed))  # and the list is as full as it can be
    scores = [one.score for one in answer.items]
    assert all(0 <= score <= 1 for score in scores)
    assert ask.diversity > 0 or scores == sorted(scores, reverse=True)
    for one in answer.items:
        assert one.reason is not None
        assert one.reason.text
        assert set(one.reason.because) <= {event.item for event in done}
        assert one.source in {*live, "popular", "counts", "latest", "given"}
    assert answer.fallback in ((None, "item-item", "popular", "static") if live else ("popular", "static"))
    assert answer.fallback is not None or "als" in live
    assert live & {"als", "transitions"} or answer.fallback in ("popular", "static")
