"""Postgres away: answers come from memory, labelled, within budget; what cannot be known is a 503 that says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy.engine import make_url

from core.registry import open_registry
from core.store import open_store
from tests.serving.proxy import Proxy, proxied
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually, ids, item

PATH = "/v1/users/u1/recommendations"


@pytest.fixture
def away(full_world: World) -> Iterator[tuple[Proxy, httpx.Client]]:
    """A server that reaches Postgres through a proxy."""
    url = make_url(full_world.settings.database_url or "")
    with proxied(url.host or "127.0.0.1", url.port or 5432) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        settings = msgspec.structs.replace(full_world.settings, database_url=through)
        with open_store(settings) as store:
            registry = open_registry(settings, store)
            with full_world.served(settings=settings, store=store, registry=registry) as client:
                yield proxy, client


def test_everything_that_can_be_answered_is_and_says_from_what(away: tuple[Proxy, httpx.Client]) -> None:
    proxy, client = away
    assert client.get(PATH).json()["fallback"] is None
    proxy.cut()
    for path in (PATH, "/v1/users/never-heard-of/recommendations"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.json()["fallback"] == "popular"
        assert len(answer.json()["items"]) == 10
    session = client.post("/v1/recommendations", json={"history": [{"item": "i20"}]}).json()
    assert session["fallback"] is None  # nobody's history had to be read
    told = client.post("/v1/recommendations", json={"user": "u1", "history": [{"item": "i20"}]}).json()
    assert told["fallback"] == "session"
    for path in (
        "/v1/items/i3",
        "/v1/items/i3/similar",
        "/v1/items/popular",
        "/v1/items/latest",
        "/readyz",
        "/healthz",
        "/metrics",
    ):
        assert client.get(path).status_code == 200, path
    text = client.get("/v1/items/i3/content").json()
    assert (text["origin"], text["status"]) == ("template", "verified")
    front = client.get("/console")
    assert front.status_code == 200
    assert "Postgres" in front.text
    assert client.get("/console/users/u1").status_code == 200
    for path in ("/v1/users/u1", "/v1/users/u1/export", "/v1/models"):
        document = problem(client.get(path), 503)
        assert document["code"] == "database_unavailable"
        assert document["retriable"] is True


def test_what_a_user_has_seen_is_not_shown_again_while_postgres_is_away(away: tuple[Proxy, httpx.Client]) -> None:
    proxy, client = away
    client.get(PATH).raise_for_status()
    proxy.cut()
    shown = ids(client.get(PATH, params={"limit": 100}).json())
    assert shown
    assert not set(shown) & {f"i{n}" for n in range(3, 15)}


def test_a_postgres_that_hangs_costs_one_budget_and_then_nothing(away: tuple[Proxy, httpx.Client]) -> None:
    proxy, client = away
    client.get(PATH).raise_for_status()
    proxy.hang()
    began = time.monotonic()
    first = client.get(PATH)
    took_s = time.monotonic() - began
    assert first.status_code == 200
    assert first.json()["fallback"] == "popular"
    assert took_s < 4  # a second's budget, on a busy machine
    assert client.get(PATH).json()["fallback"] == "popular"
    proxy.mend()
    eventually(lambda: client.get(PATH).json()["fallback"] is None, within_s=20)


def test_when_postgres_is_back_so_is_everything_that_happened_meanwhile(
    full_world: World, away: tuple[Proxy, httpx.Client]
) -> None:
    proxy, client = away
    proxy.cut()
    eventually(lambda: client.get(PATH).json()["fallback"] == "popular")
    full_world.change(item(15, hidden=True), item(77))
    eventually(lambda: client.get("/readyz").json()["catalogue_age_s"] > 0.6)
    assert client.get("/v1/items/i77").status_code == 404
    proxy.mend()
    eventually(lambda: client.get("/v1/items/i77").status_code == 200, within_s=20)
    eventually(lambda: client.get(PATH).json()["fallback"] is None, within_s=20)
    assert "i15" not in ids(client.get(PATH, params={"limit": 100}).json())


@contextmanager
def started_while_away(world: World) -> Iterator[tuple[Proxy, httpx.Client]]:
    """A server that starts while Postgres cannot be reached."""
    url = make_url(world.settings.database_url or "")
    with proxied(url.host or "127.0.0.1", url.port or 5432) as proxy:
        proxy.cut()
        through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        settings = msgspec.structs.replace(world.settings, database_url=through)
        with open_store(settings) as store:
            registry = open_registry(settings, store)
            with world.served(settings=settings, store=store, registry=registry) as client:
                yield proxy, client


def last_known(world: World) -> Path:
    return world.settings.home / "cache" / world.settings.namespace / "last-known"


def test_a_server_that_starts_while_postgres_is_away_serves_what_was_known_last(full_world: World) -> None:
    full_world.change(
        item(5, hidden=True), item(6, available=False), item(8, published_at=datetime(2100, 1, 1, tzinfo=UTC))
    )
    with full_world.served() as before:
        shown = before.post("/v1/recommendations", json={"history": [{"item": "i20"}], "limit": 100}).json()
        popular = before.get("/v1/items/popular?limit=100").json()
    with started_while_away(full_world) as (proxy, client):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["models"]) == (200, {"als": 1, "popularity": 1, "transitions": 1})
        assert ready.json()["catalogue_age_s"] is None  # Postgres has not been asked
        answer = client.get(PATH, params={"limit": 100})
        assert (answer.status_code, answer.json()["fallback"]) == (200, "popular")
        assert len(ids(answer.json())) > 20
        session = client.post("/v1/recommendations", json={"history": [{"item": "i20"}], "limit": 100}).json()
        assert (ids(session), session["fallback"]) == (ids(shown), None)
        assert ids(client.get("/v1/items/popular?limit=100").json()) == ids(popular)
        for listed in (answer.json(), session):
            assert not set(ids(listed)) & {"i5", "i6", "i8"}
        assert client.get("/v1/items/i3").json()["title"] == "Item 3"
        full_world.change(item(9, hidden=True))
        proxy.mend()
        eventually(lambda: client.get(PATH).json()["fallback"] is None, within_s=20)
        eventually(lambda: client.get("/v1/items/i9").json()["servable"] is False, within_s=20)
        assert not set(ids(client.get(PATH, params={"limit": 100}).json())) & {"i5", "i6", "i8", "i9"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_what_was_known_last_is_not_believed_once_it_is_damaged(full_world: World, damage: str) -> None:
    with full_world.served() as before:
        assert before.get("/readyz").status_code == 200
    raw = bytearray(last_known(full_world).read_bytes())
    at = len(raw) // 2
    if damage == "flipped":
        raw[at] ^= 1
    else:
        del raw[at if damage == "cut" else 0 :]
    last_known(full_world).write_bytes(raw)
    with started_while_away(full_world) as (_, client):
        assert client.get("/readyz").status_code == 503
        assert client.get(PATH).json()["fallback"] == "static"


def test_a_server_starts_without_postgres_and_recovers_by_itself(full_world: World) -> None:
    with started_while_away(full_world) as (proxy, client):
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        answer = client.get(PATH).json()
        assert answer["items"] == []
        assert answer["fallback"] == "static"
        proxy.mend()
        eventually(lambda: client.get(PATH).json()["fallback"] is None, within_s=20)
        assert client.get("/readyz").status_code == 200
