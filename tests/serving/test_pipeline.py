"""DESIGN I3 for every recipe and fallback: nothing hidden, removed, unavailable, unwanted or (when asked) seen is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.events import ItemChanged, ItemRemoved
from core.store.history import HistoryEvent
from serving.lists import listing, similar
from serving.query import Ask
from serving.service import Service
from tests.serving.world import ITEMS, World
from tests.streams import event

LIVE = ("als", "transitions", "popularity")
NEW = 5  # items that no model has seen
DAY = timedelta(days=1)


@st.composite
def states(draw: st.DrawFn, number: int) -> ItemChanged | ItemRemoved:
    """An item in any state there is."""
    if draw(st.integers(0, 9)) == 0:
        return ItemRemoved(item=f"i{number}")
    now = datetime.now(UTC)
    moments = st.sampled_from([None, now - DAY, now + DAY])
    return ItemChanged(
        item=f"i{number}", title=draw(st.sampled_from(["", f"Item {number}"])), hidden=draw(st.integers(0, 4)) == 0,
        available=draw(st.integers(0, 4)) > 0, published_at=draw(moments), expires_at=draw(moments),
        categories=tuple(draw(st.sets(st.sampled_from(["a", "b", "c"]), max_size=2))),
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


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_is_ever_shown_that_may_not_be(full_world: World, service: Service, data: st.DataObject) -> None:
    catalogue = [data.draw(states(number)) for number in range(ITEMS + NEW)]
    full_world.number += 1
    base = full_world.number * 1000
    full_world.writer.write([event(base + n, body, source="/catalogue") for n, body in enumerate(catalogue)])
    service.catalogue.refresh()
    loaded = dict(service.models.served)
    live = data.draw(st.sets(st.sampled_from(LIVE)), label="live models")
    service.models.served = MappingProxyType({name: loaded[name] for name in live})
    past = data.draw(pasts(), label="past")
    ask = Ask(
        user=data.draw(st.sampled_from([None, "u1", "u2", "stranger"])), limit=data.draw(st.integers(1, 60)), events=past,
        category=data.draw(st.sampled_from([None, None, "a", "b", "unheard-of"])), exclude_seen=data.draw(st.booleans()),
        diversity=data.draw(st.sampled_from([0.0, 0.3, 1.0])), logged=False,
        among=data.draw(st.none() | st.lists(st.integers(0, ITEMS + NEW + 3).map("i{}".format), max_size=8).map(tuple)),
    )  # fmt: skip
    try:
        answer = service.pipeline.recommend(ask)
        lists = [listing(service.pipeline, kind, ask.limit, ask.category) for kind in ("popular", "trending", "latest")]
        lists.append(similar(service.pipeline, "i3", ask.limit, ask.category))
    finally:
        service.models.served = MappingProxyType(loaded)

    now = datetime.now(UTC)
    stored = full_world.store.history.history(ask.user, 200) if ask.user else None
    touched = {done.item for done in past} | (set(stored.seen) if stored else set())
    known = {one.item: one for one in full_world.store.catalogue.items([f"i{n}" for n in range(ITEMS + NEW)])}
    open_now = {name for name, one in known.items() if one.servable(now)}
    if ask.category is not None:
        open_now = {name for name in open_now if ask.category in known[name].categories}
    for shown in lists:
        assert {one.item for one in shown.items} <= open_now

    allowed = open_now - {done.item for done in past if unwanted(done)}
    if ask.exclude_seen:
        allowed -= touched
    if ask.among is not None:
        allowed &= set(ask.among)
    shown = [one.item for one in answer.items]
    assert set(shown) <= allowed
    assert len(shown) == len(set(shown)) == min(ask.limit, len(allowed))  # and the list is as full as it can be
    scores = [one.score for one in answer.items]
    assert all(0 <= score <= 1 for score in scores)
    if ask.diversity == 0:
        assert scores == sorted(scores, reverse=True)
    wanted = {done.item for done in (*past, *(stored.events if stored else ()))}
    for one in answer.items:
        assert one.reason is not None
        assert set(one.reason.because) <= wanted
        assert one.reason.text
        assert one.source in {*live, "popular", "counts", "latest", "given"}
    if answer.fallback is None:
        assert "als" in live
    if not live & {"als", "transitions"}:
        assert answer.fallback in ("popular", "static")
