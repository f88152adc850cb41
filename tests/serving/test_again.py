"""The same answer again: only while nothing that it was made from has changed, and with a slate of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from serving.again import KEPT_ANSWERS, KEPT_S, SPREAD
from serving.query import Ask
from serving.service import Service
from tests.serving.test_live import backwards
from tests.serving.world import World, item

USER = "u1"  # walked from i3 to i14


@pytest.fixture
def service(full_world: World):
    """The parts of a server, refreshed by hand."""
    made = Service(full_world.settings, full_world.store, full_world.registry)
    for refresh in (made.catalogue.refresh, made.catalogue.refresh_counts, made.models.refresh, made.newcomers.refresh):
        refresh()
    yield made
    made.histories.close()
    made.threads.close()
    made.publisher.close()


def answers(service: Service, ask: Ask):
    """The same question asked of everything, then of what was kept alone."""
    past = service.histories.read(USER)
    return service.pipeline.recommend(ask, past), service.pipeline.again(ask, past, 0.0)


def test_a_repeated_question_gets_the_same_items_and_a_slate_of_its_own(service: Service) -> None:
    first, again = answers(service, Ask(USER, limit=5))
    assert again is not None
    assert (again.items, again.model, again.fallback, again.user) == (first.items, first.model, None, USER)
    assert again.slate != first.slate
    assert service.pipeline.recommend(Ask(USER, limit=5)).items == first.items


OTHERS = ({"limit": 6}, {"category": "even"}, {"exclude_seen": False}, {"hide": ("i15",)})


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_another_question_is_another_answer(service: Service, other: dict[str, Any]) -> None:
    asked = Ask(USER, **{"limit": 5, **other})
    first, _ = answers(service, Ask(USER, limit=5))
    assert service.pipeline.again(asked, service.histories.read(USER), 0.0) is None
    assert service.pipeline.recommend(asked).items != first.items


def test_what_may_not_be_shown_any_more_is_not_shown_again(service: Service, full_world: World) -> None:
    _, again = answers(service, Ask(USER, limit=5))
    assert again is not None
    best = again.items[0].item
    full_world.change(item(int(best[1:]), hidden=True))
    service.catalogue.refresh()
    after, _ = answers(service, Ask(USER, limit=5))
    assert best not in [one.item for one in after.items]


def test_an_item_whose_time_is_over_is_not_shown_again(service: Service, full_world: World) -> None:
    full_world.change(item(15, expires_at=datetime.now(UTC) + timedelta(seconds=1)))
    service.catalogue.refresh()
    first, _ = answers(service, Ask(USER, limit=40))
    assert "i15" in [one.item for one in first.items]
    time.sleep(1.1)
    after, _ = answers(service, Ask(USER, limit=40))
    assert "i15" not in [one.item for one in after.items]


def test_another_version_of_a_model_answers_at_once(service: Service, full_world: World) -> None:
    first, _ = answers(service, Ask(USER, limit=1))
    full_world.publish("transitions", backwards())
    service.models.refresh()
    assert service.pipeline.again(Ask(USER, limit=1), service.histories.read(USER), 0.0) is None
    after, _ = answers(service, Ask(USER, limit=1))
    assert after.model["transitions"] == "v2"
    assert first.model["transitions"] == "v1"


def test_chance_is_drawn_each_time_and_what_came_with_a_request_is_not_kept(service: Service) -> None:
    past = service.histories.read(USER)
    told = Ask(USER, events=past.events[:1])
    for ask in (Ask(USER, exploration=0.5), told):
        assert service.pipeline.recommend(ask, past).items
        assert service.pipeline.again(ask, past, 0.0) is None
    assert past.answers == []


def test_few_answers_are_kept_of_each_user_and_nothing_of_old_models_with_them(service: Service) -> None:
    past = service.histories.read(USER)
    for limit in range(1, KEPT_ANSWERS + 4):
        service.pipeline.recommend(Ask(USER, limit=limit), past)
    assert [one.ask.limit for one in past.answers] == list(range(KEPT_ANSWERS + 3, 3, -1))
    assert all(type(one.epoch) is object for one in past.answers)


def test_what_was_made_in_one_rush_does_not_lapse_in_another(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    past, drawn, began_s = service.histories.read(USER), iter([0.0, 1.0]), time.monotonic()
    monkeypatch.setattr("serving.again.random", SimpleNamespace(random=drawn.__next__))
    for limit in (1, 2):
        service.pipeline.recommend(Ask(USER, limit=limit), past)
    sooner, later = past.answers
    took_s = time.monotonic() - began_s
    assert KEPT_S <= later.until_s - began_s <= KEPT_S + took_s
    assert sooner.until_s <= later.until_s - SPREAD * KEPT_S + took_s
    monkeypatch.setattr("serving.again.time", SimpleNamespace(monotonic=lambda: later.until_s))
    assert service.pipeline.again(Ask(USER, limit=1), past, 0.0) is None
