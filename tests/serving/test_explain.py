"""Reasons are honest: without the items that are named, the model that ranked would have said less of what it recommends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.blend import Blend, standardised
from models.recommender import Recommender, UserBatch
from serving.query import Ask
from serving.service import Service
from tests.serving.world import World, item
from tests.streams import view

PERSONAL = ("transitions", "linear", "als", "blend")
LIMIT = 5


def said(model: Recommender, users: UserBatch, item_ix: int) -> float:
    """What a model says of an item; of a blend, whose scores have no scale of their own, how far the item stands out."""
    scores = model.scores(users)
    return float((standardised(scores) if isinstance(model, Blend) else scores)[0, item_ix])


@pytest.mark.parametrize("name", PERSONAL)
def test_without_the_items_that_are_named_a_model_says_less_of_an_item(world: World, name: str) -> None:
    world.fill()
    world.train(name)
    service = Service(world.settings, world.store, world.registry)
    service.models.refresh()
    service.catalogue.refresh()
    served = service.models.served[name]
    named = 0
    for user in ("u1", "u4", "u9"):
        past = service.histories.read(user)
        answer = service.pipeline.recommend(Ask(user, LIMIT, logged=False))
        done = {event.item for event in past.events}
        users = service.pipeline.query(Ask(user), past).users(served)
        for one in answer.items:
            assert one.source == name
            assert one.reason is not None
            assert set(one.reason.because) <= done
            assert one.reason.text.startswith("Because of Item ") == bool(one.reason.because)
            row, told = served.items.row(one.item), served.items.rows(one.reason.because)
            for history_row in told[: 1 if name == "blend" else None]:
                weights = np.where(users.items == history_row, np.float32(0), users.weights)  # it counts for nothing
                without = replace(users, weights=weights)
                assert said(served.model, without, row) < said(served.model, users, row)
                named += 1
    assert named >= LIMIT
    service.stop()


def test_the_list_changes_when_what_is_named_had_not_happened(service: Service) -> None:
    past = service.histories.read("u1")
    before = service.pipeline.recommend(Ask(None, LIMIT, events=past.events, logged=False)).items
    named = set(before[0].reason.because)  # type: ignore[union-attr]
    assert named
    rest = tuple(event for event in past.events if event.item not in named)
    after = service.pipeline.recommend(Ask(None, LIMIT, events=rest, hide=tuple(named), logged=False)).items
    assert [one.item for one in after] != [one.item for one in before]
    assert not named & {name for one in after for name in one.reason.because}  # type: ignore[union-attr]


def test_what_was_not_chosen_because_of_anything_names_nothing(full_world: World) -> None:
    full_world.writer.write([view(99_000, "new", "unheard-of")])
    with full_world.served() as client:
        for user in ("never-heard-of", "new"):
            for one in client.get(f"/v1/users/{user}/recommendations").json()["items"]:
                assert one["reason"]["because"] == []
                assert one["reason"]["text"] == "Popular right now"


def test_a_reason_speaks_of_titles_and_falls_back_on_ids(full_world: World) -> None:
    full_world.change(item(14, title="The last one"), item(13, title=""))
    with full_world.served() as client:
        reasons = [one["reason"] for one in client.get("/v1/users/u1/recommendations").json()["items"]]
    texts = {reason["text"] for reason in reasons if "i14" in reason["because"]}
    assert texts
    assert all("The last one" in text for text in texts)
    assert all("i13" in reason["text"] for reason in reasons if "i13" in reason["because"])
