"""Events over HTTP: checked first, on the broker before the 202, visible once ingested."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from core.bus import ensure_topic
from core.errors import BrokerUnavailable
from headwater.broker import EmbeddedBroker
from serving.publisher import Publisher
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually, ids, ingesting

VIEW = {"type": "interaction.view", "data": {"user": "new", "item": "i20"}}


def test_a_list_is_published_whole_and_twice_is_once(stream: httpx.Client) -> None:
    events = [{**VIEW, "id": f"e{n}", "data": {"user": "many", "item": f"i{n}"}} for n in range(20)]
    for _ in range(2):
        answer = stream.post("/v1/events", json=events)
        assert answer.json() == {"accepted": 20, "ids": [f"e{n}" for n in range(20)]}
    eventually(lambda: stream.get("/v1/users/many").json().get("interactions") == 20)
    assert len(stream.get("/v1/users/many/export").json()["events"]) == 20


def test_items_and_users_change_through_events_and_can_be_read_back(stream: httpx.Client) -> None:
    state = {
        "title": "Brand new",
        "categories": ["odd"],
        "attributes": {"price": 9.5},
        "published_at": "2026-01-01T00:00:00Z",
    }
    assert stream.put("/v1/items/fresh", json=state).status_code == 202
    eventually(lambda: stream.get("/v1/items/fresh").status_code == 200)
    item = stream.get("/v1/items/fresh").json()
    assert item["title"] == "Brand new"
    assert item["attributes"] == {"price": 9.5}
    assert item["servable"] is True
    assert stream.delete("/v1/items/fresh").status_code == 202
    eventually(lambda: stream.get("/v1/items/fresh").status_code == 404)
    assert stream.put("/v1/users/someone", json={"attributes": {"plan": "gold"}}).status_code == 202
    eventually(lambda: stream.get("/v1/users/someone").status_code == 200)
    assert stream.get("/v1/users/someone").json() == {
        "user": "someone",
        "attributes": {"plan": "gold"},
        "interactions": 0,
    }


def test_an_erased_user_leaves_nothing_behind_and_is_a_stranger_again(stream: httpx.Client) -> None:
    assert stream.get("/v1/users/u1/recommendations").json()["fallback"] is None
    assert len(stream.get("/v1/users/u1/export").json()["events"]) > 0
    assert stream.delete("/v1/users/u1").status_code == 202
    eventually(lambda: stream.get("/v1/users/u1").status_code == 404)
    assert stream.get("/v1/users/u1/export").json() == {
        "user": "u1",
        "attributes": None,
        "events": [],
        "dead_letters": [],
    }
    assert stream.get("/v1/users/u1/recommendations").json()["fallback"] == "popular"


def test_what_was_shown_is_published_as_an_impression_that_names_it_all(full_world: World) -> None:
    with full_world.served() as client, ingesting(full_world):
        body = {"user": "u1", "surface": "home", "session": "s1", "context": {"device": "phone"}, "limit": 3}
        shown = client.post("/v1/recommendations", json=body).json()

        def impressions() -> list[dict[str, object]]:
            events = client.get("/v1/users/u1/export").json()["events"]
            return [one for one in events if one["type"] == "impression"]

        eventually(lambda: len(impressions()) == 1, within_s=30)
    (impression,) = impressions_of(full_world, "u1")
    assert impression["slate"] == shown["slate"]
    data = impression["data"]
    assert data["items"] == ids(shown)
    assert data["context"] == {
        "surface": "home", "sources": [one["source"] for one in shown["items"]], "models": shown["model"],
        "fallback": None, "request": {"device": "phone"},
    }  # fmt: skip


def impressions_of(world: World, user: str) -> list[dict[str, object]]:
    """The stored slates of a user."""
    return [one for one in world.store.history.export(user) if one["type"] == "impression"]


def test_an_invalid_event_is_named_and_nothing_is_published(full_world: World) -> None:
    bad = [VIEW, {**VIEW, "type": "interaction.view", "data": {"user": "new"}}, {**VIEW, "type": "unheard.of"}]
    with full_world.served() as client:
        document = problem(client.post("/v1/events", json=bad), 400)
        assert [(one["index"], one["reason"]) for one in document["errors"]] == [(1, "invalid"), (2, "unknown_type")]
        assert "item" in document["errors"][0]["detail"]
        assert "[1].data" in problem(client.post("/v1/events", json=[VIEW, {**VIEW, "data": 3}]), 400)["detail"]
        assert "type" in problem(client.post("/v1/events", json={"data": {}}), 400)["detail"]
        assert "1 to 500" in problem(client.post("/v1/events", json=[]), 400)["detail"]
        assert "1 to 500" in problem(client.post("/v1/events", json=[VIEW] * 501), 400)["detail"]
        far = {**VIEW, "time": "2999-01-01T00:00:00Z"}
        assert problem(client.post("/v1/events", json=far), 400)["errors"][0]["reason"] == "from_the_future"
        assert problem(client.post("/v1/events", json={**VIEW, "id": ""}), 400)["errors"][0]["reason"] == "invalid"
        long = {"title": "x" * 2000}
        assert "title" in problem(client.put("/v1/items/i1", json=long), 400)["detail"]
        assert problem(client.post("/v1/events", content=b"{"), 400)
        with ingesting(full_world):
            client.post("/v1/events", json={**VIEW, "data": {"user": "after", "item": "i1"}}).raise_for_status()
            eventually(lambda: client.get("/v1/users/after").status_code == 200, within_s=30)
            assert client.get("/v1/users/new").status_code == 404


def test_events_without_an_id_are_given_one_that_is_told(full_world: World) -> None:
    with full_world.served() as client:
        one, other = (client.post("/v1/events", json=VIEW).json() for _ in range(2))
    assert one["accepted"] == 1
    assert one["ids"] != other["ids"]


def test_without_a_broker_events_are_refused_and_everything_else_is_answered(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, kafka_bootstrap="127.0.0.1:9")
    with full_world.served(settings=settings) as client:
        response = client.post("/v1/events", json=VIEW)
        document = problem(response, 503)
        assert document["retriable"] is True
        assert response.headers["retry-after"] == "1"
        assert "headwater up" in document["detail"]
        began = time.monotonic()
        for path in ("/v1/items/i1", "/v1/users/u1"):
            problem(client.delete(path), 503)
        assert time.monotonic() - began < 1  # told at once while the broker rests
        assert client.get("/v1/users/u1/recommendations").json()["fallback"] is None
        assert client.get("/readyz").status_code == 200
        assert "headwater up" in client.get("/console").text

        def lost() -> float:
            lines = client.get("/metrics").text.splitlines()
            return next(float(one.split()[1]) for one in lines if one.startswith("headwater_slates_lost_total "))

        before = lost()
        client.get("/v1/users/u1/recommendations").raise_for_status()
        eventually(lambda: lost() > before, within_s=15)


def test_while_the_broker_hangs_events_are_refused_in_time_and_can_be_sent_again(
    full_world: World, tmp_path: Path
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = msgspec.structs.replace(full_world.settings, kafka_bootstrap=broker.start())
    events = [{**VIEW, "id": f"e{n}"} for n in range(3)]
    try:
        ensure_topic(str(settings.kafka_bootstrap), settings.topic, 1)
        with full_world.served(settings=settings) as client:
            assert client.post("/v1/events", json=events).status_code == 202
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            refused = client.post("/v1/events", json=events)  # answered within the client's 30 s
            os.kill(broker.pid, signal.SIGCONT)
            assert problem(refused, 503)["code"] == "broker_unavailable"
            assert refused.headers["retry-after"] == "1"
            eventually(lambda: client.post("/v1/events", json=events).status_code == 202, within_s=30)
    finally:
        broker.stop()


def test_no_broker_at_all_is_said_plainly(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, kafka_bootstrap=None)
    with full_world.served(settings=settings) as client:
        assert "HEADWATER_KAFKA_BOOTSTRAP" in problem(client.post("/v1/events", json=VIEW), 503)["detail"]
    with pytest.raises(BrokerUnavailable):
        Publisher(settings).publish([])
