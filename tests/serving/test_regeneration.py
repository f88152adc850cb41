"""Texts are requested over HTTP, each once, and written by workers."""

from __future__ import annotations

import pytest

from tests.serving.test_bad_input import problem
from tests.serving.world import World, item

PATH = "/v1/content/regenerate"


@pytest.fixture
def films(world: World) -> World:
    world.change(item(1), item(2), item(3))
    return world


def test_missing_texts_are_requested_once_each(films: World) -> None:
    with films.served() as client:
        first = client.post(PATH, json={"limit": 2})
        assert first.status_code == 202
        assert first.json() == {"requested": 2, "requested_already": 0, "unknown": 0, "open": 2}
        assert client.post(PATH, json={}).json() == {"requested": 1, "requested_already": 0, "unknown": 0, "open": 3}
        assert client.post(PATH, json={}).json()["requested"] == 0
        assert client.post(PATH, json={"locale": "de", "kind": "headline"}).json()["open"] == 6
        assert "6 waiting" in client.get("/console").text


def test_named_items_are_requested_and_those_that_nobody_knows_are_counted(films: World) -> None:
    with films.served() as client:
        asked = client.post(PATH, json={"items": ["i1", "i1", "i2", "unheard-of"]}).json()
        assert asked == {"requested": 2, "requested_already": 0, "unknown": 1, "open": 2}
        again = client.post(PATH, json={"items": ["i1", "i3"]}).json()
        assert again == {"requested": 1, "requested_already": 1, "unknown": 0, "open": 3}


def test_stale_leaves_out_what_is_missing(films: World) -> None:
    with films.served() as client:
        assert client.post(PATH, json={"stale": True}).json()["requested"] == 0


def test_what_cannot_be_requested_is_refused_by_name(films: World) -> None:
    with films.served() as client:
        assert "description" in problem(client.post(PATH, json={"kind": "unheard-of"}), 400)["detail"]
        assert "items" in problem(client.post(PATH, json={"items": []}), 400)["detail"]
        assert "locale" in problem(client.post(PATH, json={"locale": "\u0000"}), 400)["detail"]
    assert films.store.content_requests.counts().states["waiting"] == 0
