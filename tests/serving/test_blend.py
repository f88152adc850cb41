"""The blend serves in place of its members, asks the live ones, and says so; without it, or its word, they serve as before."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from features.interactions import Interactions
from models.blend import Blend
from models.recommender import UserBatch
from models.transitions import Transitions, TransitionsConfig
from serving.catalogue import LiveCatalogue
from serving.live import LiveModels
from serving.query import Ask
from serving.service import Service
from tests.serving.test_live import backwards
from tests.serving.world import World, eventually, ids

PATH = "/v1/users/u1/recommendations"  # u1 walked from i3 to i14


@pytest.fixture
def blended(full_world: World) -> World:
    """All models live, the blend of transitions and linear as well."""
    full_world.train("blend")
    return full_world


def test_a_live_blend_answers_alone_with_its_name_its_members_and_reasons(blended: World) -> None:
    with blended.served() as client:
        answer = client.get(PATH, params={"limit": 5, "explain": True}).json()
        assert answer["items"][0]["item"] == "i15"
        assert {one["source"] for one in answer["items"]} == {"blend"}
        assert answer["fallback"] is None
        assert answer["model"] == {"blend": "v1", "transitions": "v1"}  # linear is not live: the blend has its own
        assert answer["items"][0]["reason"]["text"].startswith("Because you looked at Item ")
        similar = client.get("/v1/items/i20/similar", params={"limit": 3}).json()
        assert {one["source"] for one in similar["items"]} == {"blend"}
        assert similar["items"][0]["item"] == "i21"


def test_a_user_that_the_blend_knows_nothing_of_is_answered_by_the_ladder(blended: World) -> None:
    with blended.served() as client:
        answer = client.get("/v1/users/never-heard-of/recommendations").json()
        assert answer["fallback"] == "popular"
        assert len(answer["items"]) == 10


def test_a_new_version_of_a_live_member_speaks_through_the_blend_and_rolling_it_back_is_felt_too(
    blended: World,
) -> None:
    body = {"history": [{"item": "i20"}], "limit": 1}
    with blended.served() as client:
        assert ids(client.post("/v1/recommendations", json=body).json()) == ["i21"]
        blended.publish("transitions", backwards())
        eventually(lambda: client.post("/v1/recommendations", json=body).json()["model"]["transitions"] == "v2")
        assert ids(client.post("/v1/recommendations", json=body).json()) == ["i19"]
        client.post("/v1/models/transitions/rollback").raise_for_status()
        answer = client.post("/v1/recommendations", json=body).json()
        assert (ids(answer), answer["model"]["transitions"]) == (["i21"], "v1")


def test_a_member_that_is_not_live_with_the_same_configuration_is_the_blends_own(blended: World) -> None:
    models = LiveModels(blended.registry, LiveCatalogue(blended.store))
    models.refresh()
    blend = models.served["blend"]
    assert isinstance(blend.model, Blend)
    assert blend.model.models[0] is models.served["transitions"].model
    assert blend.members.keys() == {"transitions"}
    before = blend.model.models[1]
    blended.train("linear")  # regularised otherwise
    models.refresh()
    assert models.served["blend"] is blend
    assert models.served["blend"].model.models[1] is before  # type: ignore[attr-defined]
    blended.store.versions.refuse("transitions", 1, "taken away by hand")
    models.refresh()
    alone = models.served["blend"]
    assert alone.members == {}
    assert isinstance(alone.model, Blend)
    assert alone.model.models[0].name == "transitions"


def test_without_a_live_blend_its_members_are_merged_as_before(blended: World) -> None:
    with blended.served() as client:
        assert set(client.get(PATH).json()["model"]) == {"blend", "transitions"}
        blended.store.versions.refuse("blend", 1, "by hand")
        eventually(lambda: set(client.get(PATH).json()["model"]) == {"als", "transitions"})
        assert client.get(PATH).json()["fallback"] is None


def test_a_member_that_has_learned_of_a_new_item_brings_it_into_the_blend(blended: World) -> None:
    steps = [(f"n{user}", item, float(step)) for user in range(30) for step, item in enumerate(("i20", "i-new"))]
    users, items, times = zip(*steps, strict=True)
    with blended.served() as client:
        blended.publish("transitions", Interactions.from_columns(list(users), list(items), list(times)))
        body = {"history": [{"item": "i20"}], "limit": 3, "exclude_seen": True}
        eventually(lambda: client.post("/v1/recommendations", json=body).json()["model"]["transitions"] == "v2")
        assert client.post("/v1/recommendations", json=body).status_code == 200
        served = LiveModels(blended.registry, LiveCatalogue(blended.store))
        served.refresh()
        assert served.served["blend"].items.row("i-new") >= 0


def test_a_blend_has_no_copy_of_members_that_live_models_stand_for(blended: World) -> None:
    models = LiveModels(blended.registry, LiveCatalogue(blended.store))
    models.refresh()
    served = models.served["blend"]
    asked, own = served.model, Blend.load(blended.registry.open(served.version))
    assert isinstance(asked, Blend)
    assert asked.models[0] is models.served["transitions"].model
    assert set(served.members) == {"transitions"}
    assert served.trained_rows.tolist() == served.rows.tolist()
    users = UserBatch.from_histories([(np.array([3, 7], np.int32), np.arange(2.0), np.ones(2, np.float32))])
    assert [one.tolist() for one in asked.recommend(users, 10)] == [one.tolist() for one in own.recommend(users, 10)]
    other = Transitions.fit(backwards(), TransitionsConfig(window=3))
    assert Blend.load(blended.registry.open(served.version), {"transitions": other}).models[0] is not other


def test_a_version_that_is_replaced_is_freed_at_once_whether_garbage_is_collected_or_not(blended: World) -> None:
    """Looking for garbage among all that a server remembers would hold up its answers, and is rarely done."""
    service = Service(blended.settings, blended.store, blended.registry)
    refreshing = (service.catalogue.refresh, service.models.refresh, service.newcomers.refresh)

    def answer() -> None:
        for refresh in refreshing:
            refresh()
        assert service.pipeline.recommend(Ask("u1"), service.histories.read("u1")).fallback is None

    gc.disable()
    try:
        answer()
        before = [weakref.ref(served.model) for served in service.models.served.values()]
        assert len(before) > 2
        blended.train(*service.models.served)
        answer()
        assert [one() for one in before] == [None] * len(before)
    finally:
        gc.enable()
        service.histories.close()
        service.threads.close()
        service.publisher.close()
